// What is drawn over the film: masks, ids, words, and what is being asked about.

import { $, clamp, sized, trackColour } from "./common.js";
import { at, path } from "./masks.js";
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
  return { x: (stage.width - width * scale) / 2, y: (stage.height - height * scale) / 2, scale, stage };
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
  if (asking) drawAsk(context, p);
}

function shape(context, p, outline, colour, fill, width) {
  context.save();
  context.translate(p.x, p.y);
  context.scale(p.scale, p.scale);
  context.globalAlpha = fill;
  context.fillStyle = colour;
  context.fill(outline, "evenodd");
  context.globalAlpha = 1;
  context.lineJoin = "round";
  context.lineWidth = (width + 2) / p.scale;
  context.strokeStyle = "rgb(0 0 0 / 0.55)";
  context.stroke(outline);
  context.lineWidth = width / p.scale;
  context.strokeStyle = colour;
  context.stroke(outline);
  context.restore();
}

function labels(context, p, all) {
  const taken = [], right = p.x + player.stream.width * p.scale, bottom = p.y + player.stream.height * p.scale;
  context.textBaseline = "middle";
  for (const [[x0, y0, , y1], id, words, colour] of all) {
    context.font = "600 12px system-ui, sans-serif";
    const idWidth = context.measureText(id).width;
    context.font = "12px system-ui, sans-serif";
    const w = idWidth + (words ? context.measureText(words).width + 5 : 0) + 14, h = 20;
    const x = clamp(x0 * p.scale + p.x, p.x, Math.max(p.x, right - w));
    const tries = [y0 * p.scale + p.y - h - 3, y1 * p.scale + p.y + 3];
    for (let i = 1; i < 6; i += 1) tries.push(tries[0] - i * h, tries[1] + i * h);
    const free = (y) => y >= p.y && y + h <= bottom && !taken.some((t) => x < t[0] + t[2] && t[0] < x + w && y < t[1] + h && t[1] < y + h);
    const y = tries.find(free);
    if (y === undefined) continue;
    taken.push([x, y, w]);
    context.fillStyle = "rgb(8 12 16 / 0.78)";
    context.beginPath();
    context.roundRect(x, y, w, h, 4);
    context.fill();
    context.fillStyle = colour;
    context.fillRect(x, y + 3, 3, h - 6);
    context.font = "600 12px system-ui, sans-serif";
    context.fillText(id, x + 7, y + h / 2 + 0.5);
    if (words) {
      context.font = "12px system-ui, sans-serif";
      context.fillStyle = "#fff";
      context.fillText(words, x + 12 + idWidth, y + h / 2 + 0.5);
    }
  }
}

function drawAsk(context, p) {
  const { regions, chosen, points, drag, cross } = overlay.ask;
  for (const region of regions) {
    region.outline ??= path(region.rings);
    const on = region.region === chosen;
    shape(context, p, region.outline, on ? "#fde047" : "#7dd3fc", on ? 0.35 : 0.12, on ? 2.5 : 1.5);
  }
  labels(context, p, regions.filter((r) => r.words || r.region === chosen)
    .map((r) => [r.box, `${r.number}`, r.words, r.region === chosen ? "#fde047" : "#7dd3fc"]));
  for (const point of points) {
    context.beginPath();
    context.arc(point.x * p.scale + p.x, point.y * p.scale + p.y, 5, 0, 7);
    context.fillStyle = point.inside ? "#22c55e" : "#ef4444";
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = "#fff";
    context.stroke();
  }
  if (drag) {
    const [x0, y0, x1, y1] = drag.map((v, i) => v * p.scale + (i % 2 ? p.y : p.x));
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    context.strokeStyle = "#fff";
    context.fillStyle = "rgb(255 255 255 / 0.12)";
    context.fillRect(x0, y0, x1 - x0, y1 - y0);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    context.setLineDash([]);
  }
  if (cross && canvas.matches(":focus-visible")) {
    const [x, y] = [cross[0] * p.scale + p.x, cross[1] * p.scale + p.y];
    for (const [width, colour] of [[4, "#000"], [2, "#fff"]]) {
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(x - 14, y); context.lineTo(x + 14, y);
      context.moveTo(x, y - 14); context.lineTo(x, y + 14);
      context.stroke();
    }
  }
}
