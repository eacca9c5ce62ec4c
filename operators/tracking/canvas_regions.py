"""Regions in canvas coordinates: recognised, joined and weighed while windows pass over them.

A region seen whole in a window is known. One that a window's edge cuts is held back: another window
shows it whole, or several windows show parts that agree where they overlap and are joined.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from streamer.canvas_mask import CanvasMask
from streamer.geometry import BoxXYXY, Viewport, box_area_px, box_intersection
from streamer.mask import Mask

_SAME_IOU = 0.5
_COMPARED_PX = 160  # longest side of the raster on which two masks are compared
_JOINED_PX = 4096
_CELL_PX = 512
_BESIDE_PX = 5  # of its mask: what lies so near touches
_REMAINDER = 0.3  # of the area of what it touches
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
    dropped: bool = False
    decided: bool = False

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


@dataclass(eq=False)
class CanvasRegions:
    """All regions of a canvas."""

    regions: dict[int, CanvasRegion] = field(default_factory=dict)
    _cells: dict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    _next: int = 1

    def see(self, sightings: Iterable[Sighting], view_xyxy: BoxXYXY, time_ns: int) -> None:
        """Take in what a window shows."""
        hit: set[int] = set()
        for sighting in sightings:
            region = self._recognised(sighting, view_xyxy)
            if region is None:
                region = self._new(sighting, view_xyxy, time_ns)
            else:
                self._update(region, sighting, view_xyxy, time_ns)
            hit.add(region.number)
            if not sighting.cuts:
                self._note_parts(region, sighting)
        for region in self.near(view_xyxy):
            if (
                region.whole
                and region.number not in hit
                and _inside(region.piece.box_xyxy, view_xyxy)
            ):
                region.chances += 1

    def near(self, box_xyxy: BoxXYXY) -> list[CanvasRegion]:
        """Regions whose box meets a box, in the order of their numbers."""
        numbers: set[int] = set()
        for cell in _cells_of(box_xyxy):
            numbers |= self._cells.get(cell, set())
        found = [self.regions[number] for number in sorted(numbers)]
        return [r for r in found if box_area_px(box_intersection(r.piece.box_xyxy, box_xyxy))]

    def settle(self, region: CanvasRegion) -> bool:
        """Decide about a region that no window will show again; whether it stays.

        Dropped are: what was never seen whole, what was seldom found where it could be seen, and
        the less sure of two that cover each other by more than half.
        """
        region.decided = True
        for other in self.near(_grown(region.piece.box_xyxy, _BESIDE_PX / region.piece.scale)):
            if region.dropped or other is region or other.dropped or not other.whole:
                continue
            small, large = sorted((region, other), key=lambda r: r.piece.area_px)
            if self._belongs(small, large):
                if not large.decided or large is region:
                    self._take_part(large, small)
                small.dropped = True
        if region.dropped or not region.whole or region.support < 0.34:
            region.dropped = True
            return False
        for other in self.near(region.piece.box_xyxy):
            if other is region or other.dropped or not other.whole:
                continue
            common, own, others = _common(region.piece, other.piece, None)
            if common > 0.5 * min(own, others):
                if other.decided or other.rank > region.rank:
                    region.dropped = True
                    return False
                other.dropped = True
        return True

    def _recognised(self, sighting: Sighting, view_xyxy: BoxXYXY) -> CanvasRegion | None:
        """The region a sighting shows, parts of one region made into one."""
        matches: list[tuple[float, CanvasRegion]] = []
        for region in self.near(sighting.piece.box_xyxy):
            # masks are compared where both could be seen
            within = view_xyxy
            if not region.whole:
                within = box_intersection(view_xyxy, region.seen_in)
            if box_area_px(within) == 0:
                continue
            common, a, b = _common(sighting.piece, region.piece, within)
            union = a + b - common
            if union > 0 and common / union >= _SAME_IOU:
                matches.append((common / union, region))
        if not matches:
            return None
        matches.sort(key=lambda match: (-match[0], match[1].number))
        first = min((region for _, region in matches), key=lambda region: region.number)
        if sighting.cuts and any(region.whole for _, region in matches):
            return next(region for _, region in matches if region.whole)
        for _, region in matches:
            if region is not first and not (region.whole and first.whole) and not region.decided:
                self._absorb(first, region)
        if not first.whole:
            return first
        return next(region for _, region in matches if region.number in self.regions)

    def _note_parts(self, region: CanvasRegion, sighting: Sighting) -> None:
        """What a sighting of a region covers beside it belongs to it: handle and cup, seen apart
        in one window and as one thing in another."""
        for other in self.near(sighting.piece.box_xyxy):
            if other is region or not other.whole or not region.whole:
                continue
            common, _, own = _common(sighting.piece, other.piece, None)
            if common > 0.8 * own and other.piece.area_px < 0.6 * region.piece.area_px:
                beside, _, own = _common(region.piece, other.piece, None)
                if beside < 0.3 * own:
                    region.parts.add(other.number)

    def _belongs(self, small: CanvasRegion, large: CanvasRegion) -> bool:
        """Whether a region is a part of a larger one beside it: seen as one in some window, or a
        small remainder that touches it."""
        if not (small.whole and large.whole):
            return False
        if small.number in large.parts:
            return True
        a, b = small.piece, large.piece
        if a.area_px > _REMAINDER * b.area_px or small.support < 0.34 or large.support < 0.34:
            return False
        box = _grown(a.box_xyxy, _BESIDE_PX / a.scale)
        scale = min(1.0, a.scale, b.scale)
        hw = (max(1, round((box[3] - box[1]) * scale)), max(1, round((box[2] - box[0]) * scale)))
        side = 2 * _BESIDE_PX + 1
        around = cv2.dilate(a.raster(box, hw), np.ones((side, side), np.uint8))
        beside = b.raster(box, hw)
        return bool((around & beside).any()) and _common(a, b, None)[0] < 0.3 * a.area_px

    def _take_part(self, region: CanvasRegion, part: CanvasRegion) -> None:
        joined = region.joined
        self._join(region, part.piece, (), region.seen_in)
        region.joined, part.dropped = joined, True

    def _absorb(self, into: CanvasRegion, region: CanvasRegion) -> None:
        if region.whole:
            self._place(into, region.piece)
            into.cuts, into.joined, into.best = (), region.joined, region.best
        elif not into.whole:
            self._join(into, region.piece, region.cuts, region.seen_in)
        into.hits += region.hits - 1
        into.chances += region.chances - 1
        into.first_ns = min(into.first_ns, region.first_ns)
        self._forget(region)

    def _update(
        self, region: CanvasRegion, sighting: Sighting, view_xyxy: BoxXYXY, time_ns: int
    ) -> None:
        region.last_ns = time_ns
        if sighting.cuts:
            if not region.whole:
                self._join(region, sighting.piece, sighting.cuts, view_xyxy)
            return
        region.hits += 1
        region.chances += 1
        if not region.whole or region.joined or sighting.view.quality > region.best.quality:
            # an id that has been given out keeps the mask it was given out with
            if not region.decided:
                self._place(region, sighting.piece)
                region.best, region.strength = sighting.view, sighting.strength
            region.cuts, region.joined = (), False

    def _join(
        self, region: CanvasRegion, piece: CanvasMask, cuts: tuple[BoxXYXY, ...], seen_in: BoxXYXY
    ) -> None:
        """Put a part to the parts before; a cut that the other part's window shows is healed."""
        kept = [cut for cut in region.cuts if not _inside(cut, seen_in)]
        kept += [cut for cut in cuts if not _inside(cut, region.seen_in)]
        box = _around(region.piece.box_xyxy, piece.box_xyxy)
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(region.piece.scale, piece.scale, _JOINED_PX / max(width, height))
        hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        both = region.piece.raster(box, hw) | piece.raster(box, hw)
        self._place(region, CanvasMask(box, Mask.encode(both)))
        region.cuts, region.joined = tuple(kept), True
        region.seen_in = _around(region.seen_in, seen_in)

    def _new(self, sighting: Sighting, view_xyxy: BoxXYXY, time_ns: int) -> CanvasRegion:
        region = CanvasRegion(
            number=self._next,
            piece=sighting.piece,
            cuts=sighting.cuts,
            seen_in=view_xyxy,
            strength=sighting.strength,
            best=sighting.view,
            first_ns=time_ns,
            last_ns=time_ns,
        )
        self._next += 1
        self.regions[region.number] = region
        for cell in _cells_of(region.piece.box_xyxy):
            self._cells[cell].add(region.number)
        return region

    def _place(self, region: CanvasRegion, piece: CanvasMask) -> None:
        for cell in _cells_of(region.piece.box_xyxy):
            self._cells[cell].discard(region.number)
        region.piece = piece
        for cell in _cells_of(piece.box_xyxy):
            self._cells[cell].add(region.number)

    def _forget(self, region: CanvasRegion) -> None:
        for cell in _cells_of(region.piece.box_xyxy):
            self._cells[cell].discard(region.number)
        region.dropped = True
        del self.regions[region.number]


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


