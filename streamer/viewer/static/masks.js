// Masks, fetched a little ahead of where they are needed, and what to draw of them at a moment.

import { get, isAbort } from "./api.js";
import { say } from "./common.js";

const SPAN_MS = 2000, KEPT = 40;
let stream = null, spans = new Map(), pending = new Map(), changed = () => {};

export function open(of, onChange) {
  stream = of;
  changed = onChange;
  forget(-Infinity);
}

// what was fetched from a moment on may have grown since
export function forget(fromMs) {
  for (const [n, controller] of pending) {
    if ((n + 1) * SPAN_MS > fromMs) { controller.abort(); pending.delete(n); }
  }
  for (const n of [...spans.keys()]) if ((n + 1) * SPAN_MS > fromMs) spans.delete(n);
}

// the masks around a moment, fetched anew
export function fresh(ms) {
  forget(ms);
  return want(Math.floor(ms / SPAN_MS));
}

async function want(n) {
  if (n < 0 || spans.has(n) || pending.has(n) || !stream) return;
  const controller = new AbortController(), of = stream.id;
  pending.set(n, controller);
  await get("api/masks", { stream: of, start: n * SPAN_MS, end: (n + 1) * SPAN_MS }, controller.signal)
    .then((data) => {
      if (stream.id !== of) return;
      spans.set(n, data.frames.map(([t, regions]) => [t, regions.map(([id, rings]) => [id, path(rings), box(rings)])]));
      while (spans.size > KEPT) spans.delete(spans.keys().next().value);
      changed();
    })
    .catch((error) => { if (!isAbort(error)) say(error.message, true); })
    .finally(() => { if (pending.get(n) === controller) pending.delete(n); });
}

// [x, y, dx, dy, ...] to a path; holes are rings too
export function path(rings) {
  const made = new Path2D();
  for (const ring of rings) {
    let [x, y] = ring;
    made.moveTo(x + 0.5, y + 0.5);
    for (let i = 2; i < ring.length; i += 2) { x += ring[i]; y += ring[i + 1]; made.lineTo(x + 0.5, y + 0.5); }
    made.closePath();
  }
  return made;
}

function box(rings) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const ring of rings) {
    let x = 0, y = 0;
    for (let i = 0; i < ring.length; i += 2) {
      x += ring[i]; y += ring[i + 1];
      x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
    }
  }
  return [x0, y0, x1, y1];
}

// the regions of the picture shown at a moment: [id, path, box] each
export function at(ms) {
  const n = Math.floor(ms / SPAN_MS), frame = 1000 / (stream?.fps || 25);
  want(n);
  want(n + 1);
  const frames = spans.get(n);
  if (!frames) return [];
  const until = ms + frame * 0.4;
  let low = 0, high = frames.length;
  while (low < high) { const mid = (low + high) >> 1; if (frames[mid][0] <= until) low = mid + 1; else high = mid; }
  let found = frames[low - 1];
  if (!found) found = spans.get(n - 1)?.at(-1);
  return found && ms - found[0] < frame * 1.6 ? found[1] : [];
}
