// The film and its time. Without a film, a clock of its own lets the masks play, and of a camera the
// newest picture can be followed.

import { address } from "./api.js";
import * as camera from "./camera.js";
import { $, clamp, clock, emit, say } from "./common.js";

const video = $("video");
export const player = { stream: null, kind: "", now: 0, last: 0, playing: false, following: false, rate: 1 };
let ticking = null; // time of the last tick of the clock without a film

const hasFilm = () => player.kind !== "";

export function open(stream, at = 0) {
  player.stream = stream;
  player.last = stream.last_ms;
  show(stream.films[0] ?? "", at);
  if (camera.can() && !at) follow();
}

export function follow() {
  pause();
  camera.follow();
  state(true);
}

export function show(kind, at = player.now) {
  pause();
  player.kind = kind;
  $("video").hidden = kind === "";
  $("stage").style.setProperty("--ratio", `${player.stream.width || 16} / ${player.stream.height || 9}`);
  if (kind) {
    video.src = address("film", { stream: player.stream.id, kind });
    video.playbackRate = player.rate;
  } else {
    video.removeAttribute("src");
    video.load();
  }
  emit("film", kind);
  seek(at);
  camera.refresh();
}

export function grow(stream) { // a run goes on
  player.stream = stream;
  player.last = Math.max(stream.last_ms, 0);
  if (!hasFilm() && stream.films.length) show(stream.films[0]);
  else if (!hasFilm()) camera.refresh();
}

export function seek(ms) {
  if (player.following) pause();
  player.now = clamp(ms, 0, Math.max(0, player.last));
  if (hasFilm()) video.currentTime = player.now / 1000;
  emit("time", player.now, true);
}

export function step(pictures) {
  pause();
  const length = 1000 / (player.stream?.fps || 25);
  // a little into the picture, so that rounding never shows the one before
  seek((Math.round(player.now / length - 0.25) + pictures) * length + length * 0.25);
}

export function play() {
  if (!player.stream) return;
  if (camera.shown() || (camera.can() && player.now >= player.last - 20)) { follow(); return; }
  if (player.now >= player.last - 20) seek(0);
  if (hasFilm()) video.play().catch((error) => { if (error.name !== "AbortError") say(error.message, true); });
  else { ticking = performance.now(); state(true); requestAnimationFrame(tick); }
}

export function pause() {
  if (hasFilm()) video.pause();
  ticking = null;
  camera.stop();
  state(false);
}

export const toggle = () => (player.playing ? pause() : play());

export function speed(rate) {
  player.rate = video.playbackRate = rate;
}

function state(playing) {
  player.playing = playing;
  $("play").classList.toggle("playing", playing);
  $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  emit("playing", playing);
}

function tick(at) {
  if (ticking === null) return;
  player.now = Math.min(player.last, player.now + (at - ticking) * player.rate);
  ticking = at;
  emit("time", player.now, false);
  if (player.now >= player.last) { pause(); if (camera.can()) follow(); }
  else requestAnimationFrame(tick);
}

function showClock() {
  const now = clock(player.now, player.stream, 2);
  // a camera has no end, and "Live" says that this is it
  $("clock").textContent = camera.can() ? now : `${now} / ${clock(player.last, player.stream)}`;
}

export function setUp() {
  const moved = (ms, jumped) => { player.now = ms; emit("time", ms, jumped); };
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const frame = (_, about) => {
      if (player.playing) moved(about.mediaTime * 1000, false);
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
  } else {
    video.addEventListener("timeupdate", () => { if (player.playing) moved(video.currentTime * 1000, false); });
  }
  video.addEventListener("playing", () => state(true));
  video.addEventListener("pause", () => state(false));
  video.addEventListener("ended", () => state(false));
  video.addEventListener("loadedmetadata", () => {
    player.last = Math.max(player.last, video.duration * 1000 || 0);
    emit("length");
    seek(player.now);
  });
  video.addEventListener("error", () => {
    if (!hasFilm()) return;
    const other = player.stream.films.find((kind) => kind !== player.kind);
    if (other && player.kind === "source") show(other);
    else say("this browser cannot play the film", true);
  });
  for (const [id, pictures] of [["back", -1], ["next", 1]]) $(id).addEventListener("click", () => step(pictures));
  $("play").addEventListener("click", toggle);
  $("to-live").addEventListener("click", follow);
  camera.setUp();
  $("speed").addEventListener("change", () => speed(Number($("speed").value)));
  $("mute").addEventListener("click", mute);
}

export function mute() {
  video.muted = !video.muted;
  $("mute").setAttribute("aria-pressed", video.muted);
}

export { showClock };
