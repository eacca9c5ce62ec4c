"""A region that may be an object, and how much regions have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]
_SQUARE = np.ones((3, 3), np.uint8)
_FAINT, _CLEAR = 10, 30  # 8-bit steps


class Shape(Protocol):
    """What candidates and tracks share: 0/1 pixels in a tight box, and their number."""

    @property
    def inside(self) -> U8: ...
    @property
    def box(self) -> Box: ...
    @property
    def area_px(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Candidate:
    """A region that may be an object: 0/1 `inside` (uint8) in its tight box (x0, y0, x1, y1),
    area in pixels, and `strength`: the mean colour edge along its outline, in 8-bit steps. What is
    `sure` need not be proposed again before it is followed."""

    inside: U8
    box: Box
    area_px: int
    strength: float
    sure: bool = False


def make_candidate(mask: U8, edges: U8, left: int = 0, top: int = 0) -> Candidate | None:
    """A candidate of a 0/1 mask that lies at (left, top) of the picture; None when it is empty."""
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return None
    inside = np.ascontiguousarray(mask[y : y + h, x : x + w])
    x, y = x + left, y + top
    made = Candidate(inside, (x, y, x + w, y + h), cv2.countNonZero(inside), 0.0)
    return replace(made, strength=rim_strength(made, edges))


def rim_strength(shape: Shape, edges: U8) -> float:
    """The mean edge along a shape's outline, in 8-bit steps."""
    x0, y0, x1, y1 = shape.box
    return float(cv2.mean(edges[y0:y1, x0:x1], _rim(shape.inside))[0])


def outlined_share(shape: Shape, edges: U8) -> float:
    """How much of a shape's outline lies on edges, faint ones included."""
    x0, y0, x1, y1 = shape.box
    rim = _rim(shape.inside) > 0
    return float((edges[y0:y1, x0:x1][rim] >= _FAINT).mean()) if rim.any() else 0.0


def stale_share(shape: Shape, edges: U8, edges_before: U8) -> float:
    """How much of a shape's outline lies on edges of an earlier picture that have gone."""
    x0, y0, x1, y1 = shape.box
    rim = _rim(shape.inside) > 0
    now, before = (e[y0:y1, x0:x1][rim].astype(np.int16) for e in (edges, edges_before))
    return float(((before > _CLEAR) & (before > 2 * now)).mean()) if rim.any() else 0.0


def _rim(inside: U8) -> U8:
    padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.morphologyEx(padded, cv2.MORPH_GRADIENT, _SQUARE)[1:-1, 1:-1], np.uint8)


def common_px(a: Shape, b: Shape) -> int:
    """Pixels inside both, looking only where their boxes meet."""
    ax, ay, bx, by = *a.box[:2], *b.box[:2]
    x0, y0 = max(ax, bx), max(ay, by)
    x1, y1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    if x0 >= x1 or y0 >= y1:
        return 0
    both = (
        a.inside[y0 - ay : y1 - ay, x0 - ax : x1 - ax]
        & b.inside[y0 - by : y1 - by, x0 - bx : x1 - bx]
    )
    return int(cv2.countNonZero(both))


def common_areas(first: Sequence[Shape], second: Sequence[Shape]) -> NDArray[np.int64]:
    """`common_px` of every pair; the cost is that of the pairs whose boxes meet."""
    common = np.zeros((len(first), len(second)), np.int64)
    for i, j in meeting(first, second):
        common[i, j] = common_px(first[i], second[j])
    return common


def meeting(first: Sequence[Shape], second: Sequence[Shape]) -> list[tuple[int, int]]:
    """The pairs of indices whose boxes have a pixel in common."""
    a = np.array([s.box for s in first]).reshape(-1, 1, 4)
    b = np.array([s.box for s in second]).reshape(1, -1, 4)
    meet = np.minimum(a[..., 2:], b[..., 2:]) > np.maximum(a[..., :2], b[..., :2])
    rows, columns = np.nonzero(meet[..., 0] & meet[..., 1])
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def overlap(a: Shape, b: Shape) -> float:
    """Intersection over union of two shapes."""
    common = common_px(a, b)
    return common / max(1, a.area_px + b.area_px - common)


def paste(canvas: U8, shape: Shape, left: int = 0, top: int = 0) -> None:
    """Set a shape's pixels to 1, in place, on a canvas that lies at (left, top) of the picture."""
    height, width = canvas.shape
    x0, y0, x1, y1 = shape.box
    a, b = max(x0, left), min(x1, left + width)
    c, d = max(y0, top), min(y1, top + height)
    if a < b and c < d:
        canvas[c - top : d - top, a - left : b - left] |= shape.inside[
            c - y0 : d - y0, a - x0 : b - x0
        ]
