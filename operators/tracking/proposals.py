"""Where objects may be: islands behind closed edges, and things that move on their own.

Islands: smooth pixels connected to the border are background; what strong edges close off from it
is a candidate, found at several edge strengths. An object keeps its outline over a range of
strengths; parts inside it, and texture around it, do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
_LEVELS = (14, 20, 28, 40, 56)
_LARGEST_SHARE = 0.3
_WEAKEST = 14


@dataclass(frozen=True, eq=False)
class Candidate:
    """A region that may be an object: 0/1 `inside` (HxW uint8), its tight box (x0, y0, x1, y1),
    area in pixels, and `strength`: the mean colour edge along its outline, in 8-bit steps. What is
    `sure` need not be proposed again before it is followed."""

    inside: U8
    box: tuple[int, int, int, int]
    area_px: int
    strength: float
    sure: bool = False


def make_candidate(inside: U8, edges: U8) -> Candidate | None:
    """A candidate of a 0/1 mask; None when it is empty."""
    x, y, w, h = cv2.boundingRect(inside)
    if not w:
        return None
    crop = inside[y : y + h, x : x + w]
    padded = cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    rim = cv2.morphologyEx(padded, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    strength = float(edges[y : y + h, x : x + w][rim].mean()) if rim.any() else 0.0
    return Candidate(inside, (x, y, x + w, y + h), int(crop.sum()), strength)


def edge_strength(image_rgb: U8) -> U8:
    """HxW: the greatest step of a channel within 3x3 pixels, after light smoothing."""
    smooth = cv2.medianBlur(image_rgb, 3)
    gradient = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(gradient.max(axis=2), np.uint8)


def island_candidates(image_rgb: U8, edges: U8, least_area_px: int) -> list[Candidate]:
    """Regions closed off by edges, the most certain first, without doubles."""
    found: list[tuple[int, Candidate]] = []
    for level in _LEVELS:
        for inside in _islands(edges, level, least_area_px):
            candidate = make_candidate(inside, edges)
            if candidate is None:
                continue
            for i, (seen, other) in enumerate(found):
                if overlap(candidate, other) > 0.7:
                    # the outline at the higher level hugs the object closer
                    found[i] = (seen + 1, candidate)
                    break
            else:
                found.append((1, candidate))
    ranked = sorted(found, key=lambda pair: (-pair[0], -pair[1].strength * pair[1].area_px ** 0.25))
    kept: list[Candidate] = []
    for seen, candidate in ranked:
        if seen < 2 or candidate.strength < _WEAKEST:
            continue
        if all(not _nested(candidate, other) for other in kept):
            kept.append(candidate)
    return [snapped(candidate, image_rgb, edges) for candidate in kept]


def moving_candidates(
    residual: NDArray[np.float32], image_rgb: U8, edges: U8, least_area_px: int
) -> list[Candidate]:
    """Regions whose flow is not the camera's."""
    usual = float(np.median(residual))
    moving = (residual > max(0.7, 4 * usual)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, kernel)
    moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, kernel)
    return _outlined(moving, image_rgb, edges, least_area_px)


def changed_candidates(
    image_rgb: U8, rest_rgb: U8, edges: U8, least_area_px: int
) -> list[Candidate]:
    """Regions that differ from the resting background."""
    step = cv2.absdiff(cv2.GaussianBlur(image_rgb, (3, 3), 0), rest_rgb).max(axis=2)
    changed = (step > 22).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, kernel, iterations=2)
    return _outlined(_filled(changed), image_rgb, edges, least_area_px)


def remainders(
    candidate: Candidate, known: Sequence[U8], edges: U8, least_area_px: int
) -> list[Candidate]:
    """What is left of a candidate when the masks of known objects are taken away."""
    rest = candidate.inside.copy()
    kernel = np.ones((5, 5), np.uint8)
    for mask in known:
        rest[cv2.dilate(mask, kernel) > 0] = 0
    rest = cv2.morphologyEx(rest, cv2.MORPH_OPEN, kernel)
    return _large_enough(rest, edges, least_area_px)


def overlap(a: Candidate, b: Candidate) -> float:
    """Intersection over union of two candidates."""
    common = common_px(a.inside, b.inside, a.box, b.box)
    return common / max(1, a.area_px + b.area_px - common)


