"""Small parts for tests of the graph and the executors."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from streamer.errors import WeightsError
from streamer.interfaces import Operator, Resources, Sink
from streamer.mask import Mask
from streamer.records import Caption, Event, Frame, TrackedFrame
from streamer.testing import ListSource


class Mark(Operator[Frame | Event, TrackedFrame | Event]):
    """Every frame without regions, and an event for every `every`-th."""

    keyed = True

    def __init__(self, every: int = 3) -> None:
        self.every = every
        self.seen: dict[str, int] = {}

    def process(self, items: Sequence[Frame | Event]) -> list[TrackedFrame | Event]:
        made: list[TrackedFrame | Event] = []
        for item in items:
            if isinstance(item, Event):
                made.append(item)
                continue
            n = self.seen[item.stream_id] = self.seen.get(item.stream_id, -1) + 1
            if n % self.every == 0:
                made.append(Event(stream_id=item.stream_id, time_ns=item.time_ns, kind="mark"))
            made.append(TrackedFrame(frame=item, regions=()))
        return made

    def flush(self, stream_id: str) -> list[TrackedFrame | Event]:
        last = self.seen.pop(stream_id, 0)
        return [Event(stream_id=stream_id, time_ns=10**12, kind="last", data={"n": last})]

    def snapshot(self, stream_id: str) -> bytes:
        return json.dumps(self.seen.get(stream_id)).encode()

    def restore(self, stream_id: str, state: bytes) -> None:
        self.seen[stream_id] = json.loads(state)


class Say(Operator[TrackedFrame | Event, Caption | Event]):
    """A caption for every `every`-th frame, slowly; a pool may do it."""

    batch_size = 2

    def __init__(self, every: int = 4, seconds: float = 0.0) -> None:
        self.every = every
        self.seconds = seconds

    def process(self, items: Sequence[TrackedFrame | Event]) -> list[Caption | Event]:
        made: list[Caption | Event] = []
        for item in items:
            if isinstance(item, Event):
                made.append(item)
            elif item.frame.index % self.every == 0:
                # the later, the faster: a pool finishes them in another order
                time.sleep(self.seconds * (1 + (item.frame.index // self.every) % 2 * 3))
                made.append(caption(item.frame))
        return made


class Fail(Operator[TrackedFrame | Event, Caption | Event]):
    """Breaks at the frame `at`."""

    def __init__(self, at: int = 5) -> None:
        self.at = at

    def process(self, items: Sequence[TrackedFrame | Event]) -> list[Caption | Event]:
        for item in items:
            if isinstance(item, TrackedFrame) and item.frame.index == self.at:
                raise RuntimeError("the pump is broken")
        return [item for item in items if isinstance(item, Event)]


class OnlyCaptions(Sink[Caption]):
    def write(self, record: Caption) -> None:
        raise NotImplementedError


def caption(frame: Frame, track_id: int = 1, text: str = "a red car") -> Caption:
    """A caption of the whole frame."""
    height, width = frame.hw
    return Caption(
        stream_id=frame.stream_id,
        track_id=track_id,
        start_ns=frame.time_ns,
        end_ns=frame.time_ns + 1,
        text=text,
        asked_ns=frame.time_ns,
        frame_index=frame.index,
        frame_time_ns=frame.time_ns,
        mask=Mask(height_px=height, width_px=width, counts="0"),
        mean_logprob=-0.1,
        model="test",
        weights_hash="0",
    )


class Late(Operator[TrackedFrame | Event, TrackedFrame | Event]):
    """Holds every frame back by two, and darkens every fifth: state with pictures in it."""

    resources = Resources(cpus=0.2)
    keyed = True

    def __init__(self) -> None:
        self.held: dict[str, list[TrackedFrame]] = {}

    def process(self, items: Sequence[TrackedFrame | Event]) -> list[TrackedFrame | Event]:
        made: list[TrackedFrame | Event] = []
        for item in items:
            if isinstance(item, Event):
                made.append(item)
                continue
            held = self.held.setdefault(item.stream_id, [])
            frame = item.frame
            if frame.index % 5 == 0:
                frame = replace(frame, image=frame.image // 2)
            held.append(replace(item, frame=frame))
            if len(held) > 2:
                made.append(held.pop(0))
        return made

    def flush(self, stream_id: str) -> list[TrackedFrame | Event]:
        return [*self.held.pop(stream_id, [])]

    def snapshot(self, stream_id: str) -> bytes:
        return pickle.dumps(self.held.get(stream_id, []))

    def restore(self, stream_id: str, state: bytes) -> None:
        self.held[stream_id] = pickle.loads(state)


class Ahead(Late):
    """Says how far it looks ahead, in frames of 40 ms; its events wait with the frames."""

    delay_ns = 80_000_000

    def process(self, items: Sequence[TrackedFrame | Event]) -> list[TrackedFrame | Event]:
        return super().process([item for item in items if isinstance(item, TrackedFrame)])


class Count(Operator[Caption | Event, Caption | Event]):
    """Numbers the captions of a stream."""

    resources = Resources(cpus=0.1)
    keyed = True

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def process(self, items: Sequence[Caption | Event]) -> list[Caption | Event]:
        made: list[Caption | Event] = []
        for item in items:
            if isinstance(item, Caption):
                n = self.counts[item.stream_id] = self.counts.get(item.stream_id, 0) + 1
                item = replace(item, text=f"{item.text} {n}")
            made.append(item)
        return made

    def snapshot(self, stream_id: str) -> bytes:
        return json.dumps(self.counts.get(stream_id, 0)).encode()

    def restore(self, stream_id: str, state: bytes) -> None:
        self.counts[stream_id] = json.loads(state)


class NoWeights(Mark):
    """Cannot be set up."""

    def setup(self) -> None:
        raise WeightsError("weights 'osprey-huge' cannot be loaded: no such folder")


class PacedSource(ListSource):
    """Reads no faster than one record in `pace_s` seconds."""

    def __init__(self, records: Sequence[Frame | Event], pace_s: float) -> None:
        super().__init__(records)
        self.pace_s = pace_s

    def read(self) -> Iterator[Frame | Event]:
        for record in self.records:
            time.sleep(self.pace_s)
            yield record
