"use strict";
(() => {
  const data = window.SCROLL;
  const get = (id) => document.getElementById(id);
  const svg = (name) => document.createElementNS("http://www.w3.org/2000/svg", name);

  const viewer = OpenSeadragon({
    element: get("viewer"),
    drawer: "canvas", // pictures from files may not become textures
    showNavigationControl: false,
    showNavigator: true,
    navigatorPosition: "BOTTOM_LEFT",
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.6,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    tileSources: {
      width: data.width, height: data.height, tileSize: data.tile, tileOverlap: 0,
      minLevel: data.levels[0], maxLevel: data.levels[1],
      getTileUrl: (level, x, y) => `tiles/${level}/${x}_${y}.jpg`,
    },
  });

  // marks lie over the viewer in canvas pixels and are moved with it
  const marks = svg("svg"), moved = svg("g"), words = svg("g");
  marks.id = "marks";
  marks.append(moved, words);
  get("picture").append(marks);
  // the way of the window's centre over the first level: a ring at its start, an arrow at its end
  const path = svg("g"), line = svg("polyline"), start = svg("circle"), end = svg("path");
  const stops = data.path.filter((p) => p[3] === 0);
  path.id = "path";
  start.setAttribute("r", 5);
  end.setAttribute("d", "M-11,-7L1,0L-11,7Z");
  path.append(line, start, end);
  marks.insertBefore(path, words);
  function placePath(from, scale) {
    const points = stops.map((p) => [from.x + p[0] * scale, from.y + p[1] * scale]);
    const [a, b] = [points[Math.max(0, points.length - 2)], points[points.length - 1]];
    const turn = Math.atan2(b[1] - a[1], b[0] - a[0]) * 180 / Math.PI;
    line.setAttribute("points", points.map((p) => p.join(",")).join(" "));
    start.setAttribute("transform", `translate(${points[0]})`);
    end.setAttribute("transform", `translate(${b}) rotate(${turn})`);
  }
  const outlines = new Map();
  for (const region of data.regions) {
    const outline = svg("path");
    outline.setAttribute("d", region.rings.map((r) => "M" + r.map((p) => p.join(",")).join("L") + "Z").join(""));
    outline.setAttribute("stroke", region.colour);
    outlines.set(region.id, outline);
    moved.append(outline);
  }

  let chosen = null;
  function place() {
    const item = viewer.world.getItemAt(0);
    if (!item) return;
    const from = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const to = item.imageToViewerElementCoordinates(new OpenSeadragon.Point(data.width, 0));
    const scale = (to.x - from.x) / data.width;
    moved.setAttribute("transform", `translate(${from.x} ${from.y}) scale(${scale})`);
    placePath(from, scale);
    words.replaceChildren();
    const { width, height } = marks.getBoundingClientRect();
    const taken = [];
    // the largest first, and only where there is room
    for (const region of byArea) {
      const outline = outlines.get(region.id);
      const [x0, y0, x1, y1] = region.box.map((v, i) => v * scale + (i % 2 ? from.y : from.x));
      const inView = x1 > 0 && y1 > 0 && x0 < width && y0 < height;
      outline.style.display = inView && Math.max(x1 - x0, y1 - y0) > 5 ? "" : "none";
      const wanted = get("show-words").checked && region.text && (x1 - x0 > 24 || region === chosen);
      if (!inView || !wanted) continue;
      const half = region.text.length * 3.4, x = (x0 + x1) / 2, y = Math.max(14, y0 - 5);
      const spot = [x - half, y - 12, x + half, y + 4];
      if (region !== chosen && taken.some((t) => spot[0] < t[2] && t[0] < spot[2] && spot[1] < t[3] && t[1] < spot[3])) continue;
      taken.push(spot);
      const text = svg("text");
      text.setAttribute("x", x);
      text.setAttribute("y", y);
      text.textContent = region.text;
      words.append(text);
    }
  }
  const area = (r) => (r.box[2] - r.box[0]) * (r.box[3] - r.box[1]);
  const byArea = [...data.regions].sort((a, b) => area(b) - area(a));

  function show(box, rim) {
    const [x0, y0, x1, y1] = box, w = Math.max(x1 - x0, 40), h = Math.max(y1 - y0, 40);
    const item = viewer.world.getItemAt(0);
    if (item) viewer.viewport.fitBounds(item.imageToViewportRectangle(x0 - w * rim, y0 - h * rim, w * (1 + 2 * rim), h * (1 + 2 * rim)));
  }
  function mark(ids) {
    for (const [id, outline] of outlines) outline.classList.toggle("chosen", ids.includes(id));
    for (const line of get("regions").children) line.classList.toggle("chosen", ids.includes(Number(line.dataset.id)));
  }
  function choose(region) {
    stop();
    mark([region.id]);
    chosen = region;
    say([region.text, `${region.place} of the picture`, ...region.near].filter(Boolean).join("; "));
    show(region.box, 1.2);
    place();
  }
  function say(text) {
    get("said").textContent = text;
    get("said").hidden = !text;
  }

  const lines = data.regions.map((region) => {
    const line = document.createElement("li"), more = document.createElement("small");
    line.dataset.id = region.id;
    line.style.borderColor = region.colour;
    line.textContent = `#${region.id} ${region.text || "(no words)"}`;
    more.textContent = [`${region.place} of the picture`, ...region.near].join("; ");
    // the long form was asked of a close-up: its places are places in that
    if (region.detail) more.append(document.createElement("br"), `close up: ${region.detail}`);
    line.append(more);
    line.addEventListener("click", () => choose(region));
    get("regions").append(line);
    return [line, `${line.textContent} ${region.detail}`.toLowerCase()];
  });
  function search() {
    const asked = get("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const [line, text] of lines) n += !(line.hidden = !asked.every((word) => text.includes(word)));
    get("count").textContent = `${n} of ${lines.length} regions`;
  }
  get("search").addEventListener("input", search);
  search();

  for (const scene of data.scenes) {
    const head = document.createElement("h2");
    head.textContent = `Scene ${scene.scene}`;
    head.addEventListener("click", () => { stop(); show(scene.box_xyxy, 0); });
    get("script").append(head);
    for (const sentence of scene.sentences) {
      const line = document.createElement("p");
      line.textContent = sentence.text;
      line.addEventListener("click", () => choose(data.regions.find((r) => r.id === sentence.region_ids[0])));
      get("script").append(line);
    }
  }
  function tab(script) {
    get("script").hidden = !script;
    for (const id of ["regions", "search", "count"]) get(id).hidden = script;
    get("tab-script").classList.toggle("on", script);
    get("tab-regions").classList.toggle("on", !script);
  }
  get("tab-script").addEventListener("click", () => tab(true));
  get("tab-regions").addEventListener("click", () => tab(false));

  const shows = () => {
    for (const outline of outlines.values()) outline.style.visibility = get("show-regions").checked ? "" : "hidden";
    path.style.display = get("show-path").checked ? "" : "none";
    place();
  };
  for (const id of ["show-regions", "show-words", "show-path"]) get(id).addEventListener("change", shows);
  get("home").addEventListener("click", () => { stop(); viewer.viewport.goHome(); });
  get("film").hidden = !data.film;
  get("film").href = data.film;

  // the walk goes from scene to scene and tells each sentence for as long as it takes to speak
  const tour = data.scenes.flatMap((scene) => scene.sentences.length
    ? scene.sentences.map((sentence) => ({ scene, sentence, ms: Math.max(1500, (sentence.end_ns - sentence.start_ns) / 1e6) }))
    : [{ scene, sentence: null, ms: 2500 }]);
  let timer = null, at = 0, shown = null;
  function stop() {
    clearTimeout(timer);
    timer = shown = null;
    get("walk").textContent = "Walk";
    mark([]);
    say("");
  }
  function step() {
    if (at >= tour.length) { at = 0; stop(); return; }
    const { scene, sentence, ms } = tour[at++];
    if (scene !== shown) show(scene.box_xyxy, 0);
    const glides = scene === shown ? 0 : 1200;
    shown = scene;
    mark(sentence ? sentence.region_ids : []);
    say(sentence ? sentence.text : "");
    timer = setTimeout(step, ms + glides);
  }
  get("walk").addEventListener("click", () => {
    if (timer) { stop(); return; }
    stop();
    get("walk").textContent = "Stop";
    step();
  });
  viewer.addHandler("canvas-drag", () => timer && stop());

  // #region=7 or #scene=2 in the address opens there
  viewer.addHandler("open", () => {
    const [what, number] = location.hash.slice(1).split("=");
    const region = what === "region" && data.regions.find((r) => r.id === Number(number));
    const scene = what === "scene" && data.scenes.find((s) => s.scene === Number(number));
    if (region) choose(region);
    if (scene) show(scene.box_xyxy, 0);
    shows();
  });
  viewer.addHandler("update-viewport", place);
  viewer.addHandler("resize", place);
})();
