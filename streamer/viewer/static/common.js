// Small things that several parts share.

export const $ = (id) => document.getElementById(id);

export function element(tag, classes = "", text = "") {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text) made.textContent = text; // never HTML: words may hold anything
  return made;
}

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// h:mm:ss.d since the origin of media time, or the time of day of a live stream
export function clock(ms, stream, digits = 0) {
  if (stream?.unix) {
    const date = new Date(ms + stream.origin_ms);
    const day = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
    return digits ? `${day}.${String(date.getMilliseconds()).padStart(3, "0").slice(0, digits)}` : day;
  }
  const at = ms + (stream?.origin_ms ?? 0);
  const sign = at < 0 ? "-" : "", unit = 10 ** digits;
  const units = Math.floor(Math.abs(at) / 1000 * unit + 1e-6), seconds = Math.floor(units / unit);
  const h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60, s = seconds % 60;
  const text = h ? `${h}:${String(m).padStart(2, "0")}` : `${m}`;
  const part = digits ? `.${String(units % unit).padStart(digits, "0")}` : "";
  return `${sign}${text}:${String(s).padStart(2, "0")}${part}`;
}

// the colour that the captioned film gives a track
export function trackColour(id, alpha = 1, light = 1) {
  const hue = (((id * 0.61803398875) % 1) + 1) % 1 * 6;
  const channel = (n) => { const k = (n + hue) % 6; return (1 - 0.75 * Math.max(0, Math.min(k, 4 - k, 1))) * light; };
  const [r, g, b] = [5, 3, 1].map((n) => Math.round(channel(n) * 255));
  return `rgb(${r} ${g} ${b} / ${alpha})`;
}

export const kindName = (kind) => kind.replaceAll("_", " ");

let timer = null;
export function say(text, bad = false) {
  const said = $("said");
  said.textContent = text;
  said.classList.toggle("bad", bad);
  clearTimeout(timer);
  timer = setTimeout(() => { said.textContent = ""; }, bad ? 8000 : 3500);
}

// a place for what happens: on("seek", f), emit("seek", 12)
const listeners = new Map();
export function on(name, listener) {
  listeners.set(name, [...(listeners.get(name) ?? []), listener]);
}
export function emit(name, ...values) {
  for (const listener of listeners.get(name) ?? []) listener(...values);
}

// a canvas in device pixels; the context draws in CSS pixels
export function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
