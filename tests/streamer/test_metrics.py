"""Figures of a run, asked for over HTTP while it goes on."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from streamer.errors import ConfigError
from streamer.executors.local import run_local
from streamer.metrics import Metrics
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Caption, Event, Frame, TrackedFrame
from streamer.report import Tally
from streamer.testing import ListSink, ListSource, frames_of
from tests.streamer.example_parts import Mark, Say
from tests.streamer.test_executors import pictures

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def asked(server: Metrics, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_run_is_seen_from_outside() -> None:
    tally = Tally()
    answers: dict[str, tuple[int, str]] = {}

    class Observed(ListSource):
        def read(self) -> Iterator[Frame | Event]:
            answers["before"] = asked(server, "/ready")
            yield from super().read()
            time.sleep(0.2)
            for path in ("/ready", "/health", "/metrics", "/else"):
                answers[path] = asked(server, path)

    class Counting(Say):
        def counted(self) -> Mapping[str, int]:
            return getattr(self, "so_far", {})

        def process(self, items: Sequence[TrackedFrame | Event]) -> list[Caption | Event]:
            made = super().process(items)
            self.so_far["tokens"] += 5 * sum(isinstance(r, Caption) for r in made)
            return made

        def setup(self) -> None:
            self.so_far: Counter[str] = Counter()

    sink = ListSink()
    pipeline = Pipeline(
        make_source=lambda: Observed(frames_of(pictures(24))),
        steps=(
            Step(name="mark", operator=Mark, make=Mark),
            Step(name="say", operator=Say, make=Counting, inputs=("mark",), workers=2),
        ),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("say", "mark")),),
    )
    with Metrics(tally, "0") as server:
        report = run_local(pipeline, tally=tally)
    assert [answers[path][0] for path in ("before", "/ready", "/health", "/metrics", "/else")] == [
        503, 200, 200, 200, 404,
    ]  # fmt: skip
    assert json.loads(answers["/health"][1])["well"] is True
    figures = dict(re.findall(r"^(streamer_\S+) (\S+)$", answers["/metrics"][1], re.MULTILINE))
    assert figures['streamer_frames_total{stream="test"}'] == "24.0"
    assert figures["streamer_captions_total"] == "6.0"
    assert figures['streamer_tokens_total{step="say"}'] == "30.0"
    assert report.steps["say"].counted == {"tokens": 30}
    assert figures["streamer_frame_stride"] == "1.0"
    assert figures['streamer_events_total{kind="mark"}'] == "8.0"
    assert figures['streamer_dropped_frames_total{part="mark"}'] == "0.0"
    assert figures['streamer_step_seconds_count{step="mark"}'] == "24.0"
    assert 0 < float(figures['streamer_latency_seconds_count{sink="list"}']) <= len(sink.records)
    assert float(figures['streamer_frame_age_seconds{stream="test"}']) >= 0.2
    assert report.frames == 24


@pytest.mark.parametrize("address", ["port", "127.0.0.1:", "999999", "10.255.255.1:9464"])
def test_addresses_that_cannot_be_served(address: str) -> None:
    with pytest.raises(ConfigError, match=f"^metrics: .*{address}"):
        Metrics(Tally(), address)


def test_a_taken_port() -> None:
    with Metrics(Tally(), "0") as server, pytest.raises(ConfigError, match="cannot be served"):
        Metrics(Tally(), str(server.port))


def test_the_dashboard_asks_for_what_is_served() -> None:
    dashboard = (CONFIGS / "grafana.json").read_text()
    assert json.loads(dashboard)["panels"]
    source = (CONFIGS.parent / "streamer" / "metrics.py").read_text()
    for name in set(re.findall(r"streamer_([a-z_]+)", dashboard)):
        base = re.sub(r"_(total|bucket|count|sum)$", "", name)
        assert f'"{base}"' in source or f'"streamer_{base}"' in source, name
