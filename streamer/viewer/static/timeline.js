// The time line: a lane for each track, with its captions and events. Only what is seen is drawn.

import { get, isAbort } from "./api.js";
import { $, clamp, clock, emit, kindName, say, sized, trackColour } from "./common.js";
import { player, seek } from "./player.js";

const LANE = 24, RULER = 26, LABEL = 44, FIRST_SPAN_MS = 300_000;
const box = $("lanes"), canvas = box.querySelector("canvas"), tall = box.querySelector(".tall");
const view = { from: 0, to: 1000 };
let data = { tracks: [], loose: [], total: 0, from: 0, to: 0 }, controller = null, due = null, scheduled = false, drag = null, asked = 0;

export function open() {
  data = { tracks: [], loose: [], total: 0, from: 0, to: 0 };
  view.from = 0;
  view.to = Math.max(1000, Math.min(player.last || 1000, FIRST_SPAN_MS));
  load();
}

export const fit = () => look(0, Math.max(1000, player.last));

export function zoom(factor, around = player.now) {
  const middle = around >= view.from && around <= view.to ? around : (view.from + view.to) / 2;
  look(middle - (middle - view.from) * factor, middle + (view.to - middle) * factor);
}

function look(from, to) {
  const span = clamp(to - from, 200, Math.max(1000, player.last * 1.02));
  view.from = clamp(from, 0, Math.max(0, Math.max(1000, player.last) - span));
  view.to = view.from + span;
  draw();
  load(120);
}

// a run that goes on: the view grows with it when it showed the end
export function grow(before) {
  if (view.to >= before - 1 && player.last > view.to) {
    const span = Math.min(player.last, Math.max(view.to - view.from, Math.min(player.last, FIRST_SPAN_MS)));
    view.to = Math.max(1000, player.last);
    view.from = Math.max(0, view.to - span);
  }
  load(60);
}

export function load(wait = 0) {
  clearTimeout(due);
  due = setTimeout(async () => {
    controller?.abort();
    controller = new AbortController();
    const span = view.to - view.from, number = ++asked, of = player.stream;
    const [from, to] = [Math.max(0, view.from - span / 2), view.to + span / 2];
    try {
      const found = await get("api/lanes", { stream: of.id, start: from, end: to }, controller.signal);
      if (number !== asked || of.id !== player.stream.id) return;
      data = { ...found, from, to };
      $("lanes-note").textContent = found.total > found.tracks.length
        ? `the first ${found.tracks.length} of ${found.total}; zoom in for the others` : found.total ? `${found.total} in view` : "none yet";
      tall.style.height = `${RULER + found.tracks.length * LANE + 6}px`;
      draw();
      emit("lanes");
    } catch (error) { if (!isAbort(error)) say(error.message, true); }
  }, wait);
}

// what a track was called at a moment
export function wordsAt(id, ms) {
  const track = data.tracks.find((t) => t.id === id);
  return track?.captions.findLast(([from, to]) => from <= ms + 1 && (to === null || ms <= to + 1))?.[2] ?? "";
}

const width = () => box.clientWidth;
const toX = (ms) => LABEL + (ms - view.from) / (view.to - view.from) * (width() - LABEL - 8);
const toMs = (x) => view.from + (x - LABEL) / (width() - LABEL - 8) * (view.to - view.from);

export function draw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; paint(); });
}

function paint() {
  const w = width(), h = box.clientHeight, style = getComputedStyle(box);
  const ink = style.getPropertyValue("--ink"), dim = style.getPropertyValue("--dim"), line = style.getPropertyValue("--line"), panel = style.getPropertyValue("--panel");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  canvas.style.height = `${h}px`;
  const c = sized(canvas, w, h);
  c.font = "12px system-ui, sans-serif";
  c.textBaseline = "middle";
  const first = Math.max(0, Math.floor((box.scrollTop - RULER) / LANE));
  const count = Math.min(data.tracks.length, first + Math.ceil(h / LANE) + 2);
  grid(c, line, h);
  for (let i = first; i < count; i += 1) lane(c, data.tracks[i], RULER + i * LANE - box.scrollTop, { ink, dim, line, dark });
  c.fillStyle = panel;
  c.fillRect(0, 0, w, RULER - 2);
  ruler(c, dim, line);
  for (const [t, kind] of data.loose) {
    const x = toX(t);
    if (x < LABEL || x > w) continue;
    c.fillStyle = kind === "gap" || kind.endsWith("error") ? "#dc2626" : dim;
    diamond(c, x, RULER - 8, 4);
  }
  const x = toX(player.now);
  if (x >= LABEL - 1 && x <= w) {
    c.fillStyle = style.getPropertyValue("--accent");
    c.fillRect(x - 1, 8, 2, h);
    c.beginPath();
    c.moveTo(x - 6, 2); c.lineTo(x + 6, 2); c.lineTo(x + 6, 8); c.lineTo(x, 15); c.lineTo(x - 6, 8);
    c.fill();
  }
}

