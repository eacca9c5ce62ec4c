"""Parts that wait instead of computing, for `streamer bench ray`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from streamer.geometry import Viewport
from streamer.interfaces import Operator, Resources, Sink, Source
from streamer.mask import Mask
from streamer.records import CaptionRequest, Event, Frame, Region, StreamInfo
from streamer.sources.live_clock import now_ns

STREAM = "bench"
_HW = (4, 6)
_WHOLE = Region(
    mask=Mask.encode(np.ones(_HW, bool)), box_xyxy=(0, 0, _HW[1], _HW[0]), score=1.0, track_id=1
)


class Pictures(Source):
    """Small frames, as fast as they are wanted."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def open(self) -> list[StreamInfo]:
        return [StreamInfo(stream_id=STREAM, uri=STREAM, width_px=_HW[1], height_px=_HW[0])]

    def read(self) -> Iterator[Frame | Event]:
        for index in range(self.frames):
            yield _frame(index, index * 10**6)


class Camera(Pictures):
    """Frames of this moment, at a steady rate."""

    live = True

    def __init__(self, frames: int, fps: float) -> None:
        super().__init__(frames)
        self.fps = fps

    def read(self) -> Iterator[Frame | Event]:
        begun_s = time.monotonic()
        for index in range(self.frames):
            time.sleep(max(0.0, begun_s + index / self.fps - time.monotonic()))
            yield _frame(index, now_ns())


class Wait(Operator[Frame | CaptionRequest, Event]):
    """Takes its time over every input, as a captioner that computes elsewhere does."""

    resources = Resources(cpus=0.01)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def process(self, items: Sequence[Frame | CaptionRequest]) -> list[Event]:
        time.sleep(self.seconds * len(items))
        return [
            Event(stream_id=item.stream_id, time_ns=item.order_ns, kind="words") for item in items
        ]


class Notice(Operator[Frame, CaptionRequest | Event]):
    """An alert and a question for every frame; too many questions may be dropped, alerts not."""

    keyed = True
    resources = Resources(cpus=0.1)

    def process(self, items: Sequence[Frame]) -> list[CaptionRequest | Event]:
        made: list[CaptionRequest | Event] = []
        for frame in items:
            made.append(Event(stream_id=frame.stream_id, time_ns=frame.time_ns, kind="alert"))
            made.append(
                CaptionRequest(
                    frame=frame, asked_ns=frame.time_ns, regions=(_WHOLE,), why=("new",),
                    start_ns=(frame.time_ns,),
                )
            )  # fmt: skip
        return made


class Clocked(Sink[Event]):
    """When each event came: seconds on the monotonic clock, and how old it was."""

    def __init__(self) -> None:
        self.came_s: list[float] = []
        self.late_s: list[float] = []

    def write(self, record: Event) -> None:
        self.came_s.append(time.monotonic())
        self.late_s.append((now_ns() - record.time_ns) / 1e9)


def _frame(index: int, time_ns: int) -> Frame:
    return Frame(
        stream_id=STREAM,
        index=index,
        time_ns=time_ns,
        image=np.zeros((*_HW, 3), np.uint8),
        viewport=Viewport.whole(*_HW),
    )
