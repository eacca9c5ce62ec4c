"""What is in a region, cut out by its colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import Candidate, Shape, make_candidate, outlined_share, paste
from operators.tracking.proposals import snapped

U8 = NDArray[np.uint8]
_REACH_PX = 8.0  # by which flow reaches over an outline
_PAD_PX = 12
_MOST_PX = 2500  # larger ones are cut out at a smaller size: time grows faster than area
_COLOURS = 5  # of each side, which GrabCut tells apart
_OUTLINED = 0.9  # of an outline, lies on edges


@dataclass(frozen=True, eq=False)
class Part:
    """A region with a rim around it: 0/1 `inside` at (left, top) of the picture, and its `core`,
    which flow does not reach from outside."""

    inside: U8
    core: NDArray[np.bool_]
    left: int
    top: int

    @classmethod
    def around(cls, region: Shape, hw: tuple[int, ...]) -> Part:
        """Of a region of a picture of `hw` = (height, width)."""
        x0, y0, x1, y1 = region.box
        left, top = max(0, x0 - _PAD_PX), max(0, y0 - _PAD_PX)
        right, bottom = min(hw[1], x1 + _PAD_PX), min(hw[0], y1 + _PAD_PX)
        inside = np.zeros((bottom - top, right - left), np.uint8)
        paste(inside, region, left, top)
        return cls(inside, cv2.distanceTransform(inside, cv2.DIST_L2, 3) > _REACH_PX, left, top)

    def of(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Its window of a picture."""
        height, width = self.inside.shape
        return picture[self.top : self.top + height, self.left : self.left + width]


def carved(part: Part, image_rgb: U8, edges: U8) -> Candidate | None:
    """What of it has colours of its own; None where that does not end at edges.

    Args:
        image_rgb: HxWx3.
        edges: HxW, see `proposals.edge_strength`.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(_cut_out(part, image_rgb))
    if count < 2:
        return None
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    rough = make_candidate((labels == largest).view(np.uint8), edges, part.left, part.top)
    if rough is None:
        return None
    made = snapped(rough, image_rgb, edges)
    return made if outlined_share(made, edges) > _OUTLINED else None


def _cut_out(part: Part, image_rgb: U8) -> U8:
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
