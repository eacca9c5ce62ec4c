"""Cameras over RTSP: a real server that dies, hangs, refuses, serves many. `make live-check`."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from streamer.commands.bench_ray_parts import Clocked, Notice, Wait
from streamer.errors import InputError
from streamer.executors.local import run_local
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Event, Frame
from streamer.sources.live import LiveVideo

SYSTEM_PYTHON = Path("/usr/bin/python3")
FPS = 15  # the server's
SERVER = Path(__file__).with_name("rtsp_server.py")
ROOT = SERVER.parents[2]
KILLS = int(os.environ.get("LIVE_KILLS", "20"))
WARM_S = 300  # until then caches and the allocator's arenas fill
SOAK_S = max(WARM_S + 60, float(os.environ.get("LIVE_SOAK_S", "480")))

pytestmark = pytest.mark.live


class Server:
    """The server, to be killed and started again on one port."""

    def __init__(self, cameras: int = 2, login: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.arguments = [str(self.port), str(cameras), *([login] if login else [])]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [SYSTEM_PYTHON, SERVER, *self.arguments], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            pytest.skip("GStreamer's RTSP server is not installed; `make live-check` installs it")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def url(self, camera: int = 0, login: str = "") -> str:
        return f"rtsp://{login}127.0.0.1:{self.port}/cam{camera}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.kill()


class Watch:
    """A source read in the background."""

    def __init__(self, source: LiveVideo) -> None:
        self.source = source
        self.records: list[Frame | Event] = []
        self.infos = source.open()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for record in self.source.read():
            self.records.append(record)

    def until(self, true: Callable[[list[Frame | Event]], bool], limit_s: float) -> float:
        """Seconds until it was true."""
        begun = time.monotonic()
        while not true(self.records):
            assert time.monotonic() - begun < limit_s, self.records[-3:]
            time.sleep(0.02)
        return time.monotonic() - begun

    def frames(self, stream_id: str = "cam") -> list[Frame]:
        return [r for r in self.records if isinstance(r, Frame) and r.stream_id == stream_id]

    def events(self, kind: str) -> list[Event]:
        return [r for r in self.records if isinstance(r, Event) and r.kind == kind]

    def close(self) -> None:
        self.source.close()
        self.thread.join(5)
        assert not self.thread.is_alive()


def assert_forward(frames: list[Frame]) -> None:
    assert all(a.time_ns < b.time_ns for a, b in itertools.pairwise(frames))
    assert [f.index for f in frames] == list(range(len(frames)))


def test_the_cameras_clock_is_used(server: Server) -> None:
    watch = Watch(LiveVideo({"cam": server.url()}))
    watch.until(lambda _: len(watch.frames()) > 60, 30)
    watch.close()
    frames = watch.frames()
    assert_forward(frames)
    assert watch.source._readers["cam"].clock.camera
    assert frames[-1].uncertainty_ns < 5_000_000
    late_s = time.time() - frames[-1].time_ns / 1e9
    assert 0 < late_s < 2


def test_pictures_are_whole(server: Server) -> None:
    # the server sends the slices of key frames apart
    watch = Watch(LiveVideo({"cam": server.url()}))
    watch.until(lambda _: len(watch.frames()) > 60, 30)
    watch.close()
    for frame in watch.frames()[20:]:
        red, green, _ = frame.image.reshape(-1, 3).astype(int).T
        assert np.mean(green - red > 60) < 0.01


def test_killed_and_restarted(server: Server) -> None:
    watch = Watch(LiveVideo({"cam": server.url()}))
    chance = random.Random(0)
    back_s = []
    for kill in range(1, KILLS + 1):
        watch.until(lambda _: len(watch.events("gap")) == kill - 1, 30)  # noqa: B023
        seen = len(watch.frames())
        watch.until(lambda _: len(watch.frames()) > seen + 5, 30)  # noqa: B023
        time.sleep(chance.uniform(0, 0.5))
        server.kill()
        watch.until(lambda _: len(watch.events("input_error")) == kill, 10)  # noqa: B023
        time.sleep(chance.uniform(0, 4))
        server.start()
        back_s.append(
            watch.until(lambda _: len(watch.events("gap")) == kill, 10)  # noqa: B023
        )
    watch.close()
    print(
        f"{KILLS} kills; back after {sorted(back_s)[KILLS // 2]:.2f} s, worst {max(back_s):.2f} s"
    )
    assert max(back_s) < 5
    assert_forward(watch.frames())
    assert len(watch.events("gap")) == len(watch.events("input_error")) == KILLS
    for gap in watch.events("gap"):
        after = next(f for f in watch.frames() if f.time_ns > gap.time_ns)
        assert gap.time_ns < gap.data["until_ns"]
        assert abs(after.time_ns - gap.data["until_ns"]) < 2e9


def test_a_server_that_stalls_without_closing(server: Server) -> None:
    other = Server(1)
    try:
        watch = Watch(LiveVideo({"cam": server.url(), "other": other.url()}, stall_s=2))
        watch.until(lambda _: len(watch.frames()) > 10, 20)
        server.process.send_signal(signal.SIGSTOP)
        watch.until(lambda _: bool(watch.events("input_error")), 10)
        begun = len(watch.frames("other"))
        time.sleep(3)
        assert len(watch.frames("other")) - begun > 30
        server.process.send_signal(signal.SIGCONT)
        took_s = watch.until(lambda _: bool(watch.events("gap")), 15)
        watch.close()
    finally:
        server.process.send_signal(signal.SIGCONT)
        other.kill()
    print(f"back {took_s:.2f} s after it went on")
    assert took_s < 5
    assert {e.stream_id for e in watch.events("gap")} == {"cam"}
    assert_forward(watch.frames())
    assert_forward(watch.frames("other"))


def test_eight_at_once() -> None:
    server = Server(8)
    try:
        watch = Watch(LiveVideo({f"cam{i}": server.url(i) for i in range(8)}))
        watch.until(lambda _: all(len(watch.frames(f"cam{i}")) > 45 for i in range(8)), 60)
        watch.close()
    finally:
        server.kill()
    for i in range(8):
        frames = watch.frames(f"cam{i}")
        assert_forward(frames)
        rate = (len(frames) - 1) / (frames[-1].time_ns - frames[0].time_ns) * 1e9
        assert 12 < rate < 18


def test_passwords() -> None:
    server = Server(1, "me:secret")
    try:
        source = LiveVideo({"cam": server.url(login="me:wrong@")})
        with pytest.raises(InputError, match="it refuses user name or password") as caught:
            source.open()
        assert "wrong" not in str(caught.value)
        watch = Watch(LiveVideo({"cam": server.url(login="me:secret@")}))
        watch.until(lambda _: len(watch.frames()) > 3, 20)
        assert watch.infos[0].uri == server.url(login="me:***@")
        watch.close()
    finally:
        server.kill()


def test_what_is_no_camera(server: Server) -> None:
    for path, said in (("sound", "there is no video in it"), ("nothing", "has no such stream")):
        source = LiveVideo({"cam": f"rtsp://127.0.0.1:{server.port}/{path}"})
        with pytest.raises(InputError, match=said):
            source.open()


def test_watching_through_a_restart_with_the_whole_pipeline(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamer", "watch", f"cam={server.url()}", "-o", "."]
    process = subprocess.Popen(
        [*command, "--json", "report.json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    records = tmp_path / "live.jsonl"

    def kinds() -> list[str]:
        if not records.exists():
            return []
        lines = [json.loads(line) for line in records.read_text().splitlines()]
        return [line.get("kind", "caption") for line in lines]

    def wait_for(kind: str) -> None:
        deadline = time.monotonic() + 60
        while kind not in kinds():
            assert time.monotonic() < deadline, (kind, kinds(), process.poll())
            time.sleep(0.2)

    wait_for("track_start")
    server.kill()
    time.sleep(2)
    server.start()
    wait_for("gap")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "caption" in kinds()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["streams"][0]["stream_id"] == "cam"
    assert report["frames"] > 30


def test_memory_stays_flat(server: Server, tmp_path: Path) -> None:
    """Of a whole run, with tracking, words and catalog; LIVE_SOAK_S=1800 for half an hour."""
    cameras = [f"cam{i}={server.url(i)}" for i in range(2)]
    with subprocess.Popen(
        [sys.executable, "-m", "streamer", "watch", *cameras, "-o", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        watched = psutil.Process(process.pid)
        seen: list[int] = []
        end = time.monotonic() + SOAK_S
        while time.monotonic() < end:
            time.sleep(1)
            assert process.poll() is None
            family = [watched, *watched.children(recursive=True)]
            seen.append(sum(p.memory_info().rss for p in family))
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    warm = round(len(seen) * WARM_S / SOAK_S)
    start, last = max(seen[warm - 10 : warm]), max(seen[-10:])
    grown = (last - start) / 2**20
    print(f"{last / 2**20:.0f} MiB, grew by {grown:.1f} MiB in {SOAK_S - WARM_S:.0f} s")
    assert "caption" in (tmp_path / "live.jsonl").read_text()
    assert grown < 20


def test_alerts_come_within_two_frame_intervals(server: Server) -> None:
    """While captions take a second each."""
    alarm, words = Clocked(), Clocked()
    pipeline = Pipeline(
        make_source=lambda: LiveVideo({"cam": server.url()}, for_s=15),
        steps=(
            Step(name="notice", operator=Notice, make=Notice, inputs=("source",)),
            Step(name="wait", operator=Wait, make=lambda: Wait(1.0), inputs=("notice",)),
        ),
        outputs=(
            Output(name="alarm", sink=Clocked, make=lambda: alarm, inputs=("notice",)),
            Output(name="words", sink=Clocked, make=lambda: words, inputs=("wait",)),
        ),
    )
    report = run_local(pipeline)
    assert len(alarm.late_s) == report.frames > 100
    assert len(words.late_s) >= 5
    median_s = statistics.median(alarm.late_s)
    print(f"median {median_s * 1e3:.1f} ms of {len(alarm.late_s)} alerts, {FPS} frames a second")
    assert median_s < 2 / FPS
