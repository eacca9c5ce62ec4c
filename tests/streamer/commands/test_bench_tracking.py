"""The bench of tracking: what is hidden, the other packages' trackers, small runs of each kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamer.commands.bench_tracking import _hidden, bench_objects, bench_soak, bench_tracking
from streamer.commands.box_trackers import box_trackers


def test_spans_of_hiding_are_deep_and_between_two_clear_views() -> None:
    seen = [0.9, 0.8, 0.4, 0.1, 0.0, 0.3, 0.7, 0.9]
    never_deep = [0.9, 0.8, 0.4, 0.3, 0.4, 0.3, 0.7, 0.9]
    never_back = [0.9, 0.8, 0.4, 0.1, 0.0, 0.0, 0.1, 0.2]
    shares = {i: {1: seen[i], 2: never_deep[i], 3: never_back[i]} for i in range(8)}
    assert _hidden(shares, 8) == [(1, 2, 6)]


def test_other_trackers_keep_ids_of_two_boxes_and_through_a_gap() -> None:
    found, lacking = box_trackers(fps=25.0, hidden_s=2.0)
    if not found:
        assert len(lacking) == 2
        pytest.skip("; ".join(lacking))
    for name, begin in found.items():
        update, ids = begin(), []
        for i in range(40):
            boxes = np.array([[10 + 2 * i, 10, 60 + 2 * i, 60], [200, 90 - i, 260, 140 - i]], float)
            got, where = update(boxes[:1] if 20 <= i < 24 else boxes)
            assert len(got) == len(where)
            ids.append(sorted(got.tolist()))
        assert len(ids[10]) == 2, name
        assert len(ids[22]) == 1, name
        assert ids[39] == ids[10], name
        assert len(update(np.zeros((0, 4)))[0]) == 0, name


def test_time_against_the_number_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    assert bench_objects([1, 3], json_path=path, frames=16) == 0
    figures = json.loads(path.read_text())
    assert [row["objects"] for row in figures["rows"]] == [1, 3]
    assert all(row["cpu_ms"] > 0 for row in figures["rows"])
    assert "cpu" in figures["hardware"]


@pytest.mark.slow
def test_memory_over_many_frames(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    assert bench_soak(1000, seed=1, json_path=path) == 0
    rss = list(json.loads(path.read_text())["rss_bytes"].values())
    assert len(rss) == 10
    assert rss[-1] - rss[2] < 60 * 2**20


@pytest.mark.slow
def test_ours_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    assert bench_tracking(films=1, seed=5001, seconds=6.0, json_path=path) == 0
    rows = {row["tracker"]: row for row in json.loads(path.read_text())["rows"]}
    ours = [row for name, row in rows.items() if name.startswith("streamer")]
    assert len(ours) == 6  # three of ours, by boxes and by masks
    for name, row in rows.items():
        if not name.startswith("streamer"):
            assert all(mine["hota"] > max(0.5, row["hota"]) for mine in ours), name