def common_px(
    a: U8, b: U8, box_a: tuple[int, int, int, int], box_b: tuple[int, int, int, int]
) -> int:
    """Pixels inside both masks, looking only where their boxes meet."""
    x0, y0 = max(box_a[0], box_b[0]), max(box_a[1], box_b[1])
    x1, y1 = min(box_a[2], box_b[2]), min(box_a[3], box_b[3])
    if x0 >= x1 or y0 >= y1:
        return 0
    return int(cv2.countNonZero(a[y0:y1, x0:x1] & b[y0:y1, x0:x1]))


def snapped(candidate: Candidate, image_rgb: U8, edges: U8) -> Candidate:
    """The candidate with its outline moved onto the strongest edge near it (watershed)."""
    height, width = candidate.inside.shape
    x0, y0, x1, y1 = candidate.box
    x0, y0, x1, y1 = max(0, x0 - 4), max(0, y0 - 4), min(width, x1 + 4), min(height, y1 + 4)
    crop = candidate.inside[y0:y1, x0:x1]
    side = int(np.clip(candidate.area_px**0.5 / 8, 2, 4))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * side - 1, 2 * side - 1))
    core = cv2.erode(crop, kernel, borderType=cv2.BORDER_REPLICATE)
    if cv2.countNonZero(core) < 0.2 * candidate.area_px:
        core = cv2.erode(crop, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    if not core.any():
        return candidate
    around = cv2.dilate(crop, np.ones((3, 3), np.uint8))
    markers = np.zeros(crop.shape, np.int32)
    markers[around == 0] = 1
    markers[core > 0] = 2
    cv2.watershed(np.ascontiguousarray(image_rgb[y0:y1, x0:x1]), markers)
    inside = np.zeros_like(candidate.inside)
    # watershed leaves a line of -1 between the two: it belongs to the object's soft edge
    region = ((markers == 2) | ((markers == -1) & (crop > 0))).astype(np.uint8)
    inside[y0:y1, x0:x1] = region
    made = make_candidate(inside, edges)
    return made if made is not None and made.area_px > 0.5 * candidate.area_px else candidate


def _islands(edges: U8, level: int, least_area_px: int) -> list[U8]:
    _height, _width = edges.shape
    smooth = (edges < level).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(smooth, connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(rim, minlength=count)
    areas = stats[:, cv2.CC_STAT_AREA]
    # an object that leaves the picture touches the border too, but on a short stretch
    ground = (contact > 0.08 * len(rim)) | ((contact > 0) & (areas > 0.04 * edges.size))
    ground |= areas > 0.15 * edges.size
    ground[0] = False
    closed = (~ground[labels]).astype(np.uint8)
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    # edges are as wide as the filter that found them
    closed = cv2.erode(closed, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return _components(closed, least_area_px)


def _components(mask: U8, least_area_px: int) -> list[U8]:
    """Connected regions of a usable size and shape."""
    height, width = mask.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    kept = []
    for i in range(1, count):
        x, y, w, h, area = stats[i]
        if not least_area_px <= area <= _LARGEST_SHARE * mask.size:
            continue
        if min(w, h) < 6 or w > 0.9 * width or h > 0.95 * height:
            continue
        if area < 0.12 * w * h:
            continue
        inside = np.zeros(mask.shape, np.uint8)
        inside[y : y + h, x : x + w] = labels[y : y + h, x : x + w] == i
        kept.append(inside)
    return kept


def _large_enough(mask: U8, edges: U8, least_area_px: int) -> list[Candidate]:
    made = (make_candidate(inside, edges) for inside in _components(mask, least_area_px))
    return [candidate for candidate in made if candidate is not None]


def _outlined(mask: U8, image_rgb: U8, edges: U8, least_area_px: int) -> list[Candidate]:
    """Flow and differences bleed over the outline: what does not end at an edge is not taken."""
    rough = _large_enough(mask, edges, least_area_px)
    fine = [snapped(candidate, image_rgb, edges) for candidate in rough]
    return [candidate for candidate in fine if candidate.strength >= _WEAKEST]


def _filled(mask: U8) -> U8:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 1, -1), np.uint8)


def _nested(a: Candidate, b: Candidate) -> bool:
    common = common_px(a.inside, b.inside, a.box, b.box)
    return common > 0.5 * min(a.area_px, b.area_px)
