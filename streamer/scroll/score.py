"""Compares what a walk found with the truth of a synthetic scroll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from streamer.canvas_mask import CanvasMask
from streamer.geometry import box_area_px, box_intersection
from streamer.mask import Mask
from streamer.scroll.findings import Finding
from streamer.sinks.score import said_of

_SAME_IOU = 0.5
_LONGEST_PX = 600


def score_scroll(findings: Sequence[Finding], truth: dict[str, Any]) -> dict[str, Any]:
    """Every object beside what was found of it, and the sums.

    found: some region has its mask (IoU of at least 0.5); doubled: another region shows the same
    pixels again; split: several regions share an object that is of one piece; in_pieces: the same
    for an object whose pieces do not touch (a head above a body, a handle under an umbrella); cut:
    a region on it ends at its window's edge and short of the object.
    """
    objects = [_object(item, findings, truth["vocabulary"]) for item in truth["objects"]]
    found = [o for o in objects if o["iou"] >= _SAME_IOU]
    said = [o for o in found if o["caption"]]
    known = [o for o in said if o["category"] != "object"]
    matched = {o["region_id"] for o in found}
    touched = {i for o in objects for i in o["region_ids"]}
    return {
        "objects": objects,
        "judged": len(objects),
        "found": len(found),
        "doubled": sum(o["doubled"] for o in objects),
        "split": sum(o["split"] for o in objects),
        "in_pieces": sum(o["in_pieces"] for o in objects),
        "cut": sum(o["cut"] for o in objects),
        "median_iou": round(float(np.median([o["iou"] for o in found])), 4) if found else 0.0,
        "captioned": len(said),
        "category_right": sum(bool(o["category_right"]) for o in known),
        "category_judged": len(known),
        "object_right": sum(bool(o["category_right"]) for o in said if o["category"] == "object"),
        "object_judged": len(said) - len(known),
        "colour_right": sum(bool(o["colour_right"]) for o in said),
        "regions": len(findings),
        "false_regions": len(findings) - len(matched | touched),
    }


def _object(
    item: dict[str, Any], findings: Sequence[Finding], vocabulary: dict[str, list[str]]
) -> dict[str, Any]:
    box = tuple(item["box_xyxy"])
    true = CanvasMask((box[0], box[1], box[2], box[3]), Mask.from_json(item["mask"]))
    best: Finding | None = None
    best_iou, touching, cut = 0.0, [], False
    parts: list[Finding] = []
    for finding in findings:
        if not box_area_px(box_intersection(finding.box_xyxy, true.box_xyxy)):
            continue
        common, own, whole = _areas(finding.shape, true)
        iou = common / max(1.0, own + whole - common)
        if common > 0.5 * own:
            touching.append(finding.region_id)
            parts.append(finding)
            cut = cut or _is_cut(finding, true)
        if iou > best_iou:
            best, best_iou = finding, iou
    found = best is not None and best_iou >= _SAME_IOU
    doubled = any(
        common > 0.3 * min(first, second)
        for i, part in enumerate(parts)
        for common, first, second in (_areas(part.shape, o.shape) for o in parts[:i])
    )
    apart = len(parts) > 1 and not doubled
    text = best.text if best is not None and found else ""
    category, colour = said_of(text, vocabulary)
    return {
        "object_id": item["object_id"],
        "category": item["category"],
        "colour": item["colour"],
        "iou": round(best_iou, 4),
        "region_id": best.region_id if best is not None and found else None,
        "region_ids": touching,
        "doubled": doubled,
        "split": apart and _pieces(true) == 1,
        "in_pieces": apart and _pieces(true) > 1,
        "cut": cut,
        "caption": text,
        "category_right": category == item["category"] if text else None,
        "colour_right": colour == item["colour"] if text else None,
    }


def _areas(a: CanvasMask, b: CanvasMask) -> tuple[float, float, float]:
    box, hw = _grid([a, b])
    first, second = a.raster(box, hw), b.raster(box, hw)
    return float((first & second).sum()), float(first.sum()), float(second.sum())


def _pieces(mask: CanvasMask) -> int:
    """How many parts of at least 2 % of its area a mask has that do not touch."""
    dense = mask.mask.decode().view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(dense, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return int((areas >= 0.02 * areas.sum()).sum())


def _grid(masks: Sequence[CanvasMask]) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    boxes = np.array([mask.box_xyxy for mask in masks])
    x0, y0 = (int(v) for v in boxes[:, :2].min(0))
    x1, y1 = (int(v) for v in boxes[:, 2:].max(0))
    scale = min(1.0, _LONGEST_PX / max(x1 - x0, y1 - y0))
    return (x0, y0, x1, y1), (max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale)))


def _is_cut(finding: Finding, true: CanvasMask) -> bool:
    """Whether a region ends at the edge of the window it was seen in, short of the object."""
    near = 4 / max(1e-6, finding.shape.scale)
    mine, wanted, window = finding.box_xyxy, true.box_xyxy, finding.window_xyxy
    short_x, short_y = 0.1 * (wanted[2] - wanted[0]), 0.1 * (wanted[3] - wanted[1])
    return any(
        abs(mine[side] - window[side]) <= near
        and (mine[side] - wanted[side]) * (1 if side < 2 else -1) > short
        for side, short in ((0, short_x), (1, short_y), (2, short_x), (3, short_y))
    )
