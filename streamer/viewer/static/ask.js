// Ask: a point, a box or everything; then words and questions about what was found. What is asked
// about, and where, is told by a ground: the film (ask_film.js) or a scroll (ask_scroll.js).

import { post } from "./api.js";
import { $, element, emit, say } from "./common.js";

export const state = { active: false, regions: [], chosen: null, points: [], drag: null, cross: null, busy: 0 };
// why nothing can be asked, or ""; the key of the picture to look at; the picture's name; ...
let ground = { closed: () => "", look: async () => "", when: () => "", rest: () => {}, draw: () => {}, saved: () => {}, cleared: () => {} };
let line = Promise.resolve(); // one thing after the other, in the order in which it was asked

export function clear() {
  Object.assign(state, { regions: [], chosen: null, points: [], drag: null });
  $("answers").replaceChildren();
  ground.cleared();
  hint();
  ground.draw();
}

export function hint() {
  const closed = ground.closed(), none = state.chosen === null;
  const text = closed || (state.busy ? "looking …" : state.regions.length ? "" : "click a thing, or drag a box");
  $("ask-hint").textContent = text;
  $("ask-hint").hidden = !state.active || !text;
  for (const id of ["ask-short", "ask-detailed", "ask-save", "ask-text"]) $(id).disabled = none;
  $("ask-all").disabled = Boolean(closed);
  $("ask-form").querySelector("[type=submit]").disabled = none;
}

export function queue(work) {
  state.busy += 1;
  hint();
  line = line.then(work).catch((error) => say(error.message, true)).finally(() => {
    state.busy -= 1;
    hint();
    ground.draw();
  });
  return line;
}

export function find(what) {
  if (ground.closed()) return null;
  ground.rest();
  return queue(async () => {
    const look = await ground.look(), when = ground.when();
    const { regions } = await post("api/ask/region", { look, ...what });
    if (!regions.length) { say("nothing was found there"); return; }
    if (what.everything) { state.regions = []; $("answers").replaceChildren(); }
    // more points make the same region anew
    if (what.points?.length > 1) state.regions = state.regions.filter((r) => r.key !== state.chosen);
    const found = regions.map((region, n) => ({
      ...region, look, when, key: `${look} ${region.region}`, number: state.regions.length + n + 1, words: "",
    }));
    state.regions.push(...found);
    state.chosen = found[0].key;
    await words(found, "short");
  });
}

async function words(regions, form) {
  const { answers } = await post("api/ask/words", { look: regions[0].look, regions: regions.map((r) => r.region), form });
  for (const answer of answers) told(regions[0].look, answer);
}

function told(look, { region, asked, answer, logprob }) {
  const of = state.regions.find((r) => r.key === `${look} ${region}`);
  if (!of) return;
  if (asked === "short") of.words = answer;
  const said = element("div", "answer"), button = element("button", "chip", String(of.number));
  button.type = "button";
  button.setAttribute("aria-label", `region ${of.number}`);
  button.addEventListener("click", () => choose(of.key));
  said.dataset.region = of.key;
  const text = element("div", "text"), form = asked === "short" || asked === "detailed";
  if (!form) text.append(element("small", "", asked));
  text.append(element("b", "", answer || "(no words)"));
  const sure = logprob === null ? "" : `${Math.round(Math.exp(logprob) * 100)}% sure`;
  text.append(element("small", "", [form ? asked : "answer", sure, of.when].filter(Boolean).join("  ·  ")));
  said.append(button, text);
  $("answers").append(said);
  $("answers").scrollTop = $("answers").scrollHeight;
  choose(state.chosen);
}

export function choose(key) {
  state.chosen = key;
  for (const said of $("answers").children) said.classList.toggle("chosen", said.dataset.region === key);
  hint();
  ground.draw();
}

const chosen = () => state.regions.find((r) => r.key === state.chosen);

export function setUp(of) {
  ground = of;
  $("ask-all").addEventListener("click", () => { state.points = []; find({ everything: true }); });
  $("ask-clear").addEventListener("click", clear);
  for (const form of ["short", "detailed"]) {
    $(`ask-${form}`).addEventListener("click", () => { const region = chosen(); queue(() => words([region], form)); });
  }
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("ask-text").value.trim(), region = chosen();
    if (!text || !region) return;
    $("ask-text").value = "";
    queue(async () => told(region.look, await post("api/ask/question", { look: region.look, region: region.region, text })));
  });
  $("ask-save").addEventListener("click", () => {
    const region = chosen();
    queue(async () => {
      emit("saving");
      ground.saved(await post("api/ask/save", { look: region.look, region: region.region }));
    });
  });
}
