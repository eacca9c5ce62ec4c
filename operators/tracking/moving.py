"""Where things move on their own. Optical flow reaches over their outlines, by patches: the faster
they are the further, until only their colours say where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import (
    Candidate,
    Shape,
    make_candidate,
    outlined_share,
    paste,
    stale_share,
)
from operators.tracking.proposals import edge_strength, ending_at_edges, regions, snapped

U8 = NDArray[np.uint8]
_LEVELS = (1, 2, 4)  # times what is fast in this picture
# a frame; from the second on flow alone says little about where things end
_FAST_PX, _FASTEST_PX = 3.0, 4.5
_REACH_PX = 8.0  # by which flow reaches over the outline
_PAD_PX = 12
_MOST_A_TIME = 3
_CHANGED = 22  # 8-bit steps
_SLOW_PX = 0.7
_MOST_PX = 2500  # larger ones are cut out at a smaller size: time grows faster than area
# shares of an outline that lie on edges
_OUTLINED, _MOSTLY = 0.9, 0.5
_KNOWN = 0.5
# shares: of an outline that lies where something was; of a region that is left without that
_STALE, _REST = 0.04, 0.2
_COLOURS = 5  # of each side, which GrabCut tells apart


def moving_candidates(
    residual: NDArray[np.float32], image_rgb: U8, edges: U8, least_area_px: int
) -> list[Candidate]:
    """Regions whose flow is not the camera's; of those that go fast, what ends at edges.

    Args:
        residual: HxW, see `flow.Motion`.
        image_rgb: HxWx3.
        edges: HxW, see `proposals.edge_strength`.
    """
    found = ending_at_edges(
        _above(residual, _slowest(residual, _SLOW_PX)), image_rgb, edges, least_area_px
    )
    return [
        c for c in found if _mean(residual, c) < _FASTEST_PX or outlined_share(c, edges) > _MOSTLY
    ]


def changed_candidates(
    image_rgb: U8,
    rest_rgb: U8,
    residual: NDArray[np.float32] | None,
    edges: U8,
    least_area_px: int,
) -> list[Candidate]:
    """Regions that differ from the resting background `rest_rgb` (HxWx3). It may still show what
    was there at first and has gone: then that is taken which has the colours of what moves now.

    Args:
        image_rgb, residual, edges: as for `moving_candidates`.
    """
    step = cv2.absdiff(cv2.GaussianBlur(image_rgb, (3, 3), 0), rest_rgb).max(axis=2)
    changed = (step > _CHANGED).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    changed = cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, kernel, iterations=2)
    found: list[Candidate] = []
    edges_before = edge_strength(rest_rgb)
    left = _MOST_A_TIME
    for candidate in ending_at_edges(_filled(changed), image_rgb, edges, least_area_px):
        made = None
        stale = stale_share(candidate, edges, edges_before) > _STALE
        if stale and residual is not None and left:
            part = _Part.around(candidate, edges.shape)
            part = replace(part, core=(part.inside > 0) & (part.of(residual) > _SLOW_PX))
            if part.core.any():
                left -= 1
                made = _carved(part, image_rgb, edges)
        if made is not None and made.area_px > _REST * candidate.area_px:
            found.append(made)
        elif outlined_share(candidate, edges) > _MOSTLY:
            found.append(candidate)
    return found


def carved_candidates(
    residual: NDArray[np.float32],
    image_rgb: U8,
    edges: U8,
    least_area_px: int,
    known: Sequence[Shape],
) -> list[Candidate]:
    """Regions that move fast against the resting world, cut out by their colours; the largest three
    at most, which bounds the time.

    Args:
        residual, image_rgb, edges: as for `moving_candidates`.
        known: what is already found; a region of which it fills half is left out.
    """
    fast_px = _slowest(residual, _FAST_PX)
    taken = np.zeros(edges.shape, np.uint8)
    for shape in known:
        paste(taken, shape)
    found: list[Candidate] = []
    left = _MOST_A_TIME
    for times in _LEVELS:
        fast = regions(_above(residual, times * fast_px), edges.shape, least_area_px)
        for region in sorted(fast, key=lambda r: -r.area_px):
            part = _Part.around(region, edges.shape)
            if not left or not part.core.any() or part.of(taken)[part.core].mean() > _KNOWN:
                continue
            left -= 1
            made = _carved(part, image_rgb, edges)
            if made is not None:
                found.append(made)
                paste(taken, made)
    return found


@dataclass(frozen=True, eq=False)
class _Part:
    """A region with a rim around it: 0/1 `inside` at (left, top) of the picture, and its `core`,
    which flow does not reach from outside."""

    inside: U8
    core: NDArray[np.bool_]
    left: int
    top: int

    @classmethod
    def around(cls, region: Shape, hw: tuple[int, ...]) -> _Part:
        x0, y0, x1, y1 = region.box
        left, top = max(0, x0 - _PAD_PX), max(0, y0 - _PAD_PX)
        right, bottom = min(hw[1], x1 + _PAD_PX), min(hw[0], y1 + _PAD_PX)
        inside = np.zeros((bottom - top, right - left), np.uint8)
        paste(inside, region, left, top)
        return cls(inside, cv2.distanceTransform(inside, cv2.DIST_L2, 3) > _REACH_PX, left, top)

    def of(self, picture: Any) -> Any:
        height, width = self.inside.shape
        return picture[self.top : self.top + height, self.left : self.left + width]


def _carved(part: _Part, image_rgb: U8, edges: U8) -> Candidate | None:
    """What of it has colours of its own; None where that does not end at edges."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(_cut_out(part, image_rgb))
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    rough = make_candidate((labels == largest).view(np.uint8), edges, part.left, part.top)
    if rough is None:
        return None
    made = snapped(rough, image_rgb, edges)
    return made if outlined_share(made, edges) > _OUTLINED else None


def _cut_out(part: _Part, image_rgb: U8) -> U8:
    """1 where colours are rather those of the core than those around (GrabCut: Rother et al. 2004);
    large parts are worked on at a smaller size."""
    height, width = part.inside.shape
    scale = min(1.0, (_MOST_PX / cv2.countNonZero(part.inside)) ** 0.5)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    state = np.where(part.inside > 0, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    state[part.core] = cv2.GC_PR_FGD
    state = cv2.resize(state, size, interpolation=cv2.INTER_NEAREST)
    n = int(np.count_nonzero(state == cv2.GC_PR_FGD))
    if min(n, state.size - n) < _COLOURS:
        return np.zeros_like(part.inside)
    small = cv2.resize(part.of(image_rgb), size, interpolation=cv2.INTER_AREA)
    cv2.setRNGSeed(0)
    cv2.grabCut(small, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    mine = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * np.uint8(255)
    mine = cv2.resize(mine, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.morphologyEx(mine, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) >> 7)


def _slowest(residual: NDArray[np.float32], least_px: float) -> float:
    """What is slower may be a fault of the flow, of which there is more where much moves."""
    return max(least_px, 4 * float(np.median(residual)))


def _above(residual: NDArray[np.float32], slowest_px: float) -> U8:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    moving = cv2.morphologyEx((residual > slowest_px).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    return np.asarray(cv2.morphologyEx(moving, cv2.MORPH_CLOSE, kernel), np.uint8)


def _mean(values: NDArray[np.float32], shape: Shape) -> float:
    x0, y0, x1, y1 = shape.box
    return float(cv2.mean(values[y0:y1, x0:x1], shape.inside)[0])


def _filled(mask: U8) -> U8:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(mask), contours, -1, 1, -1), np.uint8)
