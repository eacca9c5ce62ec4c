"""What runs in the workers' processes: fused steps, and the reader of the source.

Nothing here knows how it is called; `streamer.executors.hub` says in which order.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamer.errors import ContractError
from streamer.executors.freight import Image, Known, pack, unpack
from streamer.executors.fusion import Group
from streamer.executors.parcel import Parcel
from streamer.executors.stage import Stage
from streamer.interfaces import Source
from streamer.records import Caption, Event, Frame, StreamInfo, StreamLeft
from streamer.report import StepReport

State = dict[str, list[bytes]]
"""Per stream, the snapshots of a worker's steps."""


@dataclass(frozen=True)
class Place:
    """Where a worker runs, and how many items its first step wants at once."""

    pid: int
    host: str
    batch_size: int = 1


@dataclass(frozen=True)
class Done:
    """What came of a call: packed parcels and how many images in them are new, the numbers of the
    images still in use, and the work of each step."""

    parcels: bytes
    new_images: int
    in_use: list[int]
    work: dict[str, StepReport]


class Worker:
    """The steps of a group, one after the other, as one."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.stages = [Stage(step) for step in group.steps]
        self._known = Known()
        self._new: dict[int, list[Image]] = {}
        self._streams: set[str] = set()

    def place(self) -> Place:
        size = max(1, self.stages[0].operator.batch_size)
        return Place(os.getpid(), socket.gethostname(), size)

    def setup(self) -> None:
        for stage in self.stages:
            stage.setup()

    def take(
        self, number: int, parcels: bytes, numbers: Sequence[int], again: bool, *images: Image
    ) -> Done:
        """Work on merged parcels.

        Args:
            number: of this call, for `collect`.
            parcels: packed; their images are labelled by their numbers.
            numbers: of the images.
            again: the results are known, only the state is wanted.
        """
        given = dict(zip(numbers, images, strict=True))
        for key, image in given.items():
            self._known.add(key, image)
        before = [self._report(stage) for stage in self.stages]
        made = self._made(unpack(parcels, given.__getitem__))
        work = {
            stage.step.name: _difference(self._report(stage), old)
            for stage, old in zip(self.stages, before, strict=True)
        }
        new: list[Image] = []
        packed = b"" if again else pack(made, lambda image: self._label(image, new))
        if new:
            self._new[number] = new
        return Done(packed, len(new), self._known.in_use(), work)

    def collect(self, number: int) -> tuple[Any, ...]:
        """The new images of a call, each as a result of its own behind the first one, None."""
        return (None, *self._new.pop(number))

    def snapshot(self) -> State:
        """The state of every stream that has begun and not ended."""
        return {
            stream_id: [stage.snapshot(stream_id) for stage in self.stages]
            for stream_id in sorted(self._streams)
        }

    def restore(self, state: State) -> None:
        for stream_id, parts in state.items():
            self._streams.add(stream_id)
            for stage, part in zip(self.stages, parts, strict=True):
                stage.restore(stream_id, part)

    def close(self) -> None:
        for stage in self.stages:
            stage.close()

    def _made(self, parcels: list[Parcel]) -> list[Parcel]:
        self._streams |= {parcel.stream_id for parcel in parcels}
        made = self.stages[0].take(parcels)
        everything = self._visible(0, made)
        for i, stage in enumerate(self.stages[1:], 1):
            mine = [parcel.holding(self.group.carried[i - 1]) for parcel in made]
            made = [parcel for one in mine for parcel in stage.take([one])]
            everything += self._visible(i, made)
        self._streams -= {parcel.stream_id for parcel in parcels if parcel.end}
        return everything

    def _visible(self, i: int, made: list[Parcel]) -> list[Parcel]:
        """What leaves the process: everything that is read outside, else what is counted."""
        if self.group.shown[i]:
            return list(made)
        return [parcel.holding((Event, Caption)) for parcel in made]

    def _label(self, image: Image, new: list[Image]) -> tuple[Any, ...]:
        number = self._known.number(image)
        if number is not None:
            return ("known", number)
        at = next((i for i, other in enumerate(new) if other is image), None)
        if at is None:
            at = len(new)
            new.append(image)
        return ("new", at, image.shape)

    @staticmethod
    def _report(stage: Stage) -> StepReport:
        return StepReport(
            items_in=stage.items_in,
            items_out=stage.items_out,
            busy_s=stage.busy_s,
            counted=dict(stage.operator.counted()),
        )


class Reader:
    """A source; what it has read can be counted, so that another reader can go on."""

    def __init__(self, make_source: Callable[[], Source]) -> None:
        self.source = make_source()
        self._records: Iterator[Frame | Event] = iter(())
        self._first_index: dict[str, int] = {}
        self._after_ns: dict[str, int] = {}
        self._error: Exception | None = None

    def place(self) -> Place:
        return Place(os.getpid(), socket.gethostname())

    def open(self) -> tuple[list[StreamInfo], bool]:
        """What is known of the streams, and whether they are live."""
        streams = self.source.open()
        return streams, self.source.live

    def start(self, records: int, last: Mapping[str, tuple[int, int]]) -> None:
        """Go on behind the first `records` records.

        A recorded source gives them again and they are passed over. A live one goes on now: what
        was missed is missed, and its frames are numbered on from `last`: (index, time in ns).
        """
        self._records = map(_of_a_known_stream, self.source.read())
        if self.source.live:
            self._first_index = {stream_id: index + 1 for stream_id, (index, _) in last.items()}
            self._after_ns = {stream_id: time_ns for stream_id, (_, time_ns) in last.items()}
            return
        for _ in range(records):
            next(self._records, None)

    def read(self, count: int) -> tuple[Any, ...]:
        """Up to `count` records, packed, with whether the source has ended; and `count` images,
        None where there is none."""
        images: list[Image] = []
        records: list[Frame | Event] = []
        ended = False
        if self._error is not None:
            raise self._error
        while len(records) < count:
            try:
                record = next(self._records, None)
            except Exception as error:
                if not records:
                    raise
                self._error = error  # what came before it is not lost
                break
            if record is None:
                ended = True
                break
            if not isinstance(record, Frame):
                records.append(record)
            elif record.time_ns > self._after_ns.get(record.stream_id, record.time_ns - 1):
                first = self._first_index.get(record.stream_id, 0)
                records.append(replace(record, index=record.index + first) if first else record)

        def label(image: Image) -> tuple[Any, ...]:
            images.append(image)
            return ("new", len(images) - 1, image.shape)

        packed = pack((records, ended), label)
        return (packed, *images, *[None] * (count - len(images)))

    def close(self) -> None:
        self.source.close()


def _of_a_known_stream(record: Frame | Event | StreamInfo | StreamLeft) -> Frame | Event:
    if isinstance(record, StreamInfo | StreamLeft):
        raise ContractError(f"stream {record.stream_id!r}: on Ray no stream joins or leaves a run")
    return record


def _difference(now: StepReport, before: StepReport) -> StepReport:
    return StepReport(
        items_in=now.items_in - before.items_in,
        items_out=now.items_out - before.items_out,
        busy_s=now.busy_s - before.busy_s,
        counted=dict(Counter(now.counted) - Counter(before.counted)),
    )
