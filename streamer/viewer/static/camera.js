// A camera of which no film is kept: its newest picture, fetched anew while it is followed, frozen
// by a pause. Other moments have masks alone.

import { address, post } from "./api.js";
import { $, emit, on, say } from "./common.js";
import * as masks from "./masks.js";
import { pause, player } from "./player.js";

const EVERY_MS = 1000, MASKS_MS = 700; // masks of a picture are written half a second after it
const picture = $("still");
let of = null, ms = null, url = "", number = 0;

const has = () => player.kind === "" && player.stream?.newest_ms != null;
export const can = has;

// whether the picture that is at hand is of the moment that is shown
export const shown = () => has() && of === player.stream.id && ms !== null && Math.abs(player.now - ms) < 1;

export function refresh() {
  const visible = shown();
  picture.hidden = !visible;
  $("no-film").hidden = player.kind !== "" || visible;
  $("no-film").textContent = has() ? "Only the newest picture of this stream is kept: these are the masks alone." : "No film is kept of this stream: these are the masks alone.";
  $("to-live").hidden = !has();
  for (const id of ["speed", "mute"]) $(id).hidden = has(); // it has neither sound nor a pace
  $("to-live").setAttribute("aria-pressed", player.following);
}

async function fetchNewest(stream) {
  const after = of === stream.id && ms !== null ? ms : "";
  const response = await fetch(address("newest", { stream: stream.id, after }));
  if (response.status !== 200) return null;
  return { at: Number(response.headers.get("x-time-ms")), blob: await response.blob() };
}

// shows the newest picture, and goes on to do so until `stop`
export async function follow() {
  const mine = ++number, stream = player.stream;
  player.following = true;
  const mineStill = () => mine === number && player.stream?.id === stream.id;
  while (mineStill()) {
    try {
      const found = document.hidden ? null : await fetchNewest(stream);
      if (found && mineStill()) {
        await new Promise((done) => { setTimeout(done, of === stream.id ? MASKS_MS : 0); });
        await masks.fresh(found.at);
        const next = URL.createObjectURL(found.blob), made = new Image();
        made.src = next;
        await made.decode();
        if (!mineStill()) { URL.revokeObjectURL(next); return; }
        picture.src = next;
        if (url) URL.revokeObjectURL(url);
        [of, ms, url] = [stream.id, found.at, next];
        player.now = ms;
        player.last = Math.max(player.last, ms);
      }
      if (mineStill() && of === stream.id && ms !== null && player.now !== ms) player.now = ms;
      if (mineStill()) { refresh(); emit("time", player.now, false); }
    } catch (error) {
      if (!mineStill()) return;
      player.following = false; // the viewer has ended, say
      pause();
      say(error.message, true);
      return;
    }
    await new Promise((done) => { setTimeout(done, EVERY_MS); });
  }
}

// no more new pictures; the one that is shown is kept, so that it can be asked about
export function stop() {
  if (!player.following) return;
  number += 1;
  player.following = false;
  refresh();
  if (shown()) post("api/ask/look", { stream: of, t: ms, ready: false }).catch((error) => say(error.message, true));
}

export function setUp() {
  on("time", refresh);
}
