"""What happens in a film, exactly: objects cross lines; enter, leave and dwell in zones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ZONE_BAND, _LINE_BAND = 0.1, 0.3
PointXY = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that happened to an object: what a rule should say of it."""

    rule: str
    object_id: int
    time_ns: int


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The zones (corners) and lines (two ends) drawn over a film, in px."""

    zones: dict[str, list[PointXY]]
    lines: dict[str, tuple[PointXY, PointXY]]
    dwell_s: float

    def rule_file(self) -> dict[str, Any]:
        """The rules: every line both ways; every zone entered, left and dwelt in."""
        rules: list[dict[str, Any]] = []
        for name in self.lines:
            for side in ("right", "left"):
                rules.append(
                    {"name": f"{name}-{side}", "kind": "line_cross", "line": name,
                     "direction": side}
                )  # fmt: skip
        for name in self.zones:
            rules.append({"name": f"{name}-enter", "kind": "zone_enter", "zone": name})
            rules.append({"name": f"{name}-leave", "kind": "zone_leave", "zone": name})
            dwell = {"name": f"{name}-dwell", "kind": "dwell", "zone": name}
            rules.append({**dwell, "for_s": self.dwell_s})
        return {
            "units": "px",
            "zones": {name: [list(p) for p in points] for name, points in self.zones.items()},
            "lines": {name: [list(p) for p in ends] for name, ends in self.lines.items()},
            "rules": rules,
        }


def draw_at_random(seed: int, hw: tuple[int, int]) -> Drawn:
    """Two lines from border to border, and two zones with four corners."""
    rng = np.random.default_rng([seed, 99])
    height, width = hw
    lines = {}
    for name, lean in (("upright", 0.05), ("slanting", 0.25)):
        x = rng.uniform(0.35, 0.65)
        top, bottom = x + rng.uniform(-lean, lean), x + rng.uniform(-lean, lean)
        lines[name] = (
            (round(float(top) * width, 1), 0.0),
            (round(float(bottom) * width, 1), float(height)),
        )
    zones = {}
    for name, (x0, x1) in (("west", (0.1, 0.42)), ("east", (0.58, 0.9))):
        jitter = rng.uniform(-0.06, 0.06, (4, 2))
        corners = np.array([[x0, 0.15], [x1, 0.15], [x1, 0.85], [x0, 0.85]]) + jitter
        zones[name] = [(round(x * width, 1), round(y * height, 1)) for x, y in corners.tolist()]
    return Drawn(zones=zones, lines=lines, dwell_s=1.0)


class Truth:
    """What happens in a film, from the whole outlines of its objects, covered or not.

    An object is in a zone, or beyond a line, when half of it is; that it was so for a moment only
    by swaying does not count (a tenth of it further for zones, three tenths for lines).
    """

    def __init__(self, drawn: Drawn, hw: tuple[int, int]) -> None:
        self.drawn = drawn
        y, x = np.mgrid[: hw[0], : hw[1]] + 0.5
        self._areas: dict[str, NDArray[np.bool_]] = {}
        for name, ((ax, ay), (bx, by)) in drawn.lines.items():
            self._areas[name] = (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
        for name, corners in drawn.zones.items():
            inside = np.zeros(hw, bool)
            for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
                # a ray to the left crosses the outline an odd number of times
                inside ^= ((ay > y) != (by > y)) & (
                    x > ax + (y - ay) * (bx - ax) / (by - ay if by != ay else 1)
                )
            self._areas[name] = inside
        self._shares: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
        self._last: dict[int, tuple[int, bool]] = {}
        self._shown: list[int] = []

    def add(self, time_ns: int, whole: dict[int, NDArray[np.bool_]]) -> None:
        """The next frame's whole outlines by object id."""
        self._shown.append(time_ns)
        for object_id, mask in whole.items():
            pixels = np.flatnonzero(mask)
            for name, area in self._areas.items():
                share = float(area.ravel()[pixels].mean())
                self._shares[name, object_id].append((time_ns, share))
            self._last[object_id] = (time_ns, False)

    def happenings(self, cut_ns: int) -> list[Happening]:
        """All that should be found, in the order of time."""
        ends = (max(t for t in self._shown if t < cut_ns), self._shown[-1])
        found = []
        for (name, object_id), shares in self._shares.items():
            if name in self.drawn.lines:
                for time_ns, right in _passings(shares, _LINE_BAND, None):
                    rule = f"{name}-{'right' if right else 'left'}"
                    found.append(Happening(rule=rule, object_id=object_id, time_ns=time_ns))
                continue
            changes = list(_passings(shares, _ZONE_BAND, False))
            last_ns = shares[-1][0]
            if changes and changes[-1][1] and last_ns not in ends:
                changes.append((last_ns, False))  # out of the picture, from inside
            for i, (time_ns, came) in enumerate(changes):
                rule = f"{name}-{'enter' if came else 'leave'}"
                found.append(Happening(rule=rule, object_id=object_id, time_ns=time_ns))
                due_ns = time_ns + round(self.drawn.dwell_s * 1e9)
                until_ns = changes[i + 1][0] if i + 1 < len(changes) else last_ns
                if came and due_ns <= until_ns:
                    found.append(
                        Happening(rule=f"{name}-dwell", object_id=object_id, time_ns=due_ns)
                    )
        return sorted(found, key=lambda h: (h.time_ns, h.rule, h.object_id))


def _passings(
    shares: Sequence[tuple[int, float]], band: float, start: bool | None
) -> Iterator[tuple[int, bool]]:
    """When a half was passed for good, and to which side: the last passing of the half between two
    moments that are clearly on different sides."""
    side, at = start, 0
    for j, (_, share) in enumerate(shares):
        if 0.5 - band < share < 0.5 + band:
            continue
        now = share > 0.5
        if side is not None and now != side:
            flips = [
                k for k in range(at + 1, j + 1)
                if (shares[k][1] >= 0.5) == now != (shares[k - 1][1] >= 0.5)
            ]  # fmt: skip
            yield shares[flips[-1] if flips else 0][0], now
        side, at = now, j
