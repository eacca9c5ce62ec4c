"""A live run that is too slow thins out: questions, then frames, evenly; and says so."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from streamer.executors.local import run_local
from streamer.executors.parcel import Parcel
from streamer.executors.thinning import LADDER, Thinning
from streamer.geometry import Viewport
from streamer.interfaces import Operator, Source
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Event, Frame, StreamInfo, TrackedFrame
from streamer.report import Tally
from streamer.sources.live_clock import now_ns
from streamer.testing import ListSink, frames_of
from tests.streamer.test_executors import pictures

FPS = 50


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def test_the_ladder_is_climbed_while_frames_pile_up() -> None:
    clock = Clock()
    thinning = Thinning(16, clock)
    seen = []
    for waiting in [4] * 8 + [3] * 3 + [1] * 40:
        clock.s += 0.5
        thinning.look(waiting)
        seen.append(thinning.step)
    assert seen[:8] == [1, 2, 3, 4, 5, 5, 5, 5]
    assert seen[8:11] == [5, 5, 5]  # neither piling up nor idle
    assert seen[20] == 4  # five seconds without a queue
    assert [(level.questions, level.frames) for level in LADDER[:4]] == [
        (1, 1), (2, 1), (4, 1), (8, 2),
    ]  # fmt: skip


def test_frames_are_left_out_evenly_and_counted_once() -> None:
    thinning = Thinning(16, Clock())
    frames = frames_of(pictures(24))
    told: list[Event] = []
    kept: list[int] = []
    for frame in frames:
        thinning.step = 0 if frame.index < 4 or frame.index >= 16 else 4  # every third
        events, goes_on = thinning.frame(frame)
        told += events
        kept += [frame.index] if goes_on else []
    assert kept == [0, 1, 2, 3, 5, 8, 11, 14, *range(16, 24)]
    (gap,) = told
    assert (gap.kind, gap.time_ns) == ("gap", frames[4].time_ns)
    assert gap.data["frames"] == 24 - len(kept) == thinning.frames
    assert gap.data["reason"] == "overload: only every 3rd frame"
    assert gap.data["until_ns"] == frames[15].time_ns
    assert thinning.end("test") == []


def test_what_is_no_question_passes() -> None:
    thinning = Thinning(16, Clock())
    thinning.step = 5
    event = Event(stream_id="test", time_ns=1, kind="mark")
    parcel = Parcel("track", "test", 1, ((1, event),))
    assert [thinning.parcel(parcel, "caption") for _ in range(9)] == [parcel] * 9


class Camera(Source):
    live = True

    def open(self) -> list[StreamInfo]:
        return [StreamInfo(stream_id="cam", uri="cam", width_px=6, height_px=4, begin_ns=now_ns())]

    def read(self) -> Iterator[Frame | Event]:
        begun = time.monotonic()
        for i in range(6 * FPS):
            time.sleep(max(0.0, begun + i / FPS - time.monotonic()))
            image = np.zeros((4, 6, 3), np.uint8)
            yield Frame(
                stream_id="cam", index=i, time_ns=now_ns(), image=image,
                viewport=Viewport.whole(4, 6),
            )  # fmt: skip


class Slow(Operator[Frame | Event, TrackedFrame | Event]):
    """A tracker for two of three frames."""

    keyed = True
    seconds = 1.4 / FPS

    def process(self, items: Sequence[Frame | Event]) -> list[TrackedFrame | Event]:
        time.sleep(self.seconds * sum(isinstance(item, Frame) for item in items))
        return [TrackedFrame(frame=i, regions=()) if isinstance(i, Frame) else i for i in items]


@pytest.mark.slow
def test_a_tracker_that_is_too_slow_gets_every_second_frame_at_once() -> None:
    sink, tally = ListSink(), Tally()
    pipeline = Pipeline(
        make_source=Camera,
        steps=(Step(name="slow", operator=Slow, make=Slow),),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("slow",)),),
    )
    report = run_local(pipeline, tally=tally)
    kept = [r.frame.index for r in sink.records if isinstance(r, TrackedFrame)]
    gaps = [r for r in sink.records if isinstance(r, Event) and r.kind == "gap"]
    assert len(kept) + report.dropped_frames == report.frames == 6 * FPS
    assert sum(gap.data["frames"] for gap in gaps) == report.dropped_frames
    assert tally.frame_stride == 2
    later = np.diff(kept[len(kept) // 2 :])
    assert statistics.mode(later.tolist()) == 2
    assert np.mean(later == 2) > 0.9  # evenly
