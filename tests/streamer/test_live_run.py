"""A live run that is too slow: captions thin out, frames do not, and alerts do not wait."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from streamer.executors.local import run_local
from streamer.geometry import Viewport
from streamer.interfaces import Operator, Sink, Source
from streamer.mask import Mask
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Caption, CaptionRequest, Event, Frame, Region, StreamInfo
from streamer.sources.live_clock import now_ns
from streamer.testing import ListSink

FRAMES, FPS = 60, 20
MASK = Mask.encode(np.ones((4, 6), np.bool_))


class Camera(Source):
    """Frames of this moment, at a steady rate."""

    live = True

    def open(self) -> list[StreamInfo]:
        return [StreamInfo(stream_id="cam", uri="cam", width_px=6, height_px=4, begin_ns=now_ns())]

    def read(self) -> Iterator[Frame | Event]:
        begun = time.monotonic()
        for i in range(FRAMES):
            time.sleep(max(0.0, begun + i / FPS - time.monotonic()))
            yield Frame(
                stream_id="cam",
                index=i,
                time_ns=now_ns(),
                image=np.zeros((4, 6, 3), np.uint8),
                viewport=Viewport.whole(4, 6),
                uncertainty_ns=7,
            )


class Notice(Operator[Frame, CaptionRequest | Event]):
    """An event and a question for every frame."""

    keyed = True

    def process(self, items: Sequence[Frame]) -> list[CaptionRequest | Event]:
        made: list[CaptionRequest | Event] = []
        for frame in items:
            region = Region(mask=MASK, box_xyxy=(0, 0, 6, 4), score=1.0, track_id=1)
            made.append(Event(stream_id="cam", time_ns=frame.time_ns, kind="alert"))
            made.append(
                CaptionRequest(
                    frame=frame,
                    asked_ns=frame.time_ns,
                    regions=(region,),
                    why=("new",),
                    start_ns=(frame.time_ns,),
                )
            )
        return made


class Ponder(Operator[CaptionRequest, Caption]):
    """A captioner that takes its time."""

    def process(self, items: Sequence[CaptionRequest]) -> list[Caption]:
        time.sleep(1.0)
        return [
            Caption(
                stream_id="cam",
                track_id=1,
                start_ns=item.asked_ns,
                end_ns=None,
                text="a camera",
                asked_ns=item.asked_ns,
                frame_index=item.frame.index,
                frame_time_ns=item.frame.time_ns,
                mask=MASK,
                mean_logprob=None,
                model="slow",
                weights_hash="",
            )
            for item in items
        ]


class Alarm(Sink[Event]):
    """How long each event took, in seconds."""

    def __init__(self) -> None:
        self.late_s: list[float] = []

    def write(self, record: Event) -> None:
        self.late_s.append((now_ns() - record.time_ns) / 1e9)


@pytest.mark.parametrize("queue_size", [2, 16])
def test_alerts_do_not_wait_for_captions(queue_size: int) -> None:
    alarm, words = Alarm(), ListSink()

    def output(name: str, sink: Any, *inputs: str) -> Output:
        return Output(name=name, sink=type(sink), make=lambda: sink, inputs=inputs)

    pipeline = Pipeline(
        make_source=Camera,
        steps=(
            Step(name="notice", operator=Notice, make=Notice, inputs=("source",)),
            Step(name="ponder", operator=Ponder, make=Ponder, inputs=("notice",)),
        ),
        outputs=(output("alarm", alarm, "notice"), output("words", words, "ponder", "notice")),
    )
    report = run_local(pipeline, queue_size=queue_size)
    captions = [r for r in words.records if isinstance(r, Caption)]
    events = [r for r in words.records if isinstance(r, Event)]
    assert report.frames == len(alarm.late_s) == len(events) == FRAMES
    assert report.dropped_frames == 0
    assert statistics.median(alarm.late_s) < 2 / FPS
    assert 2 <= len(captions) < FRAMES
    assert {r.uncertainty_ns for r in (*captions, *events)} == {7}
