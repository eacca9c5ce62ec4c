"""Ways along a large picture: where the window stands when, from distance and speed.

A walk is a row of stops, each a window of the canvas; between stops the window glides. It speeds
up and slows down wherever it rests: at pauses, at the ends of rows, between zoom levels.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from streamer.clock import NS_PER_S
from streamer.geometry import Viewport
from streamer.sources.path_cells import read_waypoints, window_cells

KINDS = (
    "auto", "right_to_left", "left_to_right", "down", "up", "rows", "spiral", "waypoints",
)  # fmt: skip
_RETURNS_FASTER = 8.0
_EASE_S = 1.0
_CROSSING_S = 8.0
_LONG = 3.0  # as many times as long as wide: walked along its length

RectXYWH = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A window that is looked at: its level (0 the first), zoom (screen pixels per canvas pixel),
    box in canvas pixels (left, top, width, height), when the window stands there and for how
    long it rests."""

    index: int
    level: int
    zoom: float
    box_xywh: tuple[int, int, int, int]
    time_ns: int = 0
    pause_ns: int = 0
    turns: bool = False
    returns: bool = False

    @property
    def frame_hw(self) -> tuple[int, int]:
        """Size of the window's picture; nothing is enlarged."""
        share = min(1.0, self.zoom)
        _, _, width, height = self.box_xywh
        return max(1, round(height * share)), max(1, round(width * share))

    def viewport(self, canvas_hw: tuple[int, int]) -> Viewport:
        """The window as frames carry it."""
        x, y, width, height = self.box_xywh
        return Viewport(
            x_px=x, y_px=y, width_px=width, height_px=height,
            canvas_width_px=canvas_hw[1], canvas_height_px=canvas_hw[0],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Walk:
    """All stops with their times. `speed_px_s` is in canvas pixels of the first level a second."""

    canvas_hw: tuple[int, int]
    kind: str
    speed_px_s: float
    stops: tuple[Stop, ...]
    opening_ns: int
    duration_ns: int

    def rect_at(self, time_ns: int) -> RectXYWH:
        """The window at a media time, in canvas pixels (left, top, width, height)."""
        i = max(0, bisect_right(self._times, time_ns) - 1)
        leg = bisect_right(self._leg_firsts, i) - 1
        first, last = self._legs[leg]
        path = self._distances[first : last + 1] - self._distances[first]
        if time_ns <= self.stops[first].time_ns + self.stops[first].pause_ns or first == last:
            return _rect(self.stops[first])
        begin_ns = self.stops[first].time_ns + self.stops[first].pause_ns
        speed = self._speed(first, last)
        at = _eased((time_ns - begin_ns) / NS_PER_S, float(path[-1]), speed)
        k = min(len(path) - 2, int(np.searchsorted(path, at, side="right")) - 1)
        length = path[k + 1] - path[k]
        share = min(1.0, max(0.0, (at - path[k]) / length)) if length else 1.0
        a, b = _rect(self.stops[first + k]), _rect(self.stops[first + k + 1])
        x, y, width, height = (p + (q - p) * share for p, q in zip(a, b, strict=True))
        return x, y, width, height

    @cached_property
    def _times(self) -> list[int]:
        return [stop.time_ns for stop in self.stops]

    @cached_property
    def _distances(self) -> np.ndarray[Any, Any]:
        return _path_lengths(self.stops)

    @cached_property
    def _legs(self) -> list[tuple[int, int]]:
        return _legs(self.stops)

    @cached_property
    def _leg_firsts(self) -> list[int]:
        return [first for first, _ in self._legs]

    def _speed(self, first: int, last: int) -> float:
        return _leg_speed(self.stops, first, last, self.speed_px_s)


def plan_walk(
    canvas_hw: tuple[int, int],
    *,
    window_hw: tuple[int, int],
    kind: str = "auto",
    overlap: float = 0.5,
    speed_px_s: float = 0.0,
    zooms: Sequence[float] = (),
    opening_s: float = 0.0,
    waypoints: str = "",
) -> Walk:
    """Plan a walk over a picture.

    Args:
        canvas_hw: (height, width) of the picture.
        window_hw: (height, width) of the screen.
        kind: one of KINDS; `auto` walks long pictures along their length (wide ones from right to
            left, as handscrolls are read) and others in rows.
        overlap: share of a window that the next one shows again, 0..0.9.
        speed_px_s: canvas pixels a second; 0: a window's length in eight seconds.
        zooms: screen pixels per canvas pixel, a level each, walked one after the other; none: one
            that shows the short side whole (half of it where the picture is walked in rows), and
            1 after it when that is less than half.
        opening_s: seconds before the first stop, in which a film shows the whole picture.
        waypoints: the file of a `waypoints` walk.

    Raises:
        InputError: when waypoints cannot be read or leave the picture.
    """
    if kind == "auto":
        kind = "waypoints" if waypoints else _kind_of(canvas_hw)
    levels = list(zooms) or _zooms_of(canvas_hw, window_hw, kind)
    stops: list[Stop] = []
    if kind == "waypoints":
        stops = _waypoint_stops(Path(waypoints), canvas_hw, window_hw, overlap, levels[0])
    else:
        for level, zoom in enumerate(levels):
            size_hw = _size_hw(canvas_hw, window_hw, zoom)
            for k, (x, y, returns) in enumerate(window_cells(canvas_hw, size_hw, kind, overlap)):
                box = (x, y, size_hw[1], size_hw[0])
                new_level = level > 0 and k == 0
                stops.append(
                    Stop(
                        index=len(stops), level=level, zoom=zoom, box_xywh=box,
                        turns=returns, returns=returns or new_level,
                    )
                )  # fmt: skip
    if not speed_px_s:
        _, _, width, height = stops[0].box_xywh
        speed_px_s = (height if kind in ("down", "up") else width) / _CROSSING_S
    walk = Walk(
        canvas_hw=canvas_hw, kind=kind, speed_px_s=speed_px_s, stops=tuple(stops),
        opening_ns=round(opening_s * NS_PER_S), duration_ns=0,
    )  # fmt: skip
    return timed(walk)


def timed(walk: Walk) -> Walk:
    """The walk with the times that follow from its stops, pauses and speed."""
    stops = list(walk.stops)
    lengths = _path_lengths(stops)
    now_s = walk.opening_ns / NS_PER_S
    stops[0] = replace(stops[0], time_ns=walk.opening_ns)
    for first, last in _legs(stops):
        now_s += stops[first].pause_ns / NS_PER_S
        speed = _leg_speed(stops, first, last, walk.speed_px_s)
        total = float(lengths[last] - lengths[first])
        for i in range(first + 1, last + 1):
            at_s = now_s + _time_at(float(lengths[i] - lengths[first]), total, speed)
            after = stops[i - 1].time_ns + 1_000_000  # times strictly increase
            stops[i] = replace(stops[i], time_ns=max(after, round(at_s * NS_PER_S)))
        now_s = stops[last].time_ns / NS_PER_S
    rest_ns = max(NS_PER_S, stops[-1].pause_ns)
    stops[-1] = replace(stops[-1], pause_ns=rest_ns)
    return replace(walk, stops=tuple(stops), duration_ns=stops[-1].time_ns + rest_ns)


def with_pauses(walk: Walk, busy: Sequence[float], pause_s: float) -> Walk:
    """The walk with a rest at every stop that is much busier than most, in every window's length
    at most one.

    Args:
        busy: how much there is to see at each stop, in any unit.
    """
    if not pause_s or len(walk.stops) < 3:
        return walk
    limit = 1.12 * float(np.median(busy))
    stops = list(walk.stops)
    lengths = _path_lengths(stops)
    rested = -math.inf
    for i, stop in enumerate(stops):
        around = busy[max(0, i - 1) : i + 2]
        if busy[i] > limit and busy[i] == max(around) and lengths[i] - rested > stop.box_xywh[2]:
            stops[i] = replace(stop, pause_ns=round(pause_s * NS_PER_S))
            rested = float(lengths[i])
    return timed(replace(walk, stops=tuple(stops)))


def resting_until(walk: Walk, time_ns: int) -> Walk:
    """The walk with as long a rest at its end as it takes to reach a time."""
    longer_ns = time_ns - walk.duration_ns
    if longer_ns <= 0:
        return walk
    last = replace(walk.stops[-1], pause_ns=walk.stops[-1].pause_ns + longer_ns)
    return replace(walk, stops=(*walk.stops[:-1], last), duration_ns=time_ns)


def _kind_of(canvas_hw: tuple[int, int]) -> str:
    height, width = canvas_hw
    if width >= _LONG * height:
        return "right_to_left"
    return "down" if height >= _LONG * width else "rows"


def _zooms_of(canvas_hw: tuple[int, int], window_hw: tuple[int, int], kind: str) -> list[float]:
    by_height, by_width = window_hw[0] / canvas_hw[0], window_hw[1] / canvas_hw[1]
    wide = canvas_hw[1] >= _LONG * canvas_hw[0]
    tall = canvas_hw[0] >= _LONG * canvas_hw[1]
    scene = by_height if wide else by_width if tall else 2 * max(by_height, by_width)
    # small pictures are enlarged four times at most
    scene = min(4.0, scene)
    return [scene, 1.0] if scene < 0.5 and kind != "waypoints" else [scene]


def _size_hw(
    canvas_hw: tuple[int, int], window_hw: tuple[int, int], zoom: float
) -> tuple[int, int]:
    return (
        max(1, min(canvas_hw[0], round(window_hw[0] / zoom))),
        max(1, min(canvas_hw[1], round(window_hw[1] / zoom))),
    )


def _waypoint_stops(
    file: Path,
    canvas_hw: tuple[int, int],
    window_hw: tuple[int, int],
    overlap: float,
    usual_zoom: float,
) -> list[Stop]:
    points = read_waypoints(file, canvas_hw, usual_zoom)
    stops: list[Stop] = []
    for n, (x, y, zoom, pause_s) in enumerate(points):
        height, width = _size_hw(canvas_hw, window_hw, zoom)
        left = round(min(max(0.0, x - width / 2), canvas_hw[1] - width))
        top = round(min(max(0.0, y - height / 2), canvas_hw[0] - height))
        if n:
            x0, y0, w0, h0 = stops[-1].box_xywh
            far = max(abs(left - x0) / w0, abs(top - y0) / h0)
            parts = max(1, math.ceil(far / max(0.1, 1 - overlap)))
            for k in range(1, parts):  # what lies between two waypoints is looked at too
                mid = (x0 + (left - x0) * k // parts, y0 + (top - y0) * k // parts)
                box = (min(mid[0], canvas_hw[1] - w0), min(mid[1], canvas_hw[0] - h0), w0, h0)
                stops.append(Stop(index=len(stops), level=0, zoom=points[n - 1][2], box_xywh=box))
        stops.append(
            Stop(
                index=len(stops), level=0, zoom=zoom, box_xywh=(left, top, width, height),
                pause_ns=round(pause_s * NS_PER_S), turns=True,
            )
        )  # fmt: skip
    return stops


def _rect(stop: Stop) -> RectXYWH:
    x, y, width, height = stop.box_xywh
    return float(x), float(y), float(width), float(height)


def _path_lengths(stops: Sequence[Stop]) -> np.ndarray[Any, Any]:
    """How far the window's centre has come at every stop; zooming counts as the way of the
    window's edge."""
    boxes = np.array([stop.box_xywh for stop in stops], np.float64)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    steps += np.abs(np.diff(boxes[:, 2])) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])


