"""Rules about two tracks: contact, left behind, taken away. Distances are shares of the picture's
height, between the nearest pixels of the masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

from operators.rulebook.rule import Found, Rule, check_not_negative, check_positive, to_ns
from operators.rulebook.seen import Moment, Seen, Still

_Pair = tuple[int, int]


@dataclass(kw_only=True, eq=False)
class Contact(Rule):
    """Two tracks touch; found again after they were clearly apart.

    Args:
        within: masks this near touch.
        hold_s: for at least so long.
    """

    kind: ClassVar[str] = "contact"

    within: float = 0.005
    hold_s: float = 0.2
    _since: dict[_Pair, int] = field(default_factory=dict, init=False)
    _told: set[_Pair] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        check_not_negative("within", self.within)
        check_not_negative("hold_s", self.hold_s)

    def look(self, moment: Moment) -> Iterator[Found]:
        near_px = max(1.5, self.within * moment.height_px)
        for pair in combinations(sorted(moment.seen), 2):
            a, b = (moment.seen[i].sight for i in pair)
            if a.within(b, near_px):
                since_ns = self._since.setdefault(pair, moment.time_ns)
                if pair not in self._told and moment.time_ns - since_ns >= to_ns(self.hold_s):
                    self._told.add(pair)
                    yield Found(time_ns=since_ns, track_id=pair[0], other_track_id=pair[1])
                continue
            self._since.pop(pair, None)
            if pair in self._told and not a.within(b, 2 * near_px + 2):
                self._told.discard(pair)
        for pair in [p for p in {*self._since, *self._told} if not set(p) <= set(moment.known)]:
            self._since.pop(pair, None)
            self._told.discard(pair)


@dataclass(eq=False)
class _Thing:
    """A track that came to be beside another one, or stood for long."""

    still: Still
    owner: int | None
    away_ns: int | None = None
    told: bool = False


@dataclass(kw_only=True, eq=False)
class LeftBehind(Rule):
    """A track that came into view beside another one stands still, and the other one goes
    (data of the event: `other_track_id`, who left it).

    Args:
        for_s: it stood alone for so long.
        away: the other one is gone, or at least so far.
        beside: so near is beside.
        within: moving less than this is standing.
    """

    kind: ClassVar[str] = "left_behind"

    for_s: float = 3.0
    away: float = 0.15
    beside: float = 0.02
    within: float = 0.02
    _things: dict[int, _Thing] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name in ("for_s", "away", "beside", "within"):
            check_positive(name, getattr(self, name))
        if self.beside >= self.away:
            raise ValueError(f"beside is {self.beside:g}; wanted less than away, {self.away:g}")

    def look(self, moment: Moment) -> Iterator[Found]:
        for track_id, seen in moment.seen.items():
            thing = self._things.get(track_id)
            if thing is None:
                owner = self._beside(moment, seen)
                self._things[track_id] = _Thing(Still(seen.sight.centre_px, seen.last_ns), owner)
                continue
            if seen.visible >= 0.8:
                thing.still.look(seen.sight, self.within * moment.height_px)
            if thing.owner is None:
                continue
            if not self._is_away(moment, seen, thing.owner):
                thing.away_ns = None
                continue
            if thing.away_ns is None:
                thing.away_ns = moment.time_ns
            due_ns = max(thing.away_ns, thing.still.since_ns) + to_ns(self.for_s)
            if not thing.told and moment.time_ns >= due_ns:
                thing.told = True
                yield Found(
                    time_ns=due_ns,
                    track_id=track_id,
                    other_track_id=thing.owner,
                    data={"since_ns": thing.still.since_ns},
                )
        for seen in moment.gone:
            self._things.pop(seen.track_id, None)

    def _beside(self, moment: Moment, seen: Seen) -> int | None:
        """The older track it is first seen beside: who brought it."""
        near_px = self.beside * moment.height_px
        older = [
            other
            for other in moment.seen.values()
            if other.first_ns < seen.first_ns and seen.sight.within(other.sight, near_px)
        ]
        best = min(older, key=lambda o: seen.sight.distance_px(o.sight), default=None)
        return None if best is None else best.track_id

    def _is_away(self, moment: Moment, seen: Seen, owner: int) -> bool:
        other = moment.known.get(owner)
        if other is None:
            return True
        return not seen.sight.within(other.sight, self.away * moment.height_px)


@dataclass(kw_only=True, eq=False)
class TakenAway(Rule):
    """A track that stood for long moves off, or goes out of sight, beside another one that came
    to it (data of the event: `other_track_id`, who took it).

    Args:
        stood_s: it stood for so long before.
        beside: so near is beside.
        within: moving less than this is standing.
    """

    kind: ClassVar[str] = "taken_away"

    stood_s: float = 3.0
    beside: float = 0.02
    within: float = 0.03
    _still: dict[int, Still] = field(default_factory=dict, init=False)
    _visitor: dict[int, tuple[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name in ("stood_s", "beside", "within"):
            check_positive(name, getattr(self, name))

    def look(self, moment: Moment) -> Iterator[Found]:
        near_px = self.beside * moment.height_px
        for track_id, seen in moment.seen.items():
            still = self._still.setdefault(track_id, Still(seen.sight.centre_px, seen.last_ns))
            for other in moment.seen.values():
                mover = self._still.get(other.track_id)
                moves = other is not seen and mover is not None and mover.has_moved
                if moves and seen.sight.within(other.sight, near_px):
                    self._visitor[track_id] = (other.track_id, moment.time_ns)
            if seen.visible >= 0.8 and still.look(seen.sight, self.within * moment.height_px):
                yield from self._taken(track_id, still.waited_ns, seen.last_ns)
        for seen in moment.gone:
            gone = self._still.pop(seen.track_id, None)
            if gone is not None and not seen.sight.at_edge:
                yield from self._taken(seen.track_id, seen.last_ns - gone.since_ns, seen.last_ns)
            self._visitor.pop(seen.track_id, None)

    def _taken(self, track_id: int, stood_ns: int, time_ns: int) -> Iterator[Found]:
        visitor, met_ns = self._visitor.get(track_id, (None, 0))
        if visitor is not None and stood_ns >= to_ns(self.stood_s) and time_ns - met_ns <= 10**9:
            yield Found(
                time_ns=time_ns,
                track_id=track_id,
                other_track_id=visitor,
                data={"stood_ns": stood_ns},
            )
