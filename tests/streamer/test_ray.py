"""What only real processes show: kills, what a cluster lacks, the command line."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamer.errors import ConfigError, WeightsError
from streamer.executors.bare import run_bare
from streamer.executors.local import run_local
from streamer.executors.ray import RayCluster, check_address
from streamer.interfaces import Resources
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Event, Frame
from streamer.report import RunReport, Tally
from streamer.testing import ListSink, ListSource, describe
from tests.streamer.example_parts import Count, Late, Mark, NoWeights, PacedSource, Say
from tests.streamer.ray_film import FRAMES, batch, write_film, written
from tests.streamer.test_executors import of_stream, on_ray, two_streams


def graph(records: Sequence[Frame | Event], sink: ListSink, *, pace_s: float = 0.0) -> Pipeline:
    return Pipeline(
        make_source=lambda: PacedSource(records, pace_s),
        steps=(
            Step(name="track", operator=Mark, make=Mark),
            Step(name="select", operator=Late, make=Late, inputs=("track",)),
            Step(name="caption", operator=Say, make=Say, inputs=("select",), workers=2),
            Step(name="intervals", operator=Count, make=Count, inputs=("caption", "track")),
        ),
        outputs=(
            Output(
                name="list",
                sink=ListSink,
                make=lambda: sink,
                inputs=("track", "select", "intervals"),
            ),
        ),
    )


def killed(
    records: Sequence[Frame | Event], moments: dict[str, int], pace_s: float
) -> tuple[list[Any], RunReport]:
    """The records of a run in which the process of each part is killed when so many frames have
    been read."""
    sink, tally, left = ListSink(), Tally(), dict(moments)
    over = threading.Event()

    def kill() -> None:
        while left and not over.is_set():
            for part, frames in list(left.items()):
                if tally.frames >= frames and tally.processes.get(part):
                    os.kill(tally.processes[part][-1], signal.SIGKILL)
                    del left[part]
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        report = on_ray(graph(records, sink, pace_s=pace_s), tally=tally, snapshot_every=8)
    finally:
        over.set()
        killer.join()
    assert not left, "the run was over before the kill"
    return [describe(r) for r in sink.records], report


def assert_undisturbed(got: list[Any], records: Sequence[Frame | Event]) -> None:
    sink = ListSink()
    run_bare(graph(records, sink))
    wanted = [describe(r) for r in sink.records]
    for stream_id in ("a", "b"):
        assert of_stream(got, stream_id) == of_stream(wanted, stream_id)


def test_each_kind_of_actor_is_killed_and_nothing_is_missing_or_twice() -> None:
    records = two_streams(120)
    moments = {"source": 40, "track+select-0": 90, "caption": 120, "intervals-0": 150}
    got, report = killed(records, moments, pace_s=0.01)
    assert report.restarts >= 4
    assert_undisturbed(got, records)


@pytest.mark.slow
def test_twenty_random_kills_in_a_film_of_a_minute(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4")
    run_local(batch(film, tmp_path / "local"))
    wanted = written(tmp_path / "local")
    assert len(wanted) == 3
    chance = random.Random(5)
    killed_parts: Counter[str] = Counter()
    for number in range(20):
        tally, out = Tally(), tmp_path / str(number)
        part = ("source", "track", "caption", "intervals")[number % 4]
        at = chance.randrange(1, FRAMES - 100)
        with Killer(tally, part, at):
            report = on_ray(batch(film, out), tally=tally)
        assert report.restarts >= 1, (part, at)
        assert written(out) == wanted, (part, at)
        killed_parts[part] += 1
    print(f"killed: {dict(killed_parts)}; records equal in all {number + 1} runs")


class Killer:
    """Kills the process of a part with SIGKILL when so many frames have been read."""

    def __init__(self, tally: Tally, part: str, at: int) -> None:
        self.tally, self.part, self.at = tally, part, at
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _wait(self) -> None:
        while not self._over.wait(0.002):
            if self.tally.frames >= self.at and any(map(_killed, self._pids())):
                return

    def _pids(self) -> list[int]:
        """Those of the part's processes, the youngest first."""
        of_part = [
            pids
            for name, pids in list(self.tally.processes.items())
            if self.part in re.split(r"\W", name)
        ]
        return [pid for pids in of_part for pid in reversed(pids)]


def _killed(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        if not process.cmdline()[0].startswith("ray::"):
            return False
        process.kill()
    except (psutil.NoSuchProcess, IndexError):  # a worker by which a pool had grown, gone since
        return False
    return True


@pytest.mark.slow
def test_ten_times_the_node_with_all_workers_and_pictures_is_killed(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4")
    done = subprocess.run(
        [sys.executable, "-m", "tests.streamer.two_nodes", str(film), str(tmp_path), "10"],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    results = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
    assert len(results) == 10, done.stderr[-3000:]
    for result in results:
        assert result["same"], result
        assert result["restarts"] >= 3, result
    print(results)


def one_step(operator: type[Any], **options: Any) -> Pipeline:
    return Pipeline(
        make_source=lambda: ListSource(two_streams(3)),
        steps=(Step(name="words", operator=operator, make=operator, **options),),
        outputs=(Output(name="list", sink=ListSink, make=ListSink, inputs=("words",)),),
    )


@pytest.mark.parametrize(
    ("resources", "parts"),
    [
        (Resources(gpus=1), ("'words'", "1 GPU", "no node")),
        (Resources(memory_bytes=1 << 50), ("'words'", "GiB of memory", "no node")),
        (Resources(labels={"disk": "fast"}), ("'words'", "label disk=fast", "has none")),
    ],
    ids=["gpu", "memory", "label"],
)
def test_what_the_cluster_does_not_have_is_said_before_anything_runs(
    resources: Resources, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        on_ray(one_step(Mark, resources=resources))
    for part in parts:
        assert part in str(caught.value)


def test_whether_a_pool_may_grow_is_read_off_the_cluster() -> None:
    on_ray(one_step(Mark))  # which connects
    cluster = RayCluster([], Resources(cpus=0))
    assert cluster.has_room(Resources(cpus=0))
    assert not cluster.has_room(Resources(cpus=1000))
    assert not cluster.has_room(Resources(cpus=0, gpus=1))
    assert not cluster.has_room(Resources(cpus=0, memory_bytes=1 << 50))


def test_a_worker_that_cannot_load_its_weights_is_named() -> None:
    with pytest.raises(WeightsError, match=r"step 'words'.*no such folder"):
        on_ray(one_step(NoWeights))


@pytest.mark.parametrize(
    ("address", "part"),
    [("127.0.0.1:1", "no Ray cluster"), ("ray", "host:port"), ("a:99999", "no Ray cluster")],
)
def test_an_address_without_a_cluster(address: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part) as caught:
        check_address(address)
    assert f"--ray {address}" in str(caught.value)