def _common(a: CanvasMask, b: CanvasMask, within: BoxXYXY | None) -> tuple[float, float, float]:
    """Pixels of the comparing raster in both masks, in the first and in the second."""
    box = _around(a.box_xyxy, b.box_xyxy)
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


def _cells_of(box_xyxy: BoxXYXY) -> list[tuple[int, int]]:
    x0, y0, x1, y1 = box_xyxy
    return [
        (i, j)
        for i in range(x0 // _CELL_PX, max(x0, x1 - 1) // _CELL_PX + 1)
        for j in range(y0 // _CELL_PX, max(y0, y1 - 1) // _CELL_PX + 1)
    ]


def _around(a: BoxXYXY, b: BoxXYXY) -> BoxXYXY:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _grown(box_xyxy: BoxXYXY, rim_px: float) -> BoxXYXY:
    x0, y0, x1, y1 = box_xyxy
    rim = math.ceil(rim_px)
    return x0 - rim, y0 - rim, x1 + rim, y1 + rim


def _inside(inner: BoxXYXY, outer: BoxXYXY) -> bool:
    """Whether a box lies in another one with a rim to spare."""
    rim = 2
    return (
        inner[0] >= outer[0] + rim
        and inner[1] >= outer[1] + rim
        and inner[2] <= outer[2] - rim
        and inner[3] <= outer[3] - rim
    )
