"""`streamer bench scroll`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pyvips")
from streamer.commands.bench_walk import bench_walk


def test_memory_of_a_walk_and_of_a_tenth_of_it(tmp_path: Path) -> None:
    report = tmp_path / "memory.json"
    assert bench_walk(width=10_240, height=1024, zooms=[0.7], json_path=report) == 0
    short, long = json.loads(report.read_text())["walks"]
    assert (short["width_px"], long["width_px"]) == (1024, 10_240)
    assert long["windows"] > 5 * short["windows"]
    assert long["regions"] > 5 * short["regions"] > 0
    assert long["peak_memory_bytes"] > 50 * 2**20
