"""What stands out of a picture, whether it is tracked or not: what edges close off from the
ground, and what moves on its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.flow import measure_motion
from operators.tracking.proposals import closed_off, edge_strength
from operators.tracking.resize import shrunk

U8 = NDArray[np.uint8]
_WORK_HEIGHT_PX = 360
_NEAR_LEVEL, _LEVEL = 10, 14  # faint edges count: covering too much is the lesser evil
_AT_RIM_SHARE = 0.04
_LARGEST_SHARE, _WIDEST_SHARE = 0.3, 0.9  # of the picture; what is more is its ground
_LEAST_PX = 24
_LINE_PX = 5  # at least as wide as an edge is found
_CHANGED, _CHANGED_SHARE = 10, 0.05  # of 255; of a moving piece's pixels
_HOLD_NS = 200_000_000


@dataclass(frozen=True, eq=False)
class Shown:
    """Of a picture, HxW each, 1 where it is: `off_ground` is closed off from the ground or moves;
    `things` is the part of it in pieces that may be objects of their own."""

    off_ground: U8
    things: U8


@dataclass(eq=False)
class StandingOut:
    """Looks at the pictures of one stream; remembers a moment of them, so that what stands out
    by little does not flicker."""

    _before: U8 | None = None
    _recent: list[tuple[int, U8, U8]] = field(default_factory=list)

    def cut(self) -> None:
        """The next picture has nothing to do with the last."""
        self._before = None
        self._recent = []

    def look(self, image_rgb: U8, time_ns: int) -> Shown:
        """Take the next picture (HxWx3 uint8)."""
        height, width = image_rgb.shape[:2]
        small = shrunk(image_rgb, _WORK_HEIGHT_PX)
        gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, gray
        if before is not None and before.shape != gray.shape:
            before, self._recent = None, []
        edges = edge_strength(small)
        off = closed_off(edges, _NEAR_LEVEL, _AT_RIM_SHARE)
        closed = closed_off(edges, _LEVEL, _AT_RIM_SHARE)
        things = _pieces(closed) | _parted(closed)
        if before is not None:
            moving = _moving(before, gray)
            off |= moving
            things |= moving
        kernel = np.ones((5, 5), np.uint8)  # outlines are soft, and encoders blur them
        self._recent = [r for r in self._recent if time_ns - r[0] <= _HOLD_NS]
        self._recent.append((time_ns, cv2.dilate(off, kernel), cv2.dilate(things, kernel)))
        size = (width, height)
        return Shown(
            *(
                np.asarray(cv2.resize(_union(maps), size, interpolation=cv2.INTER_NEAREST))
                for maps in ([r[1] for r in self._recent], [r[2] for r in self._recent])
            )
        )


def _pieces(off: U8) -> U8:
    """The connected parts that are neither specks nor as large as ground is."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(off, connectivity=8)
    area, wide = stats[:, cv2.CC_STAT_AREA], stats[:, cv2.CC_STAT_WIDTH]
    usable = (area >= _LEAST_PX) & (area <= _LARGEST_SHARE * off.size)
    usable &= wide <= _WIDEST_SHARE * off.shape[1]
    usable[0] = False
    return np.asarray(usable[labels].view(np.uint8), np.uint8)


def _parted(off: U8) -> U8:
    """Pieces that only lines hold together, or a line with the ground: what stands on a horizon."""
    kernel = np.ones((_LINE_PX, _LINE_PX), np.uint8)
    cores = _pieces(cv2.morphologyEx(off, cv2.MORPH_OPEN, kernel))
    return np.asarray(cv2.dilate(cores, kernel) & off, np.uint8)


def _moving(before: U8, now: U8) -> U8:
    """Where the flow is not the camera's, and pixels have changed; on flat ground flow is noise."""
    residual = measure_motion(before, now).residual
    moving = (residual > max(0.7, 4 * float(np.median(residual)))).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, kernel)
    moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, kernel)
    step = cv2.absdiff(cv2.GaussianBlur(before, (3, 3), 0), cv2.GaussianBlur(now, (3, 3), 0))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(moving, connectivity=4)
    changed = np.bincount(labels[step > _CHANGED], minlength=len(stats))
    real = changed >= _CHANGED_SHARE * stats[:, cv2.CC_STAT_AREA]
    real[0] = False
    return np.asarray(real[labels].view(np.uint8), np.uint8)


def _union(maps: list[U8]) -> U8:
    made = maps[0].copy()
    for other in maps[1:]:
        made |= other
    return made
