"""`streamer caption -c alerts` on real footage, with a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.streamer.sinks.brokers import Mosquitto, MqttConsumer, running, wait_until

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_what_the_rules_find_arrives(tmp_path: Path, media_dir: Path) -> None:
    with running(Mosquitto(tmp_path / "mosquitto")) as broker:
        consumer = MqttConsumer(broker.port, "site/#")
        done = subprocess.run(
            [sys.executable, "-m", "streamer", "caption", str(media_dir / "surveillance_cars.mp4"),
             "-c", "alerts", "-o", str(tmp_path / "out"), "-q", "--set", "source.end=8",
             "--set", f"alerts.url={broker.url.replace('//', '//me:$WORD@')}",
             "--set", "alerts.topic=site/{stream}/{kind}"],
            capture_output=True, text=True, check=False, cwd=ROOT,
            env={**os.environ, "WORD": "s3cr3t"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "out" / "surveillance_cars.jsonl").read_text().splitlines()
        wanted = [r for r in map(json.loads, lines) if "rule" in r.get("data", {})]
        assert wanted
        wait_until(lambda: len(consumer.received) >= len(wanted))
        consumer.close()
    assert sorted(r["id"] for r in consumer.received) == sorted(r["id"] for r in wanted)
    assert all(t.startswith("site/surveillance_cars/") for t in consumer.topics)
    assert "s3cr3t" not in done.stdout + done.stderr
    tracks = {r["track_id"] for r in map(json.loads, lines) if r.get("kind") == "track_start"}
    crops = sorted((tmp_path / "out" / "surveillance_cars.crops" / "surveillance_cars").iterdir())
    assert {int(crop.stem) for crop in crops} == tracks
    assert all(np.asarray(Image.open(crop)).std() > 5 for crop in crops)
