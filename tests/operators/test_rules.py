"""The two operators: the contract, words, schedules, and stored records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from operators.rules import Rules, WordRules, replay
from streamer.errors import ConfigError
from streamer.records import Caption, Event, Record, TrackedFrame
from streamer.testing import check_operator
from tests.operators.rulebook.scenes import (
    by_order,
    disc,
    found,
    mark,
    said,
    scene,
    told,
    write_rules,
)

ENTER = {"kind": "zone_enter", "zone": "east"}
ALL = [
    ENTER,
    {"kind": "zone_leave", "zone": "east"},
    {"kind": "dwell", "zone": "east", "for_s": 0.3},
    {"kind": "count", "zone": "east", "at_least": 1},
    {"kind": "density", "zone": "east", "at_least": 0.02},
    {"kind": "line_cross", "line": "mid"},
    {"kind": "stop", "for_s": 0.4},
    {"kind": "speed", "above": 0.2, "over_s": 0.2},
    {"kind": "occluded"},
    {"kind": "appear"},
    {"kind": "disappear"},
    {"kind": "contact"},
    {"kind": "left_behind", "for_s": 0.3, "away": 0.1},
    {"kind": "taken_away", "stood_s": 0.3},
]
WORDS = [
    {**rule, "of": {"colour": "red"}}
    for rule in ALL
    if rule["kind"] in ("zone_enter", "count", "appear", "contact")
]
WORDS += [{"kind": "look_change"}, {"kind": "contact", "other": {"category": "dog"}}]


def busy() -> list[Record]:
    """Two seconds in which a lot happens, with words."""
    post = disc(230, 100, 22)
    ways = {
        1: lambda t: disc(120 + 110 * t, 100) & ~post if t < 1.5 else None,
        2: lambda t: (150 + 60 * min(t, 0.6), 60),
        3: lambda t: disc(190 - 60 * max(0, t - 1), 76, 5) & ~disc(150 + 60 * min(t, 0.6), 60),
        4: lambda t: (170, 90) if 0.5 < t < 1.0 else None,
    }
    words = [
        said(1, 0.4, "a red car"),
        said(2, 0.4, "a dog"),
        said(3, 0.9, "a small red ball"),
        said(1, 1.2, "a black car"),
        said(4, 1.0, "a red cup"),
    ]
    marks = [mark("track_end", 1.2, 4), mark("cut", 1.8), mark("track_end", 1.96, 2)]
    return by_order([*scene(2, ways), *marks, *words])


def without_words(items: list[Record]) -> list[Record]:
    return [item for item in items if not isinstance(item, Caption)]


def test_both_keep_the_contract_of_operators(tmp_path: Path) -> None:
    path = write_rules(tmp_path, *ALL, *WORDS)
    events = check_operator(lambda: Rules(path), without_words(busy()))
    kinds = {e.kind for e in events if isinstance(e, Event)}
    assert {"zone_enter", "dwell", "line_cross", "appear", "contact", "speed"} <= kinds
    worded = check_operator(lambda: WordRules(path), busy())
    assert "look_change" in {e.kind for e in worded if isinstance(e, Event)}
    assert {e.data["rule"] for e in events}.isdisjoint({e.data["rule"] for e in worded})
    assert len({e.id for e in [*events, *worded]}) == len(events) + len(worded)
    for event in worded:
        assert event.order_ns >= event.time_ns


def test_words_are_data_and_are_waited_for(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {**ENTER, "of": {"category": "car", "colour": "red"}})
    items = scene(2, {i: (lambda t, i=i: (120 + 100 * t, 20 + 30 * i)) for i in range(1, 6)})
    captions = [
        said(1, 1.4, "a red car"),
        said(2, 0.2, "a red car park"),
        said(3, 0.2, "a blue car beside a red car"),
        said(4, 0.2, "a small red car with a black roof"),
    ]
    events = found(path, [*items, *captions], words=True)
    assert [(e.track_id, "known_ns" in e.data) for e in events] == [(4, True), (1, True)]
    early, late = events
    assert early.time_ns == late.time_ns
    assert early.data["known_ns"] < 1.2e9 < 1.4e9 < late.data["known_ns"] <= 1.44e9
    assert found(path, [*items, *captions]) == []  # not a rule for Rules


def test_how_sure_words_have_to_be(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {**ENTER, "of": {"category": "car", "sure": 0.8}})
    items = scene(1, {1: lambda t: (250, 60), 2: lambda t: (250, 140)})
    captions = [said(1, 0.4, "a car", np.log(0.81)), said(2, 0.4, "a car", np.log(0.79))]
    assert [e.track_id for e in found(path, [*items, *captions], words=True)] == [1]


def test_words_about_both_of_a_pair(tmp_path: Path) -> None:
    path = write_rules(
        tmp_path, {"kind": "contact", "of": {"category": "person"}, "other": {"category": "dog"}}
    )
    items = scene(1, {1: lambda t: (100, 100), 2: lambda t: (130, 100), 3: lambda t: (100, 130)})
    captions = [said(1, 0.2, "a man"), said(2, 0.4, "a brown dog"), said(3, 0.4, "a cat")]
    (event,) = found(path, [*items, *captions], words=True)
    assert (event.track_id, event.data["other_track_id"]) == (1, 2)


def test_only_tracks_whose_words_fit_are_counted(tmp_path: Path) -> None:
    rule = {"kind": "count", "zone": "east", "at_least": 2, "of": {"category": "car"}}
    path = write_rules(tmp_path, rule)
    items = scene(2, {i: (lambda t, i=i: (250, 40 * i)) for i in (1, 2, 3)})
    two = [said(1, 0.2, "a red car"), said(2, 0.2, "a bus"), said(3, 1.0, "a blue car")]
    (event,) = found(path, [*items, *two], words=True)
    assert event.data["track_ids"] == [1, 3]
    assert event.time_ns > 1e9
    assert found(path, [*items, *two[:2]], words=True) == []


def test_a_changed_look(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "look_change"})
    captions = [said(1, 0.2, "a red car"), said(1, 0.8, "a small red car"), said(1, 1.4, "a bus")]
    items = scene(2, {1: lambda t: (100, 100)})
    (event,) = found(path, [*items, *captions], words=True)
    assert (event.time_ns, event.data["category"]) == (1_400_000_000, ["car", "bus"])
    assert "colour" not in event.data  # nothing was said of it


def test_schedules_by_media_time_and_stream(tmp_path: Path) -> None:
    schedules = {"later": [{"streams": "te*", "media_from_s": 1, "media_to_s": 2}]}
    items = scene(3, {1: lambda t: (250 if t < 1.5 else 60, 60), 2: lambda t: (40 + 80 * t, 140)})
    path = write_rules(tmp_path, {**ENTER, "schedule": "later"}, schedules=schedules)
    # who is inside when the schedule begins is seen then for the first time
    assert told(path, items) == [("zone_enter", 1, 1.0)]
    other = write_rules(tmp_path, {**ENTER, "streams": ["gate", "door-*"]})
    assert found(other, items) == []


def test_schedules_by_the_hours_of_the_day(tmp_path: Path) -> None:
    night = {"night": [{"days": ["fri"], "from": "22:00", "to": "06:00"}]}
    items = scene(1, {1: lambda t: (250, 60)})

    def found_at(clock: str) -> int:
        clocks = {"test": clock}
        path = write_rules(tmp_path, {**ENTER, "schedule": "night"}, schedules=night, clocks=clocks)
        return len(found(path, items))

    assert found_at("2026-11-27T22:30:00+01:00") == 1  # a Friday
    assert found_at("2026-11-28T05:30:00+01:00") == 1  # the night that began on Friday
    assert found_at("2026-11-28T22:30:00+01:00") == 0
    assert found_at("2026-11-27T12:00:00+01:00") == 0
    no_clock = write_rules(
        tmp_path, {**ENTER, "schedule": "night"}, schedules=night, clocks={"gate": "2026-11-27"}
    )
    with pytest.raises(ConfigError, match="does not say when stream 'test' begins"):
        found(no_clock, items)


def test_stored_records_give_what_a_run_gave(tmp_path: Path) -> None:
    path = write_rules(tmp_path, *ALL, *WORDS)
    items = busy()
    tracks = [item for item in items if isinstance(item, TrackedFrame)]
    others = [item for item in items if isinstance(item, (Caption, Event))]
    live = [*found(path, without_words(items)), *found(path, items, words=True)]
    again = replay(path, tracks, [*reversed(others), *live])
    assert len(again) > 15
    assert sorted(e.id for e in again) == sorted(e.id for e in live)
    assert [e.order_ns for e in again] == sorted(e.order_ns for e in again)


def test_a_zone_outside_the_picture_is_named_at_the_first_region(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, zones={"east": [[200, 20], [400, 20], [400, 180]]})
    with pytest.raises(ConfigError, match=r"zone 'east': the point \[400, 20\] lies outside"):
        found(path, scene(1, {1: lambda t: (100, 100)}))
