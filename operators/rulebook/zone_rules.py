"""Rules about zones: enter, leave, dwell, how many, how full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import shapely

from operators.rulebook.rule import (
    Found,
    Rule,
    check_not_negative,
    check_positive,
    check_share,
    to_ns,
)
from operators.rulebook.seen import Level, Moment, Seen, Sight
from operators.rulebook.shapes import PictureZone

_BAND = 0.1


@dataclass(kw_only=True, eq=False)
class InZone(Rule):
    """Follows which tracks have a share of their mask in a zone."""

    zone: str
    share: float = 0.5
    _levels: dict[int, Level] = field(default_factory=dict, init=False)
    _last: dict[int, Sight] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def changes(self, moment: Moment) -> Iterator[tuple[Seen, bool, int]]:
        """Tracks that came in or went out, and when; going out of sight for good is going out."""
        zone = moment.zones[self.zone]
        for track_id, seen in moment.seen.items():
            if seen.hidden:
                continue
            level = self._levels.setdefault(track_id, Level(self.share, _BAND, above=False))
            for sight in seen.fresh:
                share = zone.share(sight.mask)
                passed_ns = None
                before = self._last.get(track_id)
                if before is not None and not _followed(before, sight, share):
                    passed_ns = _passed_ns(zone, before, sight)
                if level.look(share, sight.time_ns, passed_ns):
                    yield seen, bool(level.above), level.since_ns
                self._last[track_id] = sight
        for seen in moment.gone:
            left = self._levels.pop(seen.track_id, None)
            self._last.pop(seen.track_id, None)
            if left is not None and left.above:
                yield seen, False, seen.last_ns

    def inside(self, moment: Moment) -> list[Seen]:
        """The tracks inside, hidden ones too."""
        here = [i for i, level in self._levels.items() if level.above]
        return [moment.known[i] for i in here if i in moment.known]


@dataclass(kw_only=True, eq=False)
class Enter(InZone):
    """A track comes in, or is first seen inside (data: first_seen).

    Args:
        zone: its name.
        share: of its mask that has to be inside.
    """

    kind: ClassVar[str] = "zone_enter"

    def look(self, moment: Moment) -> Iterator[Found]:
        for seen, came, time_ns in self.changes(moment):
            if came:
                data = {"zone": self.zone, "first_seen": time_ns == seen.first_ns}
                yield Found(time_ns=time_ns, track_id=seen.track_id, data=data)


@dataclass(kw_only=True, eq=False)
class Leave(InZone):
    """A track goes out, or leaves the picture from inside (data: gone).

    Args:
        zone: its name.
        share: of its mask; it is out when less is inside.
    """

    kind: ClassVar[str] = "zone_leave"

    def look(self, moment: Moment) -> Iterator[Found]:
        gone = {seen.track_id for seen in moment.gone}
        for seen, came, time_ns in self.changes(moment):
            if not came:
                data = {"zone": self.zone, "gone": seen.track_id in gone}
                yield Found(time_ns=time_ns, track_id=seen.track_id, data=data)


@dataclass(kw_only=True, eq=False)
class Dwell(InZone):
    """A track stays inside for a time; found once a stay.

    Args:
        zone: its name.
        for_s: so long.
        share: of its mask that has to be inside.
        gap_s: going out for less than this does not end the stay (loitering).
    """

    kind: ClassVar[str] = "dwell"

    for_s: float
    gap_s: float = 0.0
    _since: dict[int, int] = field(default_factory=dict, init=False)
    _out: dict[int, int] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("for_s", self.for_s)
        check_not_negative("gap_s", self.gap_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        for seen, came, time_ns in self.changes(moment):
            if not came:
                self._out[seen.track_id] = time_ns
                # on its way out when it was due, it had stayed for long enough all the same
                if time_ns >= self._since.get(seen.track_id, time_ns) + to_ns(self.for_s):
                    yield from self._tell(seen.track_id)
                continue
            out_ns = self._out.pop(seen.track_id, None)
            if out_ns is None or time_ns - out_ns >= to_ns(self.gap_s):
                self._since[seen.track_id] = time_ns
                self._told.discard(seen.track_id)
        for track_id, since_ns in sorted(self._since.items()):
            # half out, it may be on its way: then the stay may have ended before it is due
            here = track_id in moment.seen and track_id not in self._out
            inside = here and self._levels[track_id].steady
            if inside and moment.time_ns >= since_ns + to_ns(self.for_s):
                yield from self._tell(track_id)
        for track_id in [i for i in self._since if i not in moment.known]:
            self._since.pop(track_id)
            self._out.pop(track_id, None)
            self._told.discard(track_id)

    def _tell(self, track_id: int) -> Iterator[Found]:
        """Once a stay."""
        if track_id in self._told:
            return
        self._told.add(track_id)
        since_ns = self._since[track_id]
        data = {"zone": self.zone, "since_ns": since_ns}
        yield Found(time_ns=since_ns + to_ns(self.for_s), track_id=track_id, data=data)


@dataclass(kw_only=True, eq=False)
class Count(InZone):
    """So many tracks are inside at once; found again when there were fewer in between.

    Args:
        zone: its name.
        at_least: how many.
        share: of a mask that has to be inside.
        hold_s: for at least so long.
    """

    kind: ClassVar[str] = "count"
    counts: ClassVar[bool] = True

    at_least: int
    hold_s: float = 0.2
    _since_ns: int | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("at_least", self.at_least)
        check_not_negative("hold_s", self.hold_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        changed = [time_ns for _, _, time_ns in self.changes(moment)]
        inside = self.inside(moment)
        if len(inside) < self.at_least:
            self._since_ns, self._told = None, False
            return
        if self._since_ns is None:
            self._since_ns = max(changed, default=moment.time_ns)
        if not self._told and moment.time_ns - self._since_ns >= to_ns(self.hold_s):
            self._told = True
            ids = sorted(seen.track_id for seen in inside)
            data = {"zone": self.zone, "count": len(ids), "track_ids": ids}
            yield Found(time_ns=self._since_ns, data=data)


@dataclass(kw_only=True, eq=False)
class Density(Rule):
    """Masks cover a share of a zone; found again when it was clearly less in between.

    Args:
        zone: its name.
        at_least: the share of the zone, 0..1.
        hold_s: for at least so long.
    """

    kind: ClassVar[str] = "density"
    counts: ClassVar[bool] = True

    zone: str
    at_least: float
    hold_s: float = 0.2
    _since_ns: int | None = field(default=None, init=False)
    _told: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_share("at_least", self.at_least)
        check_not_negative("hold_s", self.hold_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        masks = [seen.sight.mask for seen in moment.seen.values()]
        share = moment.zones[self.zone].covered(masks) if masks else 0.0
        if share < self.at_least:
            self._since_ns = None
            # told again only after it was clearly less
            self._told = self._told and share > 0.8 * self.at_least
            return
        if self._since_ns is None:
            self._since_ns = moment.time_ns
        if not self._told and moment.time_ns - self._since_ns >= to_ns(self.hold_s):
            self._told = True
            data = {"zone": self.zone, "share": round(share, 3)}
            yield Found(time_ns=self._since_ns, data=data)


def _followed(before: Sight, now: Sight, share: float) -> bool:
    """Whether a track was well seen in the frame before, and not only beyond the border now."""
    return before.time_ns >= now.before_ns and share not in (0.0, 1.0)


def _passed_ns(zone: PictureZone, before: Sight, now: Sight) -> int | None:
    """When the straight way between two sights passed the zone's outline, the last time."""
    way = shapely.LineString([before.centre_px, now.centre_px])
    return passed_ns(way, zone.polygon.boundary, before.time_ns, now.time_ns)


def passed_ns(
    way: shapely.LineString, border: shapely.Geometry, from_ns: int, to_ns: int
) -> int | None:
    """When somebody who walks evenly along a way crosses a border, the last time; or never."""
    if way.length == 0:
        return None
    points = shapely.get_coordinates(way.intersection(border))
    if not len(points):
        return None
    share = float(max(way.project(shapely.Point(p)) for p in points) / way.length)
    return from_ns + round((to_ns - from_ns) * share)
