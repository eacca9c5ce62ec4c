"""What rules know of tracks: where each was seen, how well, and which are gone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import shapely

from operators.rulebook.shapes import PictureLine, PictureZone, PointXY
from streamer.geometry import BoxXYXY
from streamer.mask import Mask

WELL_SEEN = 0.7
SETTLES_NS = 200_000_000  # of its first sights tell how a track moved before them
_GROWS_S, _SHRINKS_S, _HIDDEN_S = 0.5, 2.0, 8.0


@dataclass(eq=False)
class Sight:
    """A track in one frame; `before_ns` is the time of the frame before."""

    time_ns: int
    mask: Mask
    box_xyxy: BoxXYXY
    area_px: int
    before_ns: int = 0

    @cached_property
    def centre_px(self) -> PointXY:
        """The centroid (x, y) of the mask."""
        (x0, y0, _, _), inside = self.mask.decode_box()
        m = cv2.moments(inside, binaryImage=True)
        return (x0 + m["m10"] / m["m00"] + 0.5, y0 + m["m01"] / m["m00"] + 0.5)

    @cached_property
    def outline(self) -> Any:
        """The mask's outlines as a shapely geometry."""
        (x0, y0, _, _), inside = self.mask.decode_box()
        contours, _ = cv2.findContours(
            inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0)
        )
        parts = [np.asarray(c).reshape(-1, 2) for c in contours]
        return shapely.GeometryCollection(
            [shapely.Polygon(p) if len(p) >= 3 else shapely.MultiPoint(p) for p in parts]
        )

    @property
    def at_edge(self) -> bool:
        """Whether the picture may end before the object does."""
        x0, y0, x1, y1 = self.box_xyxy
        return x0 <= 1 or y0 <= 1 or x1 >= self.mask.width_px - 1 or y1 >= self.mask.height_px - 1

    def distance_px(self, other: Sight) -> float:
        """Between the nearest pixels of two masks."""
        return float(shapely.distance(self.outline, other.outline))

    def box_gap_px(self, other: Sight) -> float:
        """Between the boxes; never more than `distance_px`."""
        a, b = self.box_xyxy, other.box_xyxy
        return math.hypot(max(0, a[0] - b[2], b[0] - a[2]), max(0, a[1] - b[3], b[1] - a[3]))

    def within(self, other: Sight, distance_px: float) -> bool:
        """Whether two masks are at most so far apart."""
        return self.box_gap_px(other) <= distance_px and self.distance_px(other) <= distance_px


@dataclass(eq=False)
class Seen:
    """A track: its last sight, and the area it usually has, which tells when it is hidden.

    A tracker shows a track when it is sure of it, and tells since when it was there (`first_ns`).
    Where it was then follows from how it moves at first: until that is known its sights are kept
    as `early`. `fresh` are the sights that a frame adds for rules about places: none until then,
    at once all so far, after that one a frame.
    """

    track_id: int
    first_ns: int
    sight: Sight
    usual_px: float
    ended_ns: int | None = None
    early: list[Sight] | None = None
    fresh: list[Sight] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.first_ns < self.sight.time_ns:
            self.early = [self.sight]
        else:
            self.fresh = [self.sight]

    @property
    def last_ns(self) -> int:
        return self.sight.time_ns

    @property
    def visible(self) -> float:
        """The share of its usual area that it has now, 0..1."""
        return min(1.0, self.sight.area_px / self.usual_px)

    @property
    def hidden(self) -> bool:
        """Whether so much is covered by something that its place cannot be told."""
        return self.visible < WELL_SEEN and not self.sight.at_edge

    def see(self, sight: Sight) -> None:
        """The next sight; the usual area follows slowly, and slower while most is covered."""
        share = sight.area_px / self.usual_px
        pace_s = _GROWS_S if share >= 1 else _SHRINKS_S if share >= WELL_SEEN else _HIDDEN_S
        past_s = (sight.time_ns - self.sight.time_ns) / 1e9
        self.usual_px += (sight.area_px - self.usual_px) * (1 - math.exp(-past_s / pace_s))
        self.sight = sight
        self.fresh = [sight]
        if self.early is not None:
            self.early.append(sight)
            self.fresh = []
            if sight.time_ns - self.early[0].time_ns >= SETTLES_NS:
                self.fresh, self.early = [*_before(self.early, self.first_ns), *self.early], None


def _before(early: Sequence[Sight], time_ns: int) -> list[Sight]:
    """Where a track was before its first sight, going as it went in its early ones; nothing when
    that is outside the picture."""
    first, last = early[0], early[-1]
    back = (first.time_ns - time_ns) / (last.time_ns - first.time_ns)
    dx, dy = (round(back * (a - b)) for a, b in zip(first.centre_px, last.centre_px, strict=True))
    mask = first.mask.shift(dx, dy)
    return [Sight(time_ns, mask, mask.box_xyxy, mask.area_px)] if mask.area_px else []


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame as rules see it.

    `seen`: the tracks in the frame, by id. `gone`: those that have left for good. `known`: all
    that are remembered, hidden ones too. Distances in rules are shares of the picture's height.
    `before_ns` is the time of the frame before.
    """

    time_ns: int
    before_ns: int
    height_px: int
    seen: Mapping[int, Seen]
    gone: Sequence[Seen]
    known: Mapping[int, Seen]
    zones: Mapping[str, PictureZone]
    lines: Mapping[str, PictureLine]


@dataclass(eq=False)
class Level:
    """Whether a value lies above a threshold, with hysteresis: it has to pass the threshold by
    `band` to count, and the time is that of the threshold itself."""

    threshold: float
    band: float
    above: bool | None = None
    since_ns: int = 0
    _passed_ns: int | None = None

    @property
    def steady(self) -> bool:
        """Whether the value lies on the side that `above` says."""
        return self._passed_ns is None

    def look(self, value: float, time_ns: int, passed_ns: int | None = None) -> bool:
        """Take a value; whether `above` changed for good.

        Args:
            passed_ns: when the threshold was passed, if that is known better than `time_ns`.
        """
        side = value >= self.threshold
        if side == self.above:
            self._passed_ns = None
            return False
        if self._passed_ns is None:
            self._passed_ns = time_ns if passed_ns is None else passed_ns
        low, high = max(0.0, self.threshold - self.band), min(1.0, self.threshold + self.band)
        if low < value < high:
            return False
        self.above, self.since_ns, self._passed_ns = side, self._passed_ns, None
        return True


@dataclass(eq=False)
class Still:
    """Since when a track has stood where it stands."""

    at_px: PointXY
    since_ns: int
    has_moved: bool = False
    waited_ns: int = field(default=0)

    def look(self, sight: Sight, within_px: float) -> bool:
        """Take a well-seen sight; whether the track moved away from where it stood."""
        if math.dist(self.at_px, sight.centre_px) <= within_px:
            return False
        self.waited_ns = sight.time_ns - self.since_ns
        self.at_px, self.since_ns, self.has_moved = sight.centre_px, sight.time_ns, True
        return True
