// Clicks and drags on a picture become points and boxes to ask about.

import { choose, find, state } from "./ask.js";
import { clamp } from "./common.js";

const STILL_PX = 6; // what moves less is a click

// `at(event)`: the place in the picture, or null; `limits()`: x0, y0, x1, y1 of what may be asked
// about; `context`: a 2D context in which outlines are tried; `grab(event)`: the drag moves the
// picture, and is none of ours
export function pointing(box, { at, limits, context, draw, grab = () => false }) {
  const down = new Map();
  let begun = null;
  box.addEventListener("pointerdown", (event) => {
    if (!state.active || event.button !== 0) return;
    down.set(event.pointerId, true);
    const place = at(event);
    // two fingers zoom, and ask nothing
    if (!place || down.size > 1 || grab(event)) { stop(); return; }
    event.preventDefault();
    box.focus({ preventScroll: true });
    box.setPointerCapture(event.pointerId);
    begun = [event.clientX, event.clientY];
    state.drag = [...place, ...place];
  });
  box.addEventListener("pointermove", (event) => {
    if (!state.drag) return;
    const [x, y] = at(event), [x0, y0, x1, y1] = limits();
    state.drag.splice(2, 2, clamp(x, x0, x1), clamp(y, y0, y1));
    draw();
  });
  box.addEventListener("pointerup", (event) => {
    down.delete(event.pointerId);
    if (!state.drag) return;
    const [x0, y0, x1, y1] = state.drag;
    const moved = Math.max(Math.abs(event.clientX - begun[0]), Math.abs(event.clientY - begun[1]));
    stop();
    if (moved < STILL_PX) { pointAt(x0, y0, event, { limits, context }); return; }
    state.points = [];
    find({ box: [x0, y0, x1, y1] });
  });
  box.addEventListener("pointercancel", (event) => { down.delete(event.pointerId); stop(); });
  function stop() {
    state.drag = null;
    draw();
  }
}

export function pointAt(x, y, event, { limits, context }) {
  const [x0, y0, x1, y1] = limits();
  if (x < x0 || y < y0 || x >= x1 || y >= y1) return;
  // a click on what was found already chooses it
  if (!event.shiftKey && !event.altKey) {
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    const hits = state.regions.filter((r) => r.outline && context.isPointInPath(r.outline, x, y, "evenodd"));
    context.restore();
    if (hits.length && state.regions.length > 1) {
      const area = (r) => (r.box[2] - r.box[0]) * (r.box[3] - r.box[1]);
      choose(hits.reduce((a, b) => (area(b) < area(a) ? b : a)).key);
      return;
    }
    state.points = [];
  }
  state.points.push({ x, y, inside: !event.altKey });
  find({ points: state.points });
}
