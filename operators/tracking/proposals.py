"""Where objects may be: islands behind closed edges.

Islands: smooth pixels connected to the border are background; what strong edges close off from it
is a candidate, found at several edge strengths. An object keeps its outline over a range of
strengths; parts inside it, and texture around it, do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import (
    Box,
    Candidate,
    Shape,
    common_areas,
    common_px,
    make_candidate,
    meeting,
    overlap,
    paste,
    rim_strength,
)

U8 = NDArray[np.uint8]
_LEVELS = (14, 20, 28, 40, 56)
_LARGEST_SHARE = 0.3
_WEAKEST = 14
_GROUPED_AT = 28
_FAINT = 10
_GROUND = 0.5  # IoU with a patch of the ground that is known
_GAPPED = 24  # on the mean of an outline with faint stretches


def edge_strength(image_rgb: U8) -> U8:
    """HxW: the greatest step of a channel within 3x3 pixels, after light smoothing."""
    smooth = cv2.medianBlur(image_rgb, 3)
    gradient = cv2.morphologyEx(smooth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(gradient.max(axis=2), np.uint8)


def island_candidates(
    image_rgb: U8,
    edges: U8,
    least_area_px: int,
    ground: Sequence[Shape] = (),
    *,
    at_rim_share: float = 0.04,
    longest_share: float = 0.9,
) -> list[Candidate]:
    """Regions closed off by edges, the most certain first, without doubles.

    Args:
        ground: patches of the ground, whose outline also closes off what lies on them: they come
            beside it, not in its place.
        at_rim_share: what touches the picture's rim and is larger than this share of the picture
            is background.
        longest_share: what is wider than this share of the picture is background.
    """
    found: list[tuple[int, Region]] = []
    for level in _LEVELS:
        closed = _islands(edges, level, at_rim_share)
        fresh = regions(closed, edges.shape, least_area_px, longest_share=longest_share)
        doubles = dict(_doubles(fresh, [region for _, region in found], 0.7))
        for i, j in doubles.items():
            # the outline at the higher level hugs the object closer
            found[j] = (found[j][0] + 1, fresh[i])
        found += [(1, c) for i, c in enumerate(fresh) if i not in doubles]
    kept = [(seen, _candidate(region, edges)) for seen, region in found if seen >= 2]
    ranked = sorted(kept, key=lambda pair: (-pair[0], -pair[1].strength * pair[1].area_px ** 0.25))
    sure = [c for _, c in ranked if c.strength >= _WEAKEST]
    known = {i for i, _ in _doubles(sure, ground, _GROUND)}
    things = outermost([c for i, c in enumerate(sure) if i not in known])
    patches = outermost([sure[i] for i in sorted(known)])
    return [snapped(candidate, image_rgb, edges) for candidate in (*things, *patches)]


def with_faint_outlines(
    candidates: Sequence[Candidate],
    image_rgb: U8,
    edges: U8,
    least_area_px: int,
    ground: Sequence[Shape] = (),
) -> list[Candidate]:
    """Candidates, and what a faint outline with gaps encloses, as that of glass: candidates that
    fill less than 0.7 of it are only its stronger parts; where they fill more, it is theirs. What
    lies on patches of `ground` is no part of them."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    barrier = cv2.morphologyEx((edges >= _FAINT).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    faint = _components(_islands(barrier, 1, 0.04), edges, 2 * least_area_px)
    faint = [c for c in faint if c.strength >= _GAPPED]
    common = common_areas(faint, candidates)
    parts: set[int] = set()
    wholes: list[Candidate] = []
    known = {i for i, _ in _doubles(faint, ground, _GROUND)}
    for i, (whole, shared) in enumerate(zip(faint, common, strict=True)):
        if shared.sum() < 0.7 * whole.area_px:
            wholes.append(snapped(whole, image_rgb, edges))
            if i not in known:
                parts |= {j for j, px in enumerate(shared) if px > 0.7 * candidates[j].area_px}
    return [*wholes, *(c for j, c in enumerate(candidates) if j not in parts)]


def grouped(candidates: Sequence[Candidate], edges: U8, at_rim_share: float) -> list[Candidate]:
    """Candidates that one closed outline holds together, and that fill most of it, made one: what
    a thin stick or a seam parts is one thing."""
    closed = closed_off(edges, _GROUPED_AT, at_rim_share)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    members: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        x0, y0, x1, y1 = candidate.box
        label = int(np.bincount(labels[y0:y1, x0:x1][candidate.inside > 0]).argmax())
        members.setdefault(label, []).append(candidate)
    result: list[Candidate] = []
    for label, parts in members.items():
        area = sum(part.area_px for part in parts)
        if label == 0 or len(parts) == 1 or stats[label, cv2.CC_STAT_AREA] > 1.8 * area:
            result += parts
            continue
        x, y, w, h = (int(v) for v in stats[label][:4])
        both = np.zeros((h, w), np.uint8)
        for part in parts:
            paste(both, part, x, y)
        made = make_candidate(both, edges, x, y)
        result += [made] if made is not None else parts
    return result


def ending_at_edges(mask: U8, image_rgb: U8, edges: U8, least_area_px: int) -> list[Candidate]:
    """Flow and differences bleed over the outline: what does not end at an edge is not taken."""
    rough = _components(mask, edges, least_area_px)
    fine = [snapped(candidate, image_rgb, edges) for candidate in rough]
    return [candidate for candidate in fine if candidate.strength >= _WEAKEST]


