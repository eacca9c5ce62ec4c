// The keyboard. Fields and lists keep the keys that they need themselves.

import { $ } from "./common.js";
import { captions, tab } from "./panels.js";
import { mute, player, seek, step, toggle } from "./player.js";
import { fit, zoom } from "./timeline.js";

const click = (id) => () => $(id).click();
const keys = {
  " ": toggle, k: toggle,
  ",": () => step(-1), ".": () => step(1),
  Home: () => seek(0), End: () => seek(player.last),
  "/": () => { $("search").focus(); $("search").select(); },
  l: () => { if (!$("like").hidden) $("like").click(); },
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: fit,
  w: click("show-masks"), c: click("show-words"), m: mute,
  1: () => tab("captions"), 2: () => tab("events"), 3: () => { if (!$("tab-ask").hidden) tab("ask"); },
  n: () => captions.pick(captions.chosen + 1), p: () => captions.pick(captions.chosen - 1),
};

export function setUp() {
  document.addEventListener("keydown", (event) => {
    const at = event.target, typing = at.matches("input:not([type=checkbox]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || $("help").open) return;
    if (event.key === "?") { $("help").showModal(); event.preventDefault(); return; }
    if (!player.stream) return;
    if (event.key === " " && at.matches("button, input, [role=tab]")) return; // it presses them
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) seek(player.now + by * (event.shiftKey ? 1000 : 5000));
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
}
