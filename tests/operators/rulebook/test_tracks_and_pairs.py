"""Rules about single tracks and pairs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.operators.rulebook.scenes import FPS, disc, found, mark, scene, told, write_rules

FRAME_S = 1 / FPS


def test_stopping(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "stop", "for_s": 2, "within": 0.02})
    (event,) = found(
        path, scene(6, {1: lambda t: (60 + 60 * min(t, 2), 100), 2: lambda t: (280, 50)})
    )
    assert event.track_id == 1  # the other one never moved
    assert event.time_ns / 1e9 == pytest.approx(4.0, abs=0.12)
    again = scene(
        12, {1: lambda t: (60 + 40 * min(t, 2) + 40 * max(0, t - 5) * (t < 6) + 40 * (t >= 6), 100)}
    )
    assert [e.kind for e in found(path, again)] == ["stop", "stop"]
    # somebody who walks past in front makes it no other stand
    post = disc(180, 100, 12)
    passed = scene(
        6,
        {
            1: lambda t: (
                disc(60 + 60 * min(t, 2), 100) & ~(post if 2.6 < t < 3 else ~np.ones_like(post))
            )
        },
    )
    assert len(found(path, passed)) == 1
    elsewhere = write_rules(tmp_path, {"kind": "stop", "for_s": 2, "zone": "east"})
    assert found(elsewhere, scene(6, {1: lambda t: (60 + 30 * min(t, 2), 100)})) == []


def test_speed(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "speed", "above": 0.4})  # 80 px a second
    ways = {1: lambda t: (40 + 60 * t, 60), 2: lambda t: (40 + 100 * t, 140)}
    (event,) = found(path, scene(2.4, ways))
    assert event.track_id == 2
    assert event.data["speed"] == pytest.approx(0.5, rel=0.03)


def test_hidden_inside_the_picture(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "occluded", "below": 0.5})
    post = np.zeros((200, 320), bool)
    post[:, 140:180] = True
    behind = scene(6, {1: lambda t: disc(80 + 25 * t, 100) & ~post, 2: lambda t: (20 - 20 * t, 40)})
    assert [(e.kind, e.track_id) for e in found(path, behind)] == [("occluded", 1)]
    (event,) = found(path, behind)
    assert event.time_ns / 1e9 == pytest.approx(2.4, abs=0.2)  # its middle reaches the post


def test_coming_and_going(tmp_path: Path) -> None:
    path = write_rules(
        tmp_path, {"kind": "appear"}, {"kind": "disappear"}, {"kind": "appear", "zone": "east"}
    )
    ways = {
        1: lambda t: (250, 100) if 1 <= t < 3 else None,
        2: lambda t: (60, 100) if t >= 0.5 else None,
        3: lambda t: (60, 40) if 0.96 < t < 1.03 else None,  # a flicker
    }
    assert told(path, [*scene(5, ways), mark("track_end", 4.0, 1), mark("track_end", 2.0, 3)]) == [
        ("appear", 2, 0.52),
        ("appear", 1, 1.0),
        ("appear", 1, 1.0),
        ("disappear", 1, 2.96),
    ]


def test_contact(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "contact"})
    ways = {1: lambda t: (100, 100), 2: lambda t: (100 + 80 * abs(np.cos(t * np.pi / 4)), 100)}
    (event,) = found(path, scene(4, ways))
    assert (event.track_id, event.data["other_track_id"]) == (1, 2)
    touch_s = np.arccos(31 / 80) * 4 / np.pi
    assert event.time_ns / 1e9 == pytest.approx(touch_s, abs=3 * FRAME_S)
    # boxes that overlap are no contact
    corner = {1: lambda t: (100, 100), 2: lambda t: (124, 124)}
    assert found(path, scene(1, corner)) == []
    assert len(found(path, scene(9, ways))) == 2  # apart in between


def test_left_behind(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "left_behind", "for_s": 2})

    def person(t: float) -> tuple[float, float]:
        return (60 + 40 * min(t, 2) + 60 * max(0.0, t - 3), 100)

    bag = {1: person, 2: lambda t: disc(140, 118, 6) & ~disc(*person(t)) if t > 2 else None}
    events = found(path, scene(8, bag))
    assert [(e.track_id, e.data["other_track_id"]) for e in events] == [(2, 1)]
    away_s = 3 + (15 + 6 + 0.15 * 200) / 60
    assert events[0].time_ns / 1e9 == pytest.approx(away_s + 2, abs=0.3)
    stays = {1: lambda t: (60 + 40 * min(t, 2), 100), 2: bag[2]}
    assert found(path, scene(8, stays)) == []
    alone = {1: lambda t: (60, 50), 2: lambda t: (250, 150) if t > 2 else None}
    assert found(path, scene(8, alone)) == []  # nobody brought it


def test_taken_away(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "taken_away", "stood_s": 2})

    def thief(t: float) -> tuple[float, float]:
        return (40 + 30 * min(t, 3) + 60 * max(0.0, t - 4), 100)

    taken = {1: thief, 2: lambda t: disc(152 + 60 * max(0.0, t - 4), 100, 6)}
    (event,) = found(path, scene(7, taken))
    assert (event.track_id, event.data["other_track_id"]) == (2, 1)
    assert event.time_ns / 1e9 == pytest.approx(4.1, abs=0.12)
    passes = {1: thief, 2: lambda t: disc(152, 120, 6)}
    assert found(path, scene(7, passes)) == []
    vanishes = {1: thief, 2: lambda t: disc(152, 100, 6) if t < 4 else None}
    events = found(path, [*scene(8, vanishes), mark("track_end", 6.0, 2)])
    assert [e.data["other_track_id"] for e in events] == [1]
