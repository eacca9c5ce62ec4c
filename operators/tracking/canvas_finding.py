"""What a window of a canvas shows: islands behind closed edges, what stands out against the ground,
and the masks of a SAM."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import Candidate, common_areas, make_candidate
from operators.tracking.canvas_sightings import Sighting, View, cuts_of
from operators.tracking.contrast import standing_out
from operators.tracking.proposals import (
    edge_strength,
    grouped,
    island_candidates,
    without_doubles,
)
from streamer.canvas_mask import CanvasMask
from streamer.mask import Mask
from streamer.records import Frame

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter

_AT_RIM_SHARE = 0.15
_KNOWN = 0.1


def sightings(frame: Frame, min_area_share: float, segmenter: Segmenter | None) -> list[Sighting]:
    """All that a window shows, in canvas coordinates.

    Args:
        min_area_share: smallest region, as a share of the window's area.
        segmenter: proposes, too.
    """
    height, width = frame.hw
    if min(height, width) < 16:
        return []  # a picture of a few lines holds no region
    edges = edge_strength(frame.image)
    least_px = int(max(40, min_area_share * height * width))
    found = island_candidates(
        frame.image, edges, least_px, at_rim_share=_AT_RIM_SHARE, longest_share=1.0
    )
    found = grouped(found, edges, _AT_RIM_SHARE)
    largest_px = round(_AT_RIM_SHARE * height * width)
    found += _new(standing_out(frame.image, edges, least_px, largest_px), found)
    if segmenter is not None:
        masks = segmenter.propose(frame.image)
        found = without_doubles([*_proposed(masks, edges, least_px), *found])
    view = frame.viewport
    sx, sy = view.width_px / width, view.height_px / height
    seen = []
    for candidate in found:
        x0, y0, x1, y1 = candidate.box
        box = (
            view.x_px + math.floor(x0 * sx), view.y_px + math.floor(y0 * sy),
            view.x_px + math.ceil(x1 * sx), view.y_px + math.ceil(y1 * sy),
        )  # fmt: skip
        piece = CanvasMask(box, Mask.encode(candidate.inside))
        margin = min(x0, y0, width - x1, height - y1) / min(height, width)
        seen.append(
            Sighting(
                piece=piece,
                strength=candidate.strength,
                cuts=cuts_of(box, view, frame.hw),
                view=View(
                    frame_index=frame.index,
                    time_ns=frame.time_ns,
                    viewport=view,
                    frame_hw=frame.hw,
                    # finer windows first, then those that show what lies around
                    quality=1 / sx + 0.5 * min(0.2, max(0.0, margin)),
                ),
            )
        )
    return seen


def _new(candidates: Sequence[Candidate], known: Sequence[Candidate]) -> list[Candidate]:
    """Those that have hardly anything in common with what is known."""
    common = common_areas(candidates, known)
    return [
        candidate
        for candidate, shared in zip(candidates, common, strict=True)
        if shared.sum() < _KNOWN * candidate.area_px
        and not any(px > _KNOWN * other.area_px for px, other in zip(shared, known, strict=True))
    ]


def _proposed(
    masks: Sequence[NDArray[np.bool_]], edges: NDArray[np.uint8], least_px: int
) -> list[Candidate]:
    """SAM's masks as candidates, without what is small, and what is large and reaches the rim:
    another window shows that whole, or it is the ground."""
    height, width = edges.shape
    candidates = []
    for mask in masks:
        made = make_candidate(mask.view(np.uint8), edges)
        if made is None or made.area_px < least_px:
            continue
        x0, y0, x1, y1 = made.box
        at_rim = x0 == 0 or y0 == 0 or x1 == width or y1 == height
        if not at_rim or made.area_px <= _AT_RIM_SHARE * height * width:
            candidates.append(made)
    return candidates
