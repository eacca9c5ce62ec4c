"""Crossing, entering, staying: once each, at the right time, through jitter and hiding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.operators.rulebook.scenes import FPS, disc, found, mark, scene, told, write_rules

CROSS = {"kind": "line_cross", "line": "mid"}
ENTER = {"kind": "zone_enter", "zone": "east"}
LEAVE = {"kind": "zone_leave", "zone": "east"}
FRAME_S = 1 / FPS


def test_a_line_is_crossed_when_half_of_the_mask_is_across(tmp_path: Path) -> None:
    path = write_rules(tmp_path, CROSS)
    ways = {1: lambda t: (60 + 50 * t, 100), 2: lambda t: (260 - 50 * t, 60)}
    events = found(path, scene(4, ways))
    assert [(e.track_id, e.data["direction"]) for e in events] == [(1, "left"), (2, "right")]
    for event in events:
        assert event.time_ns / 1e9 == pytest.approx(2.0, abs=1.01 * FRAME_S)
        # known when most of it was across
        assert event.time_ns < event.data["known_ns"] < event.time_ns + 10**9
    only = write_rules(tmp_path, {**CROSS, "direction": "right"})
    assert [e.track_id for e in found(only, scene(4, {1: lambda t: (60 + 50 * t, 100)}))] == []


def test_swaying_and_noise_on_a_line_count_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = write_rules(tmp_path, CROSS)
    noise = rng.normal(0, 1.5, (200, 2))

    def sways(t: float) -> tuple[float, float]:
        x = 60 + 40 * t if t < 2.5 else 160 + 5 * np.sin(9 * t) if t < 6 else 160 + 40 * (t - 6)
        dx, dy = noise[round(t * FPS)]
        return x + dx, 100 + dy

    events = found(path, scene(8, {1: sways}))
    assert [e.data["direction"] for e in events] == ["left"]


def test_there_and_back_counts_twice(tmp_path: Path) -> None:
    path = write_rules(tmp_path, CROSS)
    events = found(path, scene(8, {1: lambda t: (160 + 60 * np.sin(t - 1.6), 100)}))
    assert [e.data["direction"] for e in events] == ["left", "right"]
    assert len({e.id for e in events}) == 2


def test_around_the_end_of_a_line_is_no_crossing(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {**CROSS, "line": "short"})
    assert found(path, scene(4, {1: lambda t: (60 + 50 * t, 40)})) == []
    assert len(found(path, scene(4, {1: lambda t: (60 + 50 * t, 100)}))) == 1
    # around, and back over it: one crossing
    around = scene(8, {1: lambda t: (60 + 50 * t, 30) if t < 4 else (260 - 50 * (t - 4), 100)})
    assert [e.data["direction"] for e in found(path, around)] == ["right"]


def test_behind_a_post_on_the_line(tmp_path: Path) -> None:
    """Half hidden, then gone, then back on the other side: one crossing, at the time at which
    it happened behind the post."""
    path = write_rules(tmp_path, CROSS, LEAVE, ENTER)
    post = np.zeros((200, 320), bool)
    post[:, 140:230] = True
    events = found(path, scene(5, {1: lambda t: disc(40 + 50 * t, 100) & ~post}))
    assert [e.kind for e in events] == ["line_cross", "zone_enter"]
    assert events[0].time_ns / 1e9 == pytest.approx(2.4, abs=2 * FRAME_S)
    assert events[1].time_ns / 1e9 == pytest.approx(3.2, abs=2 * FRAME_S)


def test_too_fast_to_be_seen_on_the_line(tmp_path: Path) -> None:
    path = write_rules(tmp_path, CROSS)
    assert len(found(path, scene(1, {1: lambda t: (40 if t < 0.5 else 280, 100)}))) == 1


def test_zones_are_entered_and_left(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, LEAVE)
    items = scene(6, {1: lambda t: (100 + 50 * t if t < 3 else 250 - 50 * (t - 3), 100)})
    at = [pytest.approx(s, abs=1.01 * FRAME_S) for s in (2.0, 4.0)]
    assert told(path, items) == [("zone_enter", 1, at[0]), ("zone_leave", 1, at[1])]
    assert found(path, items)[0].data["first_seen"] is False
    first = found(path, scene(1, {1: lambda t: (250, 100)}))
    assert [(e.kind, e.time_ns, e.data["first_seen"]) for e in first] == [("zone_enter", 0, True)]


def test_swaying_on_the_border_of_a_zone_enters_once(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, LEAVE)
    assert [
        e.kind for e in found(path, scene(5, {1: lambda t: (203 + 4 * np.sin(9 * t), 100)}))
    ] == ["zone_enter"]


def test_a_share_that_has_to_be_inside(tmp_path: Path) -> None:
    touch = write_rules(tmp_path, {**ENTER, "share": 0.02})
    (early,) = found(touch, scene(4, {1: lambda t: (100 + 50 * t, 100)}))
    whole = write_rules(tmp_path, {**ENTER, "share": 1.0})
    (late,) = found(whole, scene(4, {1: lambda t: (100 + 50 * t, 100)}))
    assert early.time_ns / 1e9 == pytest.approx((85 - 100 + 100) / 50 + 0.04, abs=2 * FRAME_S)
    assert late.time_ns / 1e9 == pytest.approx(115 / 50, abs=2 * FRAME_S)


def test_the_mask_counts_and_not_the_bottom_of_its_box(tmp_path: Path) -> None:
    """A tall thing that leans over the border with its foot outside."""
    tall = np.zeros((200, 320), bool)
    for row in range(40, 170):
        tall[row, 290 - row : 310 - row] = True
    path = write_rules(tmp_path, ENTER, zones={"east": [[200, 0], [310, 0], [310, 95], [200, 95]]})
    bottom_middle = (140, 170)
    assert not tall[bottom_middle[1] - 1, 200:].any()
    inside = tall[:95, 200:310].sum() / tall.sum()
    assert 0.3 < inside < 0.5
    assert found(path, scene(1, {1: lambda t: tall})) == []
    lower = write_rules(tmp_path, {**ENTER, "share": 0.3}, zones={
        "east": [[200, 0], [310, 0], [310, 95], [200, 95]]
    })  # fmt: skip
    assert len(found(lower, scene(1, {1: lambda t: tall}))) == 1


def test_who_leaves_the_picture_leaves_the_zone(tmp_path: Path) -> None:
    path = write_rules(
        tmp_path, LEAVE, zones={"east": [[200, 0], [320, 0], [320, 200], [200, 200]]}
    )
    way = {1: lambda t: (220 + 60 * t, 100)}
    (event,) = found(path, [*scene(4, way), mark("track_end", 3.5, 1)])
    assert event.data["gone"]
    assert event.time_ns / 1e9 == pytest.approx((335 - 220) / 60, abs=2 * FRAME_S)
    assert found(path, scene(4, way)) != []  # the end of the stream settles it
    assert found(path, scene(1, way)) == []  # still there when the stream ends
    hidden = {1: lambda t: (250, 100) if t < 2 else None}
    assert found(path, scene(4, hidden)) == []  # behind something, as far as one can know
    assert len(found(path, scene(8, hidden))) == 1  # unseen for so long that it is gone


def test_dwelling(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "dwell", "zone": "east", "for_s": 2})
    stays = {1: lambda t: (100 + 100 * t if t < 1.5 else 250, 100)}
    assert told(path, scene(6, stays)) == [("dwell", 1, 3.0)]
    assert found(path, scene(2.8, stays)) == []
    passes = {1: lambda t: (100 + 100 * t, 100)}
    assert found(path, scene(4, passes)) == []
    covered = {1: lambda t: None if 2 < t < 2.6 else (250, 100)}
    assert told(path, scene(4, covered)) == [("dwell", 1, 2.0)]


def test_dwelling_until_the_very_moment_it_is_due(tmp_path: Path) -> None:
    """It is half out in the frame in which it is due, and was inside for that long."""
    path = write_rules(tmp_path, {"kind": "dwell", "zone": "east", "for_s": 1}, LEAVE)
    assert told(path, scene(4, {1: lambda t: (100 + 99 * t, 100)})) == [
        ("dwell", 1, 2.04), ("zone_leave", 1, 2.04),
    ]  # fmt: skip
    assert [kind for kind, *_ in told(path, scene(4, {1: lambda t: (95 + 105 * t, 100)}))] == [
        "zone_leave"
    ]


def test_loitering_forgives_a_step_outside(tmp_path: Path) -> None:
    def steps_out(t: float) -> tuple[float, float]:
        return (150, 100) if 1.0 <= t < 1.6 else (250, 100)

    strict = write_rules(tmp_path, {"kind": "dwell", "zone": "east", "for_s": 2})
    assert told(strict, scene(4, {1: steps_out})) == [("dwell", 1, pytest.approx(3.6, abs=0.08))]
    kind = write_rules(tmp_path, {"kind": "dwell", "zone": "east", "for_s": 2, "gap_s": 1})
    assert told(kind, scene(4, {1: steps_out})) == [("dwell", 1, 2.0)]


def test_how_many_and_how_full(tmp_path: Path) -> None:
    ways = {
        i: (lambda t, i=i: (250 if t > i and not (i == 3 and t > 4) else 60, 20 + 45 * i))
        for i in (1, 2, 3)
    }
    path = write_rules(tmp_path, {"kind": "count", "zone": "east", "at_least": 3})
    (event,) = found(path, scene(6, ways))
    assert event.time_ns / 1e9 == pytest.approx(3.04, abs=2 * FRAME_S)
    assert (event.track_id, event.data["track_ids"]) == (None, [1, 2, 3])
    full = write_rules(tmp_path, {"kind": "density", "zone": "east", "at_least": 0.08})
    (event,) = found(full, scene(6, ways))
    assert event.time_ns / 1e9 == pytest.approx(2.04, abs=2 * FRAME_S)
    area = 2 * np.pi * 15**2 / (100 * 160)
    assert event.data["share"] == pytest.approx(area, rel=0.05)


def test_a_cut_ends_everything_quietly(tmp_path: Path) -> None:
    path = write_rules(tmp_path, ENTER, LEAVE, CROSS)
    shots = scene(
        4, {1: lambda t: (250, 100) if t < 2 else None, 2: lambda t: None if t < 2 else (60, 100)}
    )
    events = found(path, [*shots, mark("track_end", 2.0, 1), mark("cut", 2.0)])
    assert [(e.kind, e.track_id) for e in events] == [("zone_enter", 1)]


def test_two_rules_that_find_the_same_have_two_ids(tmp_path: Path) -> None:
    events = found(write_rules(tmp_path, ENTER, ENTER), scene(1, {1: lambda t: (250, 100)}))
    assert len(events) == len({e.id for e in events}) == 2
