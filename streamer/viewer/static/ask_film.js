// Ask on a film, or on the newest picture of a camera: a paused moment is looked at.

import { post } from "./api.js";
import { clear, hint, queue, setUp as begin, state } from "./ask.js";
import * as camera from "./camera.js";
import { $, clamp, clock, say } from "./common.js";
import { draw, overlay, toPicture } from "./overlay.js";
import { pause, player } from "./player.js";
import { pointAt, pointing } from "./pointing.js";

const canvas = $("overlay");
let look = null, at = null; // of the moment that is looked at
overlay.ask = state;

const limits = () => [0, 0, player.stream.width, player.stream.height];
const places = { limits, context: canvas.getContext("2d") };

function closed() {
  if (player.stream?.films.length || camera.shown()) return "";
  return player.stream?.newest_ms == null ? "there is no film to ask about" : "no picture of this moment: press Live";
}

async function looked() {
  if (look === null) {
    const moment = player.now;
    ({ look } = await post("api/ask/look", { stream: player.stream.id, t: moment }));
    at = moment;
  }
  return look;
}

export function show(active) {
  state.active = active;
  if (active) {
    pause();
    // while one still decides where to click, the models are loaded
    if (!closed() && look === null) queue(looked);
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
  if (at !== null && Math.abs(player.now - at) > 1000 / (player.stream.fps || 25)) clear();
  else if (state.active) hint();
}

export function setUp() {
  begin({
    closed, draw, look: looked, rest: pause,
    when: () => clock(at, player.stream, 2),
    saved: (answer) => say(`saved as a caption of #${answer.track}`),
    cleared: () => { look = at = null; },
  });
  pointing(canvas, { ...places, at: toPicture, draw });
  canvas.addEventListener("keydown", (event) => {
    if (!state.active) return;
    const { width, height } = player.stream, by = (event.shiftKey ? 0.05 : 0.01) * Math.max(width, height);
    const step = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[event.key];
    if (step) state.cross = [clamp(state.cross[0] + step[0], 0, width - 1), clamp(state.cross[1] + step[1], 0, height - 1)];
    else if (event.key === "Enter") pointAt(...state.cross, event, places);
    else return;
    event.preventDefault();
    event.stopPropagation();
    draw();
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, draw);
}
