// What is drawn over the film: masks, ids, words, and what is being asked about.

import { $, sized, trackColour } from "./common.js";
import { drawAsk, labels, shape } from "./drawing.js";
import { at } from "./masks.js";
import { player } from "./player.js";

export const overlay = { words: () => "", ask: null, chosen: null };
const canvas = $("overlay");
let scheduled = false;

export function draw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; paint(); });
}

// the place of the picture in the stage, in CSS pixels
export function place() {
  const stage = $("stage").getBoundingClientRect(), { width, height } = player.stream;
  if (!width || !height) return null;
  const scale = Math.min(stage.width / width, stage.height / height);
  const x = (stage.width - width * scale) / 2, y = (stage.height - height * scale) / 2;
  return { x, y, scale, stage, bounds: { left: x, top: y, right: x + width * scale, bottom: y + height * scale } };
}

export function toPicture(event) {
  const p = place();
  if (!p) return null;
  return [(event.clientX - p.stage.left - p.x) / p.scale, (event.clientY - p.stage.top - p.y) / p.scale];
}

function paint() {
  if (!player.stream) return;
  const p = place();
  const box = $("stage").getBoundingClientRect();
  const context = sized(canvas, box.width, box.height);
  if (!p) return;
  const asking = overlay.ask?.active;
  // the captioned film has them in its picture already
  if ($("show-masks").checked && !asking) {
    const regions = at(player.now);
    for (const [id, outline] of regions) shape(context, p, outline, trackColour(id), id === overlay.chosen ? 0.35 : 0.14, 2);
    if ($("show-words").checked) labels(context, p, regions.map(([id, , b]) => [b, `#${id}`, overlay.words(id), trackColour(id)]));
  } else at(player.now);
  if (asking) drawAsk(context, p, overlay.ask, canvas.matches(":focus-visible") ? overlay.ask.cross : null);
}
