// Ask: a point, a box or everything; then words and questions about what was found.

import { post } from "./api.js";
import { $, clamp, clock, element, emit, say } from "./common.js";
import { draw, overlay, toPicture } from "./overlay.js";
import { pause, player } from "./player.js";

const canvas = $("overlay");
const state = { active: false, look: null, at: null, regions: [], chosen: null, points: [], drag: null, cross: null, busy: 0 };
overlay.ask = state;
let line = Promise.resolve(); // one thing after the other, in the order in which it was asked

export function show(active) {
  state.active = active;
  if (active) {
    pause();
    // while one still decides where to click, the models are loaded
    if (player.stream.films.length && state.look === null) queue(looked);
    state.cross ??= [player.stream.width / 2, player.stream.height / 2];
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "The picture: click a thing, drag a box, or move the cross with the arrow keys and press Enter");
  } else {
    canvas.removeAttribute("tabindex");
    canvas.removeAttribute("role");
  }
  $("stage").classList.toggle("asking", active);
  hint();
  draw();
}

// another moment: what was found belongs to the one before
export function moved() {
  if (state.at !== null && Math.abs(player.now - state.at) > 1000 / (player.stream.fps || 25)) clear();
}

export function clear() {
  Object.assign(state, { look: null, at: null, regions: [], chosen: null, points: [], drag: null });
  $("answers").replaceChildren();
  hint();
  draw();
}

function hint() {
  const possible = player.stream?.films.length;
  const text = !possible ? "there is no film to ask about" : state.busy ? "looking …" : state.regions.length ? "" : "click a thing, or drag a box";
  $("ask-hint").textContent = text;
  $("ask-hint").hidden = !state.active || !text;
  for (const id of ["ask-short", "ask-detailed", "ask-save", "ask-text"]) $(id).disabled = state.chosen === null;
  $("ask-all").disabled = $("ask-form").querySelector("[type=submit]").disabled = !possible;
  if (state.chosen === null) $("ask-form").querySelector("[type=submit]").disabled = true;
}

function queue(work) {
  state.busy += 1;
  hint();
  line = line.then(work).catch((error) => say(error.message, true)).finally(() => {
    state.busy -= 1;
    hint();
    draw();
  });
  return line;
}

async function looked() {
  if (state.look === null) {
    const found = await post("api/ask/look", { stream: player.stream.id, t: player.now });
    state.look = found.look;
    state.at = player.now;
  }
  return state.look;
}

function find(what) {
  pause();
  return queue(async () => {
    const look = await looked();
    const { regions } = await post("api/ask/region", { look, ...what });
    if (!regions.length) { say("nothing was found there"); return; }
    if (what.everything) { state.regions = []; $("answers").replaceChildren(); }
    // more points make the same region anew
    if (what.points?.length > 1) state.regions = state.regions.filter((r) => r.region !== state.chosen);
    for (const region of regions) state.regions.push({ ...region, number: state.regions.length + 1, words: "" });
    state.chosen = state.regions.at(what.everything ? 0 : -1).region;
    await words(regions.map((r) => r.region), "short");
  });
}

async function words(regions, form) {
  const { answers } = await post("api/ask/words", { look: state.look, regions, form });
  for (const answer of answers) told(answer);
}

function told({ region, asked, answer, logprob }) {
  const of = state.regions.find((r) => r.region === region);
  if (!of) return;
  if (asked === "short") of.words = answer;
  const said = element("div", "answer"), button = element("button", "chip", String(of.number));
  button.type = "button";
  button.setAttribute("aria-label", `region ${of.number}`);
  button.addEventListener("click", () => choose(region));
  said.dataset.region = region;
  const text = element("div", "text");
  if (asked !== "short" && asked !== "detailed") text.append(element("small", "", asked));
  text.append(element("b", "", answer || "(no words)"));
  if (logprob !== null) text.append(element("small", "", `${asked === "short" || asked === "detailed" ? asked : "answer"}  ·  ${Math.round(Math.exp(logprob) * 100)}% sure  ·  ${clock(state.at, player.stream, 2)}`));
  said.append(button, text);
  $("answers").append(said);
  $("answers").scrollTop = $("answers").scrollHeight;
  choose(state.chosen);
}

function choose(region) {
  state.chosen = region;
  for (const said of $("answers").children) said.classList.toggle("chosen", said.dataset.region === String(region));
  hint();
  draw();
}

function pointAt(x, y, event) {
  const { width, height } = player.stream;
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  // a click on what was found already chooses it
  if (!event.shiftKey && !event.altKey) {
    const context = canvas.getContext("2d");
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    const hits = state.regions.filter((r) => r.outline && context.isPointInPath(r.outline, x, y, "evenodd"));
    context.restore();
    if (hits.length && state.regions.length > 1) {
      const area = (r) => (r.box[2] - r.box[0]) * (r.box[3] - r.box[1]);
      choose(hits.reduce((a, b) => (area(b) < area(a) ? b : a)).region);
      return;
    }
    state.points = [];
  }
  state.points.push({ x, y, inside: !event.altKey });
  find({ points: state.points });
}

export function setUp() {
  canvas.addEventListener("pointerdown", (event) => {
    if (!state.active || event.button !== 0) return;
    const at = toPicture(event);
    if (!at) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    state.drag = [...at, ...at];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!state.drag) return;
    const [x, y] = toPicture(event), { width, height } = player.stream;
    state.drag.splice(2, 2, clamp(x, 0, width), clamp(y, 0, height));
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!state.drag) return;
    const [x0, y0, x1, y1] = state.drag;
    state.drag = null;
    if (Math.abs(x1 - x0) < 6 && Math.abs(y1 - y0) < 6) { pointAt(x0, y0, event); return; }
    state.points = [];
    find({ box: [x0, y0, x1, y1] });
  });
  canvas.addEventListener("pointercancel", () => { state.drag = null; draw(); });
  canvas.addEventListener("keydown", (event) => {
    if (!state.active) return;
    const { width, height } = player.stream, by = (event.shiftKey ? 0.05 : 0.01) * Math.max(width, height);
    const step = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[event.key];
    if (step) state.cross = [clamp(state.cross[0] + step[0], 0, width - 1), clamp(state.cross[1] + step[1], 0, height - 1)];
    else if (event.key === "Enter") pointAt(...state.cross, event);
    else return;
    event.preventDefault();
    event.stopPropagation();
    draw();
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, draw);
  $("ask-all").addEventListener("click", () => { state.points = []; find({ everything: true }); });
  $("ask-clear").addEventListener("click", clear);
  for (const form of ["short", "detailed"]) {
    $(`ask-${form}`).addEventListener("click", () => { const region = state.chosen; queue(() => words([region], form)); });
  }
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("ask-text").value.trim(), region = state.chosen;
    if (!text || region === null) return;
    $("ask-text").value = "";
    queue(async () => told(await post("api/ask/question", { look: state.look, region, text })));
  });
  $("ask-save").addEventListener("click", () => {
    const region = state.chosen;
    queue(async () => {
      emit("saving");
      const saved = await post("api/ask/save", { look: state.look, region });
      say(`saved as a caption of #${saved.track}`);
    });
  });
}
