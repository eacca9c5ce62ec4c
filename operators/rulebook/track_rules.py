"""Rules about single tracks: stopped, fast, hidden, come and gone, changed. Distances are shares
of the picture's height, speeds such shares a second."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from operators.rulebook.rule import (
    Found,
    Rule,
    check_not_negative,
    check_positive,
    check_share,
    to_ns,
)
from operators.rulebook.seen import Moment, Sight, Still
from streamer.words import Said


@dataclass(kw_only=True, eq=False)
class Stop(Rule):
    """A track that has moved stands still; found once a stand.

    Args:
        for_s: so long.
        within: moving less than this, a share of the picture's height, is standing.
        zone: only where most of the mask is in this zone; "" for anywhere.
    """

    kind: ClassVar[str] = "stop"

    for_s: float = 2.0
    within: float = 0.01
    zone: str = ""
    _still: dict[int, Still] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        check_positive("for_s", self.for_s)
        check_positive("within", self.within)

    def look(self, moment: Moment) -> Iterator[Found]:
        for track_id, seen in moment.seen.items():
            if seen.hidden:
                continue
            still = self._still.setdefault(track_id, Still(seen.sight.centre_px, seen.last_ns))
            if still.look(seen.sight, self.within * moment.height_px):
                self._told.discard(track_id)
            due_ns = still.since_ns + to_ns(self.for_s)
            if not still.has_moved or track_id in self._told or seen.last_ns < due_ns:
                continue
            self._told.add(track_id)
            if _in_zone(moment, self.zone, seen.sight):
                yield Found(time_ns=due_ns, track_id=track_id, data={"since_ns": still.since_ns})
        for seen in moment.gone:
            self._still.pop(seen.track_id, None)
            self._told.discard(seen.track_id)


@dataclass(kw_only=True, eq=False)
class Speed(Rule):
    """A track is faster than it should be; found again after it was clearly slower.

    Args:
        above: picture heights a second.
        over_s: the speed is the mean over so long.
        zone: only where most of the mask is in this zone; "" for anywhere.
    """

    kind: ClassVar[str] = "speed"

    above: float
    over_s: float = 0.5
    zone: str = ""
    _ways: dict[int, deque[Sight]] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        check_positive("above", self.above)
        check_positive("over_s", self.over_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        for track_id, seen in moment.seen.items():
            way = self._ways.setdefault(track_id, deque())
            if seen.visible < 0.8 or seen.sight.at_edge:  # its centre moves when it is covered
                way.clear()
                continue
            way.append(seen.sight)
            while len(way) > 2 and way[-1].time_ns - way[1].time_ns >= to_ns(self.over_s):
                way.popleft()
            past_ns = way[-1].time_ns - way[0].time_ns
            if past_ns < to_ns(self.over_s):
                continue
            moved_px = math.dist(way[0].centre_px, way[-1].centre_px)
            speed = moved_px / moment.height_px / (past_ns / 1e9)
            if speed < 0.8 * self.above:
                self._told.discard(track_id)
            elif speed > self.above and track_id not in self._told:
                self._told.add(track_id)
                if _in_zone(moment, self.zone, seen.sight):
                    data = {"speed": round(speed, 4)}
                    yield Found(time_ns=seen.last_ns, track_id=track_id, data=data)
        for seen in moment.gone:
            self._ways.pop(seen.track_id, None)
            self._told.discard(seen.track_id)


@dataclass(kw_only=True, eq=False)
class Occluded(Rule):
    """Something covers most of a track, inside the picture; found again when it was well seen.

    Args:
        below: the share of its usual area that is still seen, or less.
        hold_s: for at least so long.
    """

    kind: ClassVar[str] = "occluded"

    below: float = 0.5
    hold_s: float = 0.2
    _since: dict[int, int] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        check_share("below", self.below)
        check_not_negative("hold_s", self.hold_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        for track_id, seen in moment.known.items():
            here = track_id in moment.seen
            if seen.sight.at_edge or (here and seen.visible > self.below):
                self._since.pop(track_id, None)
                if here and seen.visible > min(1.0, 1.3 * self.below):
                    self._told.discard(track_id)
                continue
            since_ns = self._since.setdefault(track_id, moment.time_ns)
            if track_id not in self._told and moment.time_ns - since_ns >= to_ns(self.hold_s):
                self._told.add(track_id)
                visible = round(seen.visible, 3) if here else 0.0
                yield Found(time_ns=since_ns, track_id=track_id, data={"visible": visible})
        for track_id in [i for i in self._since if i not in moment.known]:
            self._since.pop(track_id)
        self._told &= set(moment.known)


@dataclass(kw_only=True, eq=False)
class Appear(Rule):
    """A track is new; its time is that of its first frame.

    Args:
        after_s: once it was there for so long; what flickers up is not told.
        zone: only when most of it was in this zone at first; "" for anywhere.
    """

    kind: ClassVar[str] = "appear"

    after_s: float = 0.2
    zone: str = ""
    _waiting: dict[int, bool] = field(default_factory=dict, init=False)
    _told: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        check_not_negative("after_s", self.after_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        for track_id, seen in moment.seen.items():
            if track_id in self._told:
                continue
            if track_id not in self._waiting:
                self._waiting[track_id] = _in_zone(moment, self.zone, seen.sight)
            if seen.last_ns - seen.first_ns >= to_ns(self.after_s):
                self._told.add(track_id)
                if self._waiting.pop(track_id):
                    yield Found(time_ns=seen.first_ns, track_id=track_id)
        self._told &= set(moment.known)
        for track_id in [i for i in self._waiting if i not in moment.known]:
            self._waiting.pop(track_id)


@dataclass(kw_only=True, eq=False)
class Disappear(Rule):
    """A track has gone for good; its time is that of its last frame.

    Args:
        after_s: only tracks that were there for so long.
        zone: only when most of it was in this zone at last; "" for anywhere.
    """

    kind: ClassVar[str] = "disappear"

    after_s: float = 0.2
    zone: str = ""

    def __post_init__(self) -> None:
        check_not_negative("after_s", self.after_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        for seen in moment.gone:
            long = seen.last_ns - seen.first_ns >= to_ns(self.after_s)
            if long and _in_zone(moment, self.zone, seen.sight):
                yield Found(time_ns=seen.last_ns, track_id=seen.track_id)


@dataclass(kw_only=True, eq=False)
class LookChange(Rule):
    """New words about a track name another colour or category than those before."""

    kind: ClassVar[str] = "look_change"
    needs_words: ClassVar[bool] = True

    def look(self, moment: Moment) -> Iterator[Found]:
        return iter(())

    def hear(self, track_id: int, before: Said, now: Said, time_ns: int) -> Iterator[Found]:
        data = {
            key: [was, is_]
            for key, was, is_ in (
                ("category", before.category, now.category),
                ("colour", before.colour, now.colour),
            )
            if was and is_ and was != is_
        }
        if data:
            yield Found(time_ns=time_ns, track_id=track_id, data=data)


def _in_zone(moment: Moment, name: str, sight: Sight) -> bool:
    return not name or moment.zones[name].share(sight.mask) >= 0.5
