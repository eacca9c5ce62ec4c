"""Where things move on their own. Optical flow reaches over their outlines, by patches: the faster
they are the further, until only their colours say where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import Candidate, Shape, outlined_share, paste, stale_share
from operators.tracking.carving import Part, carved
from operators.tracking.proposals import edge_strength, ending_at_edges, regions

U8 = NDArray[np.uint8]
_SLOW_PX = 0.7  # a frame
# a frame; from the second on flow alone says little about where things end
_FAST_PX, _FASTEST_PX = 3.0, 4.5
_LEVELS = (1, 2, 4)  # times what is fast in this picture
_CHANGED = 22  # 8-bit steps
_MOST_A_TIME = 3  # are cut out
_KNOWN = 0.5  # of a region
_OUTLINED = 0.5  # of an outline, lies on edges
# shares: of an outline that lies where something was; of a region that is left without that
_STALE, _REST = 0.04, 0.3


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
        c for c in found if _mean(residual, c) < _FASTEST_PX or outlined_share(c, edges) > _OUTLINED
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
        if outlined_share(candidate, edges) <= _OUTLINED:
            continue
        made = None
        stale = stale_share(candidate, edges, edges_before) > _STALE
        if stale and residual is not None and left:
            part = Part.around(candidate, edges.shape)
            part = replace(part, core=(part.inside > 0) & (part.of(residual) > _SLOW_PX))
            if part.core.any():
                left -= 1
                made = carved(part, image_rgb, edges)
        found.append(made if made and made.area_px > _REST * candidate.area_px else candidate)
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
            part = Part.around(region, edges.shape)
            if not left or not part.core.any() or part.of(taken)[part.core].mean() > _KNOWN:
                continue
            left -= 1
            made = carved(part, image_rgb, edges)
            if made is not None:
                found.append(made)
                paste(taken, made)
    return found


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
