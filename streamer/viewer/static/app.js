// Puts the parts together: a moment and a stream, and everything that follows them.

import { get } from "./api.js";
import { clear } from "./ask.js";
import * as ask from "./ask_film.js";
import { $, on, say } from "./common.js";
import * as keys from "./keys.js";
import * as masks from "./masks.js";
import { draw, overlay } from "./overlay.js";
import * as panels from "./panels.js";
import * as film from "./player.js";
import * as timeline from "./timeline.js";

const { player } = film;
let streams = [];

function choose(id, at = 0) {
  const stream = streams.find((s) => s.id === id) ?? streams[0];
  $("stream").value = stream.id;
  $("film").replaceChildren(...stream.films.map((kind) => new Option(kind === "source" ? "the film" : "captioned film", kind)));
  $("film-pick").hidden = stream.films.length < 2;
  masks.open(stream, draw);
  clear();
  film.open(stream, at);
  timeline.open();
}

function jump(id, ms, track) {
  if (id !== player.stream.id) choose(id, ms);
  overlay.chosen = track;
  film.pause();
  film.seek(ms + 1); // into the picture, not before it
}

function grown(about) {
  const before = player.last, known = player.stream?.known_ms ?? 0;
  streams = about.streams;
  const stream = streams.find((s) => s.id === player.stream?.id);
  if (!stream) { start(about); return; }
  masks.forget(known - 4000); // what was fetched of the time that was not known yet
  film.grow(stream);
  timeline.grow(before);
  panels.grow(streams);
  panels.facets();
  film.showClock();
  draw();
}

function live() {
  const source = new EventSource("api/live");
  let first = true;
  let quiet = null, mine = 0;
  on("saving", () => { mine = Date.now(); });
  source.addEventListener("pulse", (event) => {
    if (!first) {
      if (Date.now() - mine > 3000) $("live").hidden = false; // what one saves oneself is no run
      clearTimeout(quiet);
      quiet = setTimeout(() => { $("live").hidden = true; }, 6000);
      grown(JSON.parse(event.data));
    }
    first = false;
  });
}

function start(about) {
  streams = about.streams;
  $("stream").replaceChildren(...streams.map((s) => new Option(s.id, s.id)));
  $("stream-pick").hidden = streams.length < 2;
  if (streams.length) choose(streams[0].id);
  panels.open(streams).then(() => panels.facets());
}

function setUp() {
  for (const part of [film, timeline, panels, ask, keys]) part.setUp();
  overlay.words = (id) => timeline.wordsAt(id, player.now);
  on("time", (ms, jumped) => {
    film.showClock();
    timeline.follow(jumped);
    panels.follow(ms);
    ask.moved();
    draw();
  });
  on("playing", (playing) => { if (playing) ask.moved(); });
  on("length", () => { film.showClock(); timeline.fit(); });
  on("lanes", draw);
  on("jump", jump);
  on("track", (id) => { overlay.chosen = id; draw(); });
  on("tab", (name) => ask.show(name === "ask"));
  on("film", (kind) => {
    $("film").value = kind;
    // the captioned film shows them already
    $("show-masks").checked = $("show-words").checked = kind !== "captioned";
  });
  $("film").addEventListener("change", () => film.show($("film").value));
  $("stream").addEventListener("change", () => { choose($("stream").value); panels.captions.reset(); panels.events.reset(); });
  for (const id of ["show-masks", "show-words"]) $(id).addEventListener("change", draw);
  $("overlay").addEventListener("click", () => { if ($("panel-ask").hidden) film.toggle(); });
  new ResizeObserver(draw).observe($("stage"));
}

async function main() {
  // the token has become a cookie; it need not stay in the address or the history
  if (location.search) history.replaceState(null, "", location.pathname);
  const about = await get("api/run");
  document.title = `${about.title} · streamer`;
  $("title").textContent = about.title;
  if (about.scroll && !about.streams.length) {
    panels.setUpTabs();
    const scroll = await import("./scroll.js");
    await scroll.open(about.title);
    $("help-open").addEventListener("click", () => $("help").showModal());
    return;
  }
  setUp();
  start(about);
  live();
}

main().catch((error) => say(error.message, true));
