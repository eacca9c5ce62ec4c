// A scroll: the whole picture to zoom into, with its regions, in the place of the film.

import { get } from "./api.js";
import * as ask from "./ask_scroll.js";
import { $, element, on, trackColour } from "./common.js";
import { tab } from "./panels.js";

const NS = "http://www.w3.org/2000/svg";

export async function open(title) {
  document.body.classList.add("scroll");
  $("osd").hidden = false;
  const data = await get("api/scroll");
  // OpenSeadragon would put a style sheet into the page, which the content policy forbids; view.css
  // has its one rule. What it looks for is an element of this name, in any namespace
  const style = document.createElementNS(null, "style");
  style.setAttribute("data-openseadragon-mobile-css", "true");
  document.head.append(style);
  await new Promise((ready, failed) => {
    const script = element("script");
    script.src = "static/openseadragon.min.js";
    script.onload = ready;
    script.onerror = () => failed(new Error("OpenSeadragon could not be loaded"));
    document.head.append(script);
  });
  const long = data.width_px > 6 * data.height_px;
  const viewer = window.OpenSeadragon({
    ...(long ? { navigatorWidth: "60%", navigatorHeight: "44px" } : {}),
    element: $("osd"), showNavigationControl: false, showNavigator: true, navigatorPosition: "BOTTOM_LEFT",
    drawer: "canvas", maxZoomPixelRatio: 4, visibilityRatio: 0.6,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    tileSources: {
      width: data.width_px, height: data.height_px, tileSize: 512, tileOverlap: 0,
      minLevel: data.levels[0], maxLevel: data.levels[1],
      getTileUrl: (level, x, y) => `tiles/${level}/${x}_${y}.jpg`,
    },
  });
  const marks = document.createElementNS(NS, "svg"), moved = document.createElementNS(NS, "g");
  marks.id = "marks";
  marks.setAttribute("aria-hidden", "true");
  marks.append(moved);
  $("osd").append(marks);
  const regions = [], empty = element("p", "empty");
  $("captions").append(empty);
  function add(feature) {
    const { type, coordinates } = feature.geometry, polygons = type === "Polygon" ? [coordinates] : coordinates;
    const outline = document.createElementNS(NS, "path");
    outline.setAttribute("d", polygons.flat().map((ring) => `M${ring.map((p) => p.join(",")).join("L")}Z`).join(""));
    outline.setAttribute("stroke", trackColour(feature.id));
    moved.append(outline);
    const before = regions.findIndex((r) => r.id === feature.id), region = { id: feature.id, box: feature.bbox, outline, ...feature.properties };
    listed(region);
    if (before < 0) { regions.push(region); return; }
    // it was saved again, with more words
    regions[before].outline.remove();
    regions[before].row.replaceWith(region.row);
    regions[before] = region;
  }
  function place() {
    const item = viewer.world.getItemAt(0);
    if (!item) return;
    const from = item.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(0, 0));
    const to = item.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(data.width_px, 0));
    moved.setAttribute("transform", `translate(${from.x} ${from.y}) scale(${(to.x - from.x) / data.width_px})`);
  }
  for (const name of ["open", "update-viewport", "resize"]) viewer.addHandler(name, place);

  function show([x0, y0, x1, y1], rim) {
    const item = viewer.world.getItemAt(0), w = Math.max(x1 - x0, 40), h = Math.max(y1 - y0, 40);
    if (item) viewer.viewport.fitBounds(item.imageToViewportRectangle(x0 - w * rim, y0 - h * rim, w * (1 + 2 * rim), h * (1 + 2 * rim)));
  }
  // of a long scroll one sees nothing from afar: it opens where its reading begins
  if (long && data.scenes.length) viewer.addOnceHandler("open", () => show(data.scenes[0].box_xyxy, 0));
  let chosen = -1, shown = regions;
  function choose(n) {
    chosen = n;
    const region = shown[n];
    for (const other of regions) {
      other.outline.classList.toggle("chosen", other === region);
      other.row.classList.toggle("chosen", other === region);
    }
    if (!region) return;
    region.row.scrollIntoView({ block: "nearest" });
    show(region.box, 1.2);
  }
  function listed(region) {
    const row = element("div", "row-item still"), dot = element("i", "dot"), text = element("div", "text");
    dot.style.background = trackColour(region.id);
    const near = (region.neighbours ?? []).map((n) => `${n.relation} #${n.region_id}`);
    text.append(element("b", "", region.text || "(no words)"), element("small", "", [region.asked ? "asked" : `#${region.id}`, region.place, ...near].filter(Boolean).join("  ·  ")));
    row.setAttribute("role", "listitem");
    row.title = region.detail ?? "";
    row.append(dot, text);
    row.addEventListener("click", () => choose(shown.indexOf(region)));
    region.row = row;
    empty.before(row);
  }
  data.regions.forEach(add);
  function search() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = regions.filter((r) => words.every((w) => `${r.text} ${r.detail}`.toLowerCase().includes(w)));
    for (const region of regions) region.row.hidden = region.outline.style.display = "";
    for (const region of regions) {
      const on = shown.includes(region);
      region.row.hidden = !on;
      region.outline.style.display = on ? "" : "none";
    }
    $("tab-captions").querySelector(".n").textContent = shown.length;
    empty.textContent = shown.length ? "" : "no region holds all these words";
  }
  search();
  $("search").addEventListener("input", search);
  $("tab-captions").firstChild.textContent = "Regions ";
  $("tab-events").firstChild.textContent = "Scenes ";
  $("tab-events").querySelector(".n").textContent = data.scenes.length;
  $("captions").setAttribute("aria-label", "Regions");
  $("events").setAttribute("aria-label", "Scenes");
  for (const scene of data.scenes) {
    const row = element("div", "row-item still tall"), text = element("div", "text");
    text.append(element("b", "", `Scene ${scene.scene}`), element("small", "wrap", scene.sentences.map((s) => s.text).join(" ")));
    row.setAttribute("role", "listitem");
    row.append(text);
    row.addEventListener("click", () => show(scene.box_xyxy, 0));
    $("events").append(row);
  }
  for (const id of ["search", "captions"]) {
    $(id).addEventListener("keydown", (event) => {
      const by = event.key === "Enter" ? (id === "search" ? 1 - chosen - 1 : 0) : { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (by === undefined || !shown.length) return;
      choose(Math.min(shown.length - 1, Math.max(0, chosen + by)));
      event.preventDefault();
      event.stopPropagation();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey) return;
    if (event.key === "/") { $("search").focus(); event.preventDefault(); }
    const name = { 1: "captions", 2: "events", 3: "ask" }[event.key];
    if (name) tab(name);
    if (event.key === "0") viewer.viewport.goHome();
    if (event.key === "+") viewer.viewport.zoomBy(1.5);
    if (event.key === "-") viewer.viewport.zoomBy(1 / 1.5);
  });
  ask.setUp(viewer, data, (feature) => { add(feature); search(); });
  on("tab", (name) => ask.show(name === "ask"));
  $("osd").setAttribute("aria-label", `${title}, to zoom into`);
  $("osd").setAttribute("role", "region");
}