def remainders(
    candidate: Candidate, known: Sequence[Shape], edges: U8, least_area_px: int
) -> list[Candidate]:
    """What is left of a candidate when the masks of known objects are taken away."""
    x0, y0 = candidate.box[:2]
    taken = np.zeros_like(candidate.inside)
    for shape in known:
        paste(taken, shape, x0, y0)
    kernel = np.ones((5, 5), np.uint8)
    rest = candidate.inside & (1 - cv2.dilate(taken, kernel))
    rest = cv2.morphologyEx(rest, cv2.MORPH_OPEN, kernel)
    return _components(rest, edges, least_area_px, x0, y0)


def snapped(candidate: Candidate, image_rgb: U8, edges: U8) -> Candidate:
    """The candidate with its outline moved onto the strongest edge near it (watershed)."""
    height, width = edges.shape
    x0, y0, x1, y1 = candidate.box
    left, top, right, bottom = (
        max(0, x0 - 4),
        max(0, y0 - 4),
        min(width, x1 + 4),
        min(height, y1 + 4),
    )
    crop = np.zeros((bottom - top, right - left), np.uint8)
    paste(crop, candidate, left, top)
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
    cv2.watershed(np.ascontiguousarray(image_rgb[top:bottom, left:right]), markers)
    # watershed leaves a line of -1 between the two: it belongs to the object's soft edge
    region = ((markers == 2) | ((markers == -1) & (crop > 0))).astype(np.uint8)
    made = make_candidate(region, edges, left, top)
    return made if made is not None and made.area_px > 0.5 * candidate.area_px else candidate


def without_doubles(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of candidates that are nearly the same, the first."""
    kept = list(candidates)
    double = {max(i, j) for i, j in _doubles(kept, kept, 0.5) if i != j}
    return [candidate for i, candidate in enumerate(kept) if i not in double]


def outermost(ranked: Sequence[Candidate]) -> list[Candidate]:
    """Of candidates of which one lies in the other for the most part, the first."""
    rivals: dict[int, list[int]] = {}
    for i, j in meeting(ranked, ranked):
        if j < i:
            rivals.setdefault(i, []).append(j)
    kept: dict[int, Candidate] = {}
    for i, a in enumerate(ranked):
        others = [kept[j] for j in rivals.get(i, ()) if j in kept]
        if all(common_px(a, b) <= 0.5 * min(a.area_px, b.area_px) for b in others):
            kept[i] = a
    return list(kept.values())


def _doubles(
    first: Sequence[Shape], second: Sequence[Shape], least: float
) -> list[tuple[int, int]]:
    """Pairs that overlap by more than `least`; each of the first with one of the second."""
    pairs: dict[int, int] = {}
    for i, j in meeting(first, second):
        if i not in pairs and overlap(first[i], second[j]) > least:
            pairs[i] = j
    return list(pairs.items())


def closed_off(edges: U8, level: int, at_rim_share: float) -> U8:
    """HxW, 1 where edges of a strength close pixels off from the background, the edges included."""
    smooth = (edges < level).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(smooth, connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(rim, minlength=count)
    areas = stats[:, cv2.CC_STAT_AREA]
    # an object that leaves the picture touches the border too, but on a short stretch
    ground = (contact > 0.08 * len(rim)) | ((contact > 0) & (areas > at_rim_share * edges.size))
    ground |= areas > 0.15 * edges.size
    ground[0] = False
    return np.asarray((~ground).astype(np.uint8)[labels], np.uint8)


def _islands(edges: U8, level: int, at_rim_share: float) -> U8:
    closed = closed_off(edges, level, at_rim_share)
    closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    # edges are as wide as the filter that found them
    return np.asarray(
        cv2.erode(closed, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE), np.uint8
    )


class Region(NamedTuple):
    """A `Shape`: its strength is not known yet."""

    inside: U8
    box: Box
    area_px: int


def _candidate(region: Region, edges: U8) -> Candidate:
    return Candidate(*region, rim_strength(region, edges))


def regions(
    mask: U8,
    hw: tuple[int, ...],
    least_area_px: int,
    left: int = 0,
    top: int = 0,
    longest_share: float = 0.9,
) -> list[Region]:
    """Connected regions of a usable size and shape, of a mask that lies at (left, top) of a picture
    of `hw`."""
    height, width = hw
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    x, y, w, h, area = stats[1:].T
    usable = (area >= least_area_px) & (area <= _LARGEST_SHARE * height * width)
    usable &= (np.minimum(w, h) >= 6) & (w <= longest_share * width) & (h <= 0.95 * height)
    usable &= area >= 0.12 * w * h
    kept = []
    for i in np.flatnonzero(usable).tolist():
        x0, y0, x1, y1 = x[i], y[i], x[i] + w[i], y[i] + h[i]
        inside = (labels[y0:y1, x0:x1] == i + 1).view(np.uint8)
        box = (int(left + x0), int(top + y0), int(left + x1), int(top + y1))
        kept.append(Region(inside, box, int(area[i])))
    return kept


def _components(
    mask: U8, edges: U8, least_area_px: int, left: int = 0, top: int = 0
) -> list[Candidate]:
    """`regions` with their strength."""
    found = regions(mask, edges.shape, least_area_px, left, top)
    return [_candidate(region, edges) for region in found]