def _legs(stops: Sequence[Stop]) -> list[tuple[int, int]]:
    """First and last stop of every stretch from rest to rest."""
    rests = [0]
    for i in range(1, len(stops)):
        if stops[i].returns and rests[-1] != i - 1:
            rests.append(i - 1)
        if stops[i].returns or stops[i].pause_ns or stops[i].turns or i == len(stops) - 1:
            rests.append(i)
    return list(itertools.pairwise(rests)) or [(0, 0)]


def _leg_speed(stops: Sequence[Stop], first: int, last: int, speed_px_s: float) -> float:
    """Finer levels are walked as fast on the screen as the first; returns go faster."""
    speed = speed_px_s * stops[last].box_xywh[2] / stops[0].box_xywh[2]
    return speed * _RETURNS_FASTER if last > first and stops[last].returns else speed


def _ease_s(total_px: float, speed_px_s: float) -> float:
    return min(_EASE_S, total_px / speed_px_s)


def _eased(time_s: float, total_px: float, speed_px_s: float) -> float:
    """Way after a time that starts and ends at rest: even acceleration, cruise, even braking."""
    ease = _ease_s(total_px, speed_px_s)
    if not ease:
        return total_px
    end_s = total_px / speed_px_s + ease
    time_s = min(max(0.0, time_s), end_s)
    if time_s < ease:
        return speed_px_s * time_s**2 / (2 * ease)
    if time_s > end_s - ease:
        return total_px - speed_px_s * (end_s - time_s) ** 2 / (2 * ease)
    return speed_px_s * (time_s - ease / 2)


def _time_at(way_px: float, total_px: float, speed_px_s: float) -> float:
    """The inverse of `_eased`."""
    ease = _ease_s(total_px, speed_px_s)
    ramp = speed_px_s * ease / 2
    if way_px < ramp:
        return math.sqrt(2 * ease * way_px / speed_px_s)
    if total_px - way_px < ramp:
        back = math.sqrt(2 * ease * max(0.0, total_px - way_px) / speed_px_s)
        return total_px / speed_px_s + ease - back
    return way_px / speed_px_s + ease / 2
