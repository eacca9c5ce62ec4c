"""The rule about lines: crossed by the mask, not by a corner of its box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import shapely

from operators.rulebook.rule import Found, Rule
from operators.rulebook.seen import Level, Moment, Seen, Sight
from operators.rulebook.shapes import PictureLine
from operators.rulebook.zone_rules import passed_ns

_ACROSS = 0.8  # of a mask has to be on the other side


@dataclass(eq=False)
class _Way:
    """A track beside a line: on which side, and whether it touched it since it was wholly there."""

    level: Level
    last: Sight
    touched: bool = False


@dataclass(kw_only=True, eq=False)
class Cross(Rule):
    """A track crosses a line: most of its mask was on one side and is on the other. Swaying on
    the line, hiding on it, and going around its ends are no crossings.

    Args:
        line: its name.
        direction: to the side that is crossed to: "right" or "left" of who walks along the line
            from its first point, or "both".
    """

    kind: ClassVar[str] = "line_cross"

    line: str
    direction: Literal["right", "left", "both"] = "both"
    _ways: dict[int, _Way] = field(default_factory=dict, init=False)

    def look(self, moment: Moment) -> Iterator[Found]:
        line = moment.lines[self.line]
        for seen in moment.gone:
            self._ways.pop(seen.track_id, None)
        for seen in moment.seen.values():
            for sight in () if seen.hidden else seen.fresh:
                if (found := self._step(line, seen, sight)) is not None:
                    yield found

    def _step(self, line: PictureLine, seen: Seen, sight: Sight) -> Found | None:
        share = line.share_right(sight.mask)
        way = self._ways.get(seen.track_id)
        if way is None:
            way = self._ways[seen.track_id] = _Way(Level(0.5, _ACROSS - 0.5), sight)
        before, way.last = way.last, sight
        way.touched |= line.touches(sight.mask)
        exact_ns = None
        if (
            not way.touched or before.time_ns < sight.before_ns
        ):  # too fast, or hidden, to be seen on it
            path = shapely.LineString([before.centre_px, sight.centre_px])
            exact_ns = passed_ns(path, line.path, before.time_ns, sight.time_ns)
            way.touched |= exact_ns is not None
        was = way.level.above
        changed = way.level.look(share, sight.time_ns, exact_ns)
        touched = way.touched
        if share in (0.0, 1.0):
            way.touched = False
        if not changed or was is None or not touched:
            return None
        direction = "right" if way.level.above else "left"
        if self.direction not in (direction, "both"):
            return None
        data = {"line": self.line, "direction": direction}
        return Found(time_ns=way.level.since_ns, track_id=seen.track_id, data=data)