function lane(c, track, y, { ink, dim, line, dark }) {
  const w = width(), x0 = toX(track.from), x1 = Math.max(toX(track.to), x0 + 3);
  c.fillStyle = line;
  c.fillRect(0, y + LANE - 1, w, 1);
  c.save();
  c.beginPath();
  c.rect(LABEL, y, w - LABEL, LANE);
  c.clip();
  c.fillStyle = trackColour(track.id, dark ? 0.22 : 0.25, dark ? 1 : 0.85);
  c.beginPath();
  c.roundRect(x0, y + 3, x1 - x0, LANE - 7, 4);
  c.fill();
  for (const [from, to, text] of track.captions) {
    const a = toX(from), b = Math.max(toX(to ?? track.to), a + 3);
    if (b < LABEL || a > w) continue;
    c.fillStyle = trackColour(track.id, dark ? 0.4 : 0.42, dark ? 0.95 : 0.9);
    c.beginPath();
    c.roundRect(a, y + 3, b - a, LANE - 7, 4);
    c.fill();
    c.fillStyle = trackColour(track.id, 1, dark ? 1 : 0.7);
    c.fillRect(a, y + 3, 2, LANE - 7);
    const left = Math.max(a, LABEL) + 6;
    if (b - left > 18) {
      c.save();
      c.beginPath();
      c.rect(left, y, b - left - 3, LANE);
      c.clip();
      c.fillStyle = ink;
      c.fillText(text, left, y + LANE / 2 - 0.5);
      c.restore();
    }
  }
  for (const [t, kind] of track.events) {
    if (kind === "track_start" || kind === "track_end") continue; // the bar says it
    c.fillStyle = ink;
    diamond(c, toX(t), y + LANE / 2 - 0.5, 4.5);
    c.fillStyle = "#f59e0b";
    diamond(c, toX(t), y + LANE / 2 - 0.5, 3);
  }
  c.restore();
  c.fillStyle = dim;
  c.textAlign = "right";
  c.fillText(`#${track.id}`, LABEL - 8, y + LANE / 2 - 0.5, LABEL - 8);
  c.textAlign = "left";
}

function diamond(c, x, y, r) {
  c.beginPath();
  c.moveTo(x, y - r); c.lineTo(x + r, y); c.lineTo(x, y + r); c.lineTo(x - r, y);
  c.fill();
}

function marks() {
  const span = view.to - view.from, wanted = span / Math.max(2, (width() - LABEL) / 90);
  const steps = [40, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 86_400_000];
  const each = steps.find((s) => s >= wanted) ?? 86_400_000 * Math.ceil(wanted / 86_400_000), found = [];
  for (let t = Math.ceil(view.from / each) * each; t <= view.to; t += each) found.push(t);
  return [found, each];
}

function grid(c, line, h) {
  c.fillStyle = line;
  for (const t of marks()[0]) c.fillRect(toX(t), RULER - 6, 1, h);
}

function ruler(c, dim, line) {
  const [found, each] = marks();
  for (const t of found) {
    c.fillStyle = line;
    c.fillRect(toX(t), RULER - 8, 1, 6);
    c.fillStyle = dim;
    c.fillText(clock(t, player.stream, each < 1000 ? 2 : 0), toX(t) + 4, 9);
  }
}

export function follow(jumped) {
  box.setAttribute("aria-valuemax", Math.round(player.last / 100) / 10);
  box.setAttribute("aria-valuenow", Math.round(player.now / 100) / 10);
  box.setAttribute("aria-valuetext", clock(player.now, player.stream, 1));
  const span = view.to - view.from;
  // a page further, as one turns pages of a score
  if (drag === null && (player.now > view.to || player.now < view.from)) {
    look(player.playing && !jumped ? player.now - span * 0.05 : player.now - span / 2, player.playing && !jumped ? player.now + span * 0.95 : player.now + span / 2);
  } else draw();
}

function under(event) {
  const place = box.getBoundingClientRect(), x = event.clientX - place.left, y = event.clientY - place.top;
  const track = y < RULER ? null : data.tracks[Math.floor((y + box.scrollTop - RULER) / LANE)];
  return { x, y, ms: toMs(x), track };
}

function tip(event) {
  const { ms, y, track } = under(event), shown = $("tip"), near = (view.to - view.from) / width() * 6;
  const events = (y < RULER ? data.loose : track?.events ?? []).filter(([t]) => Math.abs(t - ms) < near).map(([, kind]) => kindName(kind));
  const words = track && track.from <= ms && ms <= track.to ? `#${track.id} ${wordsAt(track.id, ms)}` : "";
  const text = [clock(ms, player.stream, 1), words, ...new Set(events)].filter(Boolean).join("  ·  ");
  shown.textContent = text;
  shown.hidden = ms < view.from;
  shown.style.left = `${clamp(event.clientX + 12, 4, innerWidth - shown.offsetWidth - 8)}px`;
  shown.style.top = `${clamp(event.clientY - 34, 4, innerHeight - 30)}px`;
}

export function setUp() {
  box.addEventListener("pointerdown", (event) => {
    const { x, ms } = under(event);
    if (event.button !== 0 || x > box.clientWidth) return; // the scroll bar
    drag = { id: event.pointerId, mouse: event.pointerType === "mouse" };
    if (drag.mouse) { box.setPointerCapture(event.pointerId); seek(ms); }
  });
  box.addEventListener("pointermove", (event) => {
    if (drag?.mouse) seek(under(event).ms);
    if (event.pointerType === "mouse") tip(event);
  });
  box.addEventListener("pointerup", (event) => {
    if (drag && !drag.mouse) seek(under(event).ms); // a tap; a swipe scrolls and is cancelled
    const { track } = under(event);
    if (drag && track) emit("track", track.id);
    drag = null;
  });
  box.addEventListener("pointercancel", () => { drag = null; });
  box.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  box.addEventListener("scroll", draw, { passive: true });
  box.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) {
      event.preventDefault();
      zoom(Math.exp(event.deltaY / 300), under(event).ms);
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      const by = (event.deltaX || event.deltaY) / width() * (view.to - view.from);
      look(view.from + by, view.to + by);
    }
  }, { passive: false });
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-fit").addEventListener("click", fit);
  new ResizeObserver(draw).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
