"""Regions in canvas coordinates: recognised, joined and weighed while windows pass over them.

A region seen whole in a window is known. One that a window's edge cuts is held back: another window
shows it whole, or several windows show parts that agree where they overlap and are joined.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from operators.tracking.canvas_sightings import (
    CanvasRegion,
    Sighting,
    box_around,
    box_inside,
    common_px,
    grown_box,
)
from streamer.canvas_mask import CanvasMask
from streamer.geometry import BoxXYXY, box_area_px, box_intersection
from streamer.mask import Mask

_SAME_IOU = 0.5
_JOINED_PX = 4096
_CELL_PX = 512
_BESIDE_PX = 5  # of its mask: what lies so near touches
_WIDER = 1.03  # as many times as large: there was more to it
_REMAINDER = 0.3  # of the area of what it touches


@dataclass(eq=False)
class CanvasRegions:
    """All regions of a canvas."""

    regions: dict[int, CanvasRegion] = field(default_factory=dict)
    _cells: dict[tuple[int, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    _settled: set[int] = field(default_factory=set)
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
                and box_inside(region.piece.box_xyxy, view_xyxy)
            ):
                region.chances += 1

    def near(self, box_xyxy: BoxXYXY) -> list[CanvasRegion]:
        """Regions whose reach meets a box, in the order of their numbers."""
        numbers: set[int] = set()
        for cell in _cells_of(box_xyxy):
            numbers |= self._cells.get(cell, set())
        found = [self.regions[number] for number in sorted(numbers)]
        return [r for r in found if box_area_px(box_intersection(r.reach_xyxy, box_xyxy))]

    def holders(self, region: CanvasRegion) -> list[CanvasRegion]:
        """Undecided larger regions that cover a region: it may be a part of them."""
        return [
            other
            for other in self.near(region.piece.box_xyxy)
            if other is not region
            and other.whole
            and not other.decided
            and not other.dropped
            and other.piece.area_px > region.piece.area_px
            and _covers(other.wider or other.piece, region.piece)
        ]

    def settle(self, region: CanvasRegion) -> bool:
        """Decide about a region that no window will show again; whether it stays.

        Dropped are: what was never seen whole, what was seldom found where it could be seen, and
        the less sure of two that cover each other by more than half.
        """
        region.decided = True
        self._settled.add(region.number)
        for other in self.near(grown_box(region.reach_xyxy, _BESIDE_PX / region.piece.scale)):
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
            common, own, others = common_px(region.piece, other.piece, None)
            if common > 0.5 * min(own, others):
                if other.decided or other.rank > region.rank:
                    region.dropped = True
                    return False
                other.dropped = True
        return True

    def forget(self, apart_from: Collection[int]) -> None:
        """Let go of what has been decided about and has no undecided neighbour, so that a long
        picture takes no more memory than a short one."""
        for number in [n for n in self._settled if n not in apart_from]:
            region = self.regions[number]
            around = grown_box(region.reach_xyxy, _BESIDE_PX / region.piece.scale)
            if all(other.decided for other in self.near(around)):
                self._settled.remove(number)
                self._forget(region)

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
            common, a, b = common_px(sighting.piece, region.piece, within)
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
            common, _, own = common_px(sighting.piece, other.piece, None)
            if common > 0.8 * own and other.piece.area_px < 0.6 * region.piece.area_px:
                beside, _, own = common_px(region.piece, other.piece, None)
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
        if large.wider is not None and a.area_px < 0.6 * b.area_px and _covers(large.wider, a):
            return common_px(a, b, None)[0] < 0.3 * common_px(a, a, None)[0]
        if a.area_px > _REMAINDER * b.area_px or small.support < 0.34 or large.support < 0.34:
            return False
        box = grown_box(a.box_xyxy, _BESIDE_PX / a.scale)
        scale = min(1.0, a.scale, b.scale)
        hw = (max(1, round((box[3] - box[1]) * scale)), max(1, round((box[2] - box[0]) * scale)))
        side = 2 * _BESIDE_PX + 1
        around = cv2.dilate(a.raster(box, hw), np.ones((side, side), np.uint8))
        beside = b.raster(box, hw)
        return bool((around & beside).any()) and common_px(a, b, None)[0] < 0.3 * a.area_px

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
                wider = region.wider or region.piece
                if region.whole and wider.area_px > _WIDER * sighting.piece.area_px:
                    self._place(region, sighting.piece, wider)
                else:
                    self._place(region, sighting.piece)
                region.best, region.strength = sighting.view, sighting.strength
            region.cuts, region.joined = (), False

    def _join(
        self, region: CanvasRegion, piece: CanvasMask, cuts: tuple[BoxXYXY, ...], seen_in: BoxXYXY
    ) -> None:
        """Put a part to the parts before; a cut that the other part's window shows is healed."""
        kept = [cut for cut in region.cuts if not box_inside(cut, seen_in)]
        kept += [cut for cut in cuts if not box_inside(cut, region.seen_in)]
        box = box_around(region.piece.box_xyxy, piece.box_xyxy)
        width, height = box[2] - box[0], box[3] - box[1]
        scale = min(region.piece.scale, piece.scale, _JOINED_PX / max(width, height))
        hw = (max(1, round(height * scale)), max(1, round(width * scale)))
        both = region.piece.raster(box, hw) | piece.raster(box, hw)
        self._place(region, CanvasMask(box, Mask.encode(both)))
        region.cuts, region.joined = tuple(kept), True
        region.seen_in = box_around(region.seen_in, seen_in)

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
        for cell in _cells_of(region.reach_xyxy):
            self._cells[cell].add(region.number)
        return region

    def _place(
        self, region: CanvasRegion, piece: CanvasMask, wider: CanvasMask | None = None
    ) -> None:
        for cell in _cells_of(region.reach_xyxy):
            self._cells[cell].discard(region.number)
        region.piece, region.wider = piece, wider or region.wider
        for cell in _cells_of(region.reach_xyxy):
            self._cells[cell].add(region.number)

    def _forget(self, region: CanvasRegion) -> None:
        for cell in _cells_of(region.reach_xyxy):
            self._cells[cell].discard(region.number)
        region.dropped = True
        del self.regions[region.number]


def _covers(large: CanvasMask, small: CanvasMask) -> bool:
    common, _, own = common_px(large, small, None)
    return common > 0.8 * own


def _cells_of(box_xyxy: BoxXYXY) -> list[tuple[int, int]]:
    x0, y0, x1, y1 = box_xyxy
    return [
        (i, j)
        for i in range(x0 // _CELL_PX, max(x0, x1 - 1) // _CELL_PX + 1)
        for j in range(y0 // _CELL_PX, max(y0, y1 - 1) // _CELL_PX + 1)
    ]
