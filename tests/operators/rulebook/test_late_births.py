"""A tracker shows a track a while after it was there first: nothing of that is lost or shifted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from operators.rules import replay
from streamer.records import Event, TrackedFrame
from tests.operators.rulebook.scenes import (
    Way,
    found,
    mark,
    scene,
    write_rules,
)

ENTER = {"kind": "zone_enter", "zone": "east"}
LEAVE = {"kind": "zone_leave", "zone": "east"}
CROSS = {"kind": "line_cross", "line": "mid"}
DWELL = {"kind": "dwell", "zone": "east", "for_s": 1.0}


def shown_late(way: Way, first_s: float, shown_s: float, seconds: float = 4.0) -> list[object]:
    """A track that is there from `first_s` and shown from `shown_s` on."""
    items: list[object] = list(
        scene(seconds, {1: lambda t: way(t) if t >= shown_s - 1e-9 else None})
    )
    start = replace(mark("track_start", shown_s, 1), data={"start_ns": round(first_s * 1e9)})
    return [*items, start]


def times(path: str, items: list[object]) -> list[tuple[str, float]]:
    return [(e.kind, e.time_ns / 1e9) for e in found(path, items)]  # type: ignore[arg-type]


def test_what_was_inside_from_the_beginning_is_told_from_then(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, DWELL)
    events = found(path, shown_late(lambda _: (250, 100), 0.4, 0.64))  # type: ignore[arg-type]
    assert [(e.kind, e.time_ns / 1e9) for e in events] == [("zone_enter", 0.4), ("dwell", 1.4)]
    assert events[0].data["first_seen"] is True
    # known when it is clear how it moves
    assert events[0].data["known_ns"] == pytest.approx(0.84e9, abs=1e7)


@pytest.mark.parametrize(("x", "speed"), [(140, 200), (130, 250)])
def test_what_came_in_before_it_was_shown_came_in_when_it_did(
    tmp_path: Path, x: float, speed: float
) -> None:
    path = write_rules(tmp_path, ENTER, CROSS)
    told = times(path, shown_late(lambda t: (min(280.0, x + speed * t), 100), 0.0, 0.36))
    assert [kind for kind, _ in sorted(told, key=lambda k: k[1])] == ["line_cross", "zone_enter"]
    for kind, at_s in told:
        wanted_s = ((160 if kind == "line_cross" else 200) - x) / speed
        assert at_s == pytest.approx(wanted_s, abs=0.08)


def test_it_left_again_while_its_way_was_not_known_yet(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, LEAVE)
    told = times(path, shown_late(lambda t: (270 + 100 * t, 100), 0.0, 0.2, seconds=0.8))
    assert [kind for kind, _ in told] == ["zone_enter", "zone_leave"]
    assert told[1][1] == pytest.approx(0.3, abs=0.08)


def test_a_track_of_a_few_frames_is_no_visit(tmp_path: Path) -> None:
    items = shown_late(lambda t: (250, 100) if t < 0.5 else None, 0.2, 0.4)
    assert times(write_rules(tmp_path, ENTER, LEAVE), items) == []


def test_it_is_the_same_on_stored_tracks(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, CROSS, DWELL)
    items = shown_late(lambda t: (140 + 200 * t if t < 0.6 else 260, 100), 0.0, 0.36)
    frames = [i for i in items if isinstance(i, TrackedFrame)]
    marks = [i for i in items if isinstance(i, Event)]
    assert replay(path, frames, marks) == found(path, items)  # type: ignore[arg-type]
    assert len(replay(path, frames, marks)) == 3
