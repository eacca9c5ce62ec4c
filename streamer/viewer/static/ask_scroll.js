// Ask on a scroll: what is in view is looked at; places are in pixels of the canvas.

import { post } from "./api.js";
import { hint, setUp as begin, state } from "./ask.js";
import { $, clamp, say, sized } from "./common.js";
import { drawAsk } from "./drawing.js";
import { pointAt, pointing } from "./pointing.js";

const SAME = 0.02; // of the longer side: so far a view may move and still be the same picture

export function setUp(viewer, data, saved) {
  const surface = document.createElement("canvas"), box = viewer.canvas, Point = window.OpenSeadragon.Point;
  surface.id = "asked";
  surface.setAttribute("aria-hidden", "true");
  $("osd").append(surface, $("ask-hint"));
  let look = null, seen = null, scheduled = false, byKeys = false;
  const item = () => viewer.world.getItemAt(0);

  // the part of the canvas in view: x0, y0, x1, y1
  function limits() {
    const part = item().viewportToImageRectangle(viewer.viewport.getBounds(true));
    const x = (v) => clamp(v, 0, data.width_px), y = (v) => clamp(v, 0, data.height_px);
    return [x(part.x), y(part.y), x(part.x + part.width), y(part.y + part.height)];
  }

  function at(event) {
    const place = box.getBoundingClientRect();
    const found = item()?.viewerElementToImageCoordinates(new Point(event.clientX - place.left, event.clientY - place.top));
    return found ? [found.x, found.y] : null;
  }

  async function looked() {
    const view = limits(), long = Math.max(view[2] - view[0], view[3] - view[1]);
    if (look === null || view.some((v, i) => Math.abs(v - seen[i]) > SAME * long)) {
      ({ look } = await post("api/ask/view", { box: view }));
      seen = view;
      state.points = state.points.slice(-1); // those before were of another picture
    }
    return look;
  }

  function draw() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; paint(); });
  }

  function paint() {
    const { width, height } = box.getBoundingClientRect(), context = sized(surface, width, height);
    if (!state.active || !item()) return;
    const from = item().imageToViewerElementCoordinates(new Point(0, 0));
    const to = item().imageToViewerElementCoordinates(new Point(data.width_px, 0));
    const p = { x: from.x, y: from.y, scale: (to.x - from.x) / data.width_px, bounds: { left: 0, top: 0, right: width, bottom: height } };
    drawAsk(context, p, state, byKeys && document.activeElement === box ? middle() : null);
  }

  function middle() {
    const [x0, y0, x1, y1] = limits();
    return [(x0 + x1) / 2, (y0 + y1) / 2];
  }

  begin({
    closed: () => "", rest: () => {}, when: () => "", draw, look: looked,
    saved: (answer) => { saved(answer.region); say("saved as a region"); },
    cleared: () => { look = seen = null; },
  });
  const places = { limits, context: surface.getContext("2d") };
  pointing(box, {
    ...places, at, draw,
    grab: (event) => {
      viewer.gestureSettingsMouse.dragToPan = event.ctrlKey || event.metaKey;
      return viewer.gestureSettingsMouse.dragToPan;
    },
  });
  // before OpenSeadragon, whose keys move and zoom the picture under the cross in its middle
  box.addEventListener("keydown", (event) => {
    if (!state.active || event.key !== "Enter") return;
    pointAt(...middle(), event, places);
    event.preventDefault();
    event.stopPropagation();
  }, true);
  for (const kind of ["keydown", "keyup", "pointerdown"]) {
    box.addEventListener(kind, () => { byKeys = kind !== "pointerdown"; draw(); }, true);
  }
  for (const kind of ["focus", "blur"]) box.addEventListener(kind, draw);
  for (const name of ["open", "update-viewport", "resize"]) viewer.addHandler(name, draw);

  show = (active) => {
    state.active = active;
    for (const gestures of [viewer.gestureSettingsMouse, viewer.gestureSettingsTouch, viewer.gestureSettingsPen]) {
      gestures.dragToPan = gestures.flickEnabled = !active;
      gestures.dblClickToZoom = !active;
    }
    if (active) box.setAttribute("aria-label", "The picture: click a thing, drag a box, or move it under the cross with the arrow keys and press Enter");
    else box.removeAttribute("aria-label");
    box.setAttribute("role", active ? "application" : "group");
    $("osd").classList.toggle("asking", active);
    hint();
    draw();
  };
}

export let show = () => {};
