"""What a window shows of a large picture, and how two masks of a canvas are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from streamer.canvas_mask import CanvasMask
from streamer.geometry import BoxXYXY, Viewport, box_intersection

_COMPARED_PX = 160  # longest side of the raster on which two masks are compared
_EDGE_PX = 3  # of the window's picture: what comes so near its edge is cut by it


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The window in which a region is seen best."""

    frame_index: int
    time_ns: int
    viewport: Viewport
    frame_hw: tuple[int, int]
    quality: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """A proposal of a window: `cuts` are the strips of canvas on which the window's edge cuts it,
    empty when it is whole."""

    piece: CanvasMask
    strength: float
    cuts: tuple[BoxXYXY, ...]
    view: View


@dataclass(eq=False)
class CanvasRegion:
    """A region and what is known of it so far."""

    number: int
    piece: CanvasMask
    cuts: tuple[BoxXYXY, ...]
    seen_in: BoxXYXY  # the box around all windows that showed it
    strength: float
    best: View
    first_ns: int
    last_ns: int
    hits: int = 1
    chances: int = 1
    joined: bool = False
    parts: set[int] = field(default_factory=set)
    wider: CanvasMask | None = None  # its mask when a coarser window showed more as one thing
    dropped: bool = False
    decided: bool = False

    @property
    def reach_xyxy(self) -> BoxXYXY:
        """The box around all that may turn out to belong to it."""
        box = self.piece.box_xyxy
        return box if self.wider is None else box_around(box, self.wider.box_xyxy)

    @property
    def whole(self) -> bool:
        return not self.cuts

    @property
    def support(self) -> float:
        """Share of the windows that could have shown it whole in which it was found."""
        return min(1.0, self.hits / max(1, self.chances))

    @property
    def rank(self) -> float:
        """How sure it is; of two that overlap the higher one stays."""
        return float(self.support * self.strength * self.piece.area_px**0.25 * min(3, self.hits))


def cuts_of(box_xyxy: BoxXYXY, view: Viewport, frame_hw: tuple[int, int]) -> tuple[BoxXYXY, ...]:
    """The strips of the window's edge that a box of the canvas touches; the canvas's own edge does
    not cut."""
    x0, y0, x1, y1 = box_xyxy
    left, top = view.x_px, view.y_px
    right, bottom = left + view.width_px, top + view.height_px
    near = max(1, round(_EDGE_PX * view.width_px / frame_hw[1]))
    cuts = []
    if x0 <= left + near and left > 0:
        cuts.append((left, y0, left + 1, y1))
    if x1 >= right - near and right < view.canvas_width_px:
        cuts.append((right - 1, y0, right, y1))
    if y0 <= top + near and top > 0:
        cuts.append((x0, top, x1, top + 1))
    if y1 >= bottom - near and bottom < view.canvas_height_px:
        cuts.append((x0, bottom - 1, x1, bottom))
    return tuple(cuts)


def common_px(a: CanvasMask, b: CanvasMask, within: BoxXYXY | None) -> tuple[float, float, float]:
    """Pixels of the comparing raster in both masks, in the first and in the second."""
    box = box_around(a.box_xyxy, b.box_xyxy)
    if within is not None:
        box = box_intersection(box, within)
    width, height = box[2] - box[0], box[3] - box[1]
    if width <= 0 or height <= 0:
        return 0.0, 0.0, 0.0
    scale = min(1.0, a.scale, b.scale, _COMPARED_PX / max(width, height))
    # a long thin thing keeps some pixels across
    hw = (max(min(8, height), round(height * scale)), max(min(8, width), round(width * scale)))
    first, second = a.raster(box, hw), b.raster(box, hw)
    return float((first & second).sum()), float(first.sum()), float(second.sum())


def box_around(a: BoxXYXY, b: BoxXYXY) -> BoxXYXY:
    """The smallest box that holds two boxes."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def grown_box(box_xyxy: BoxXYXY, rim_px: float) -> BoxXYXY:
    """A box with a rim around it."""
    x0, y0, x1, y1 = box_xyxy
    rim = math.ceil(rim_px)
    return x0 - rim, y0 - rim, x1 + rim, y1 + rim


def box_inside(inner: BoxXYXY, outer: BoxXYXY) -> bool:
    """Whether a box lies in another one with a rim to spare."""
    rim = 2
    return (
        inner[0] >= outer[0] + rim
        and inner[1] >= outer[1] + rim
        and inner[2] <= outer[2] - rim
        and inner[3] <= outer[3] - rim
    )
