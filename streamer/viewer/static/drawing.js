// Outlines, labels and marks in a 2D context. `p` says where a picture lies in it, in CSS pixels:
// x and y of its corner, its scale, and the bounds within which labels stay.

import { clamp } from "./common.js";
import { path } from "./masks.js";

export function shape(context, p, outline, colour, fill, width) {
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

export function labels(context, p, all) {
  const taken = [], { left, top, right, bottom } = p.bounds;
  context.textBaseline = "middle";
  for (const [[x0, y0, , y1], id, words, colour] of all) {
    context.font = "600 12px system-ui, sans-serif";
    const idWidth = context.measureText(id).width;
    context.font = "12px system-ui, sans-serif";
    const w = idWidth + (words ? context.measureText(words).width + 5 : 0) + 14, h = 20;
    const x = clamp(x0 * p.scale + p.x, left, Math.max(left, right - w));
    const tries = [y0 * p.scale + p.y - h - 3, y1 * p.scale + p.y + 3];
    for (let i = 1; i < 6; i += 1) tries.push(tries[0] - i * h, tries[1] + i * h);
    const free = (y) => y >= top && y + h <= bottom && !taken.some((t) => x < t[0] + t[2] && t[0] < x + w && y < t[1] + h && t[1] < y + h);
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

// `cross`: where the keyboard would ask, or null
export function drawAsk(context, p, { regions, chosen, points, drag }, cross) {
  for (const region of regions) {
    region.outline ??= path(region.rings);
    const on = region.key === chosen;
    shape(context, p, region.outline, on ? "#fde047" : "#7dd3fc", on ? 0.35 : 0.12, on ? 2.5 : 1.5);
  }
  labels(context, p, regions.filter((r) => r.words || r.key === chosen)
    .map((r) => [r.box, `${r.number}`, r.words, r.key === chosen ? "#fde047" : "#7dd3fc"]));
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
  if (cross) {
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
