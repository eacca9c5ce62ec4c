// The lists beside the film: captions that are searched, and events that grow while a run goes on.

import { address, get } from "./api.js";
import { $, clock, element, emit, kindName, on, say, trackColour } from "./common.js";
import { VirtualList } from "./list.js";
import { player } from "./player.js";

let streams = [];
const stream = (id) => streams.find((s) => s.id === id) ?? player.stream;
const count = (tab) => (total, most) => {
  $(tab).querySelector(".n").textContent = most && total > most ? `${most.toLocaleString()}+` : total.toLocaleString();
};

const where = (item) => (streams.length > 1 ? `${item.stream}  ·  ` : "");

function captionRow(item) {
  const row = element("div", "row-item"), of = stream(item.stream);
  const picture = element("img");
  picture.alt = "";
  picture.loading = "lazy";
  picture.width = picture.height = 40;
  picture.src = address("api/best", { stream: item.stream, track: item.track });
  picture.style.borderColor = trackColour(item.track);
  const text = element("div", "text"), until = item.end === null ? "…" : clock(item.end, of);
  text.append(element("b", "", item.text || "(no words)"),
    element("small", "", `${where(item)}${clock(item.t, of)} – ${until}  ·  #${item.track}${item.why === "asked" ? "  ·  asked" : ""}`));
  row.title = item.detail;
  row.append(picture, text);
  if (item.logprob !== null) {
    const sure = element("span", "sure", `${Math.round(Math.exp(item.logprob) * 100)}%`);
    sure.title = "how sure the model is of its words";
    row.append(sure);
  }
  return row;
}

function eventRow(item) {
  const row = element("div", "row-item event");
  const dot = element("i", `dot ${/gap|error/.test(item.kind) ? "bad" : ""}`);
  if (item.track !== null) dot.style.background = trackColour(item.track);
  const text = element("div", "text");
  text.append(element("b", "", kindName(item.kind) + (item.track === null ? "" : `  #${item.track}`)),
    element("small", "", `${where(item)}${clock(item.t, stream(item.stream), 2)}${item.note ? `  ·  ${item.note}` : ""}`));
  row.append(dot, text);
  return row;
}

const only = (id) => ($(id).checked ? player.stream?.id : "");
// words are true of the picture that was looked at, which is where one sees why
const choose = (item) => emit("jump", item.stream, item.seen ?? item.t, item.track);

export const captions = new VirtualList($("captions"), {
  fetch: (offset, limit, signal) => get("api/captions", {
    q: $("search").value, category: $("category").value, stream: only("captions-stream"), offset, limit,
  }, signal),
  row: captionRow, choose, height: 58, empty: "no caption holds all these words", total: count("tab-captions"),
});

export const events = new VirtualList($("events"), {
  fetch: (offset, limit, signal) => get("api/events", {
    kind: $("kind").value, stream: only("events-stream"), offset, limit,
  }, signal),
  row: eventRow, choose, height: 46, empty: "nothing has happened yet", total: count("tab-events"),
});

export function open(all) {
  streams = all;
  for (const label of document.querySelectorAll(".only-stream")) label.hidden = all.length < 2;
  return Promise.all([captions.reset(), events.reset()]);
}

export function grow(all) {
  streams = all;
  captions.refresh();
  events.refresh();
}

export async function facets() {
  const found = await get("api/facets");
  for (const [id, values] of [["category", found.categories], ["kind", found.kinds]]) {
    const picked = $(id).value, known = new Set([...$(id).options].map((o) => o.value));
    for (const value of values) if (!known.has(value)) $(id).append(new Option(kindName(value), value));
    $(id).value = picked;
  }
}

// in the list of events, the one that happened last before a moment
let following = 0;
export async function follow(ms) {
  if (!$("follow").checked || $("panel-events").hidden || Date.now() - following < 400) return;
  following = Date.now();
  const of = player.stream.id;
  if (streams.length > 1) $("events-stream").checked = true;
  try {
    const { place } = await get("api/events/place", { stream: of, t: ms, kind: $("kind").value });
    events.mark(place - 1);
    if (place) events.show(place - 1);
  } catch (error) { say(error.message, true); }
}

export function tab(name) {
  for (const button of $("tabs").children) {
    const on = button.id === `tab-${name}`;
    button.setAttribute("aria-selected", on);
    button.tabIndex = on ? 0 : -1;
    $(button.getAttribute("aria-controls")).hidden = !on;
  }
  if (name === "captions") captions.draw();
  if (name === "events") events.draw();
  emit("tab", name);
}

export function setUpTabs() {
  const names = ["captions", "events", "ask"];
  for (const name of names) $(`tab-${name}`).addEventListener("click", () => tab(name));
  $("tabs").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const shown = [...$("tabs").children].filter((b) => !b.hidden);
    const at = shown.indexOf(document.activeElement), next = shown[(at + by + shown.length) % shown.length];
    tab(next.id.slice(4));
    next.focus();
    event.preventDefault();
    event.stopPropagation();
  });
}

export function setUp() {
  setUpTabs();
  let wait = null;
  $("search").addEventListener("input", () => {
    clearTimeout(wait);
    if ($("panel-captions").hidden) tab("captions");
    wait = setTimeout(() => captions.reset(), 120);
  });
  $("search").addEventListener("keydown", async (event) => {
    if (event.key === "Enter") {
      clearTimeout(wait);
      tab("captions");
      await captions.reset();
      captions.pick(0);
      $("captions").focus();
    } else if (event.key === "Escape") { $("search").value = ""; captions.reset(); $("search").blur(); }
    else return;
    event.preventDefault();
  });
  let like = "";
  const offer = (of, track) => {
    $("like").hidden = track === null || track === undefined;
    like = `like:${of}#${track}`;
  };
  on("jump", (of, ms, track) => offer(of, track));
  on("track", (track) => offer(player.stream.id, track));
  $("like").addEventListener("click", () => {
    $("search").value = like;
    $("search").dispatchEvent(new Event("input"));
  });
  for (const id of ["category", "captions-stream"]) $(id).addEventListener("change", () => captions.reset());
  for (const id of ["kind", "events-stream"]) $(id).addEventListener("change", () => events.reset());
}
