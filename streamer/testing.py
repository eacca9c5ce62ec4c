"""For tests of one's own parts: sources and sinks in memory, and checks of the contracts.

def test_my_operator():
    check_operator(lambda: MyOperator(threshold=3), frames)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from streamer.errors import ContractError
from streamer.geometry import Viewport
from streamer.interfaces import Operator, Sink, Source
from streamer.records import Caption, Event, Frame, Record, StreamInfo, StreamLeft, TrackedFrame


class ListSource(Source):
    """Frames and events from a list."""

    def __init__(self, records: Sequence[Frame | Event]) -> None:
        self.records = list(records)
        self.closed = 0

    def open(self) -> list[StreamInfo]:
        infos: dict[str, StreamInfo] = {}
        for record in self.records:
            if isinstance(record, Frame) and record.stream_id not in infos:
                height, width = record.hw
                infos[record.stream_id] = StreamInfo(
                    stream_id=record.stream_id, uri="list:", width_px=width, height_px=height
                )
        return list(infos.values())

    def read(self) -> Iterator[Frame | Event]:
        return iter(self.records)

    def close(self) -> None:
        self.closed += 1


class LiveListSource(ListSource):
    """The same as a camera would give it: who is too slow loses frames."""

    live: ClassVar[bool] = True


class ListSink(Sink[Frame | TrackedFrame | Caption | Event]):
    """Keeps what it is given."""

    ordered = True

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.flushed = 0
        self.closed = 0

    def write(self, record: Frame | TrackedFrame | Caption | Event) -> None:
        self.records.append(record)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1


def describe(record: Record) -> Any:
    """Plain data that is equal for equal records, pictures included."""
    if isinstance(record, (Caption, Event)):
        return record.to_json()
    if isinstance(record, Frame):
        return ("frame", record.stream_id, record.index, record.time_ns, record.image.tobytes())
    if isinstance(record, TrackedFrame):
        return ("tracked", describe(record.frame), record.regions)
    return ("request", describe(record.frame), record.asked_ns, record.regions, record.why)


def check_source(make: Callable[[], Source]) -> list[Frame | Event]:
    """Open, read, close, twice; returns what was read.

    Raises:
        ContractError: for unknown streams, times that do not increase, frames of another size
            than their viewport's canvas allows, or a second reading that differs.
    """
    first = _read(make())
    if [describe(r) for r in _read(make())] != [describe(r) for r in first]:
        raise ContractError("two readings of the same source differ")
    return first


def _read(source: Source) -> list[Frame | Event]:
    try:
        known = {info.stream_id for info in source.open()}
        last_ns: dict[str, int] = {}
        records = []
        for record in source.read():
            if isinstance(record, StreamInfo | StreamLeft):
                raise ContractError("only live sources let streams join and leave")
            if record.stream_id not in known:
                raise ContractError(f"{record!r} is of a stream that open() did not name")
            if isinstance(record, Frame):
                before = last_ns.get(record.stream_id)
                if before is not None and record.time_ns <= before:
                    raise ContractError(f"{record!r} does not come after {before} ns")
                last_ns[record.stream_id] = record.time_ns
            records.append(record)
        return records
    finally:
        source.close()
        source.close()  # closing twice does no harm


def check_operator(make: Callable[[], Operator[Any, Any]], items: Sequence[Record]) -> list[Record]:
    """Run items of one stream through an operator in all ways an executor may; returns what it
    makes of them.

    Raises:
        ContractError: when `close` does not survive a missing setup, when outputs depend on how
            the items are cut into batches, come before what caused them, or when a restored
            worker goes on differently than the one whose state it took over.
    """
    make().close()
    stream_id = items[0].stream_id
    whole = _run(make, items, stream_id, [len(items)])
    single = _run(make, items, stream_id, [1] * len(items))
    if whole != single:
        raise ContractError("the outputs depend on how the items are cut into batches")
    outputs = _single(make, items, stream_id)
    for half in (len(items) // 3, 2 * len(items) // 3):
        if _moved(make, items, stream_id, half) != [describe(r) for r in outputs]:
            raise ContractError(
                f"snapshot and restore after {half} items change what comes after them"
            )
    return outputs


def _run(
    make: Callable[[], Operator[Any, Any]],
    items: Sequence[Record],
    stream_id: str,
    sizes: list[int],
) -> list[Any]:
    operator = make()
    operator.setup()
    try:
        outputs: list[Any] = []
        at = 0
        for size in sizes:
            batch = items[at : at + size]
            first_ns = batch[0].order_ns
            if operator.delay_ns:
                first_ns = items[max(0, at - 1)].order_ns - operator.delay_ns
            at += size
            made = operator.process(batch)
            for record in made:
                if record.order_ns < first_ns:
                    raise ContractError(f"{record!r} comes before the item that caused it")
            outputs += made
        outputs += operator.flush(stream_id)
        return [describe(record) for record in outputs]
    finally:
        operator.close()


def _single(
    make: Callable[[], Operator[Any, Any]], items: Sequence[Record], stream_id: str
) -> list[Record]:
    operator = make()
    operator.setup()
    try:
        made = [record for item in items for record in operator.process([item])]
        return [*made, *operator.flush(stream_id)]
    finally:
        operator.close()


def _moved(
    make: Callable[[], Operator[Any, Any]], items: Sequence[Record], stream_id: str, half: int
) -> list[Any]:
    first, second = make(), make()
    first.setup()
    second.setup()
    try:
        made = [record for item in items[:half] for record in first.process([item])]
        second.restore(stream_id, first.snapshot(stream_id))
        made += [record for item in items[half:] for record in second.process([item])]
        return [describe(record) for record in [*made, *second.flush(stream_id)]]
    finally:
        first.close()
        second.close()


def check_sink(
    make: Callable[[], Sink[Any]],
    streams: Sequence[StreamInfo],
    records: Sequence[Record],
    read_back: Callable[[], Any],
) -> Any:
    """Write records once, and once more with every record doubled; returns what `read_back` gives.

    Raises:
        ContractError: when doubled records change the result, or closing unopened fails.
    """
    make().close()
    results = []
    for times in (1, 2):
        sink = make()
        sink.open(streams)
        try:
            for record in records:
                for _ in range(times):
                    sink.write(record)
            sink.flush()
        finally:
            sink.close()
        results.append(read_back())
    if results[0] != results[1]:
        raise ContractError("records that are written twice are kept twice")
    return results[0]


def frames_of(
    images: Sequence[Any], *, stream_id: str = "test", step_ns: int = 40_000_000, first_ns: int = 0
) -> list[Frame]:
    """Frames of HxWx3 uint8 pictures, `step_ns` apart."""
    return [
        Frame(
            stream_id=stream_id,
            index=i,
            time_ns=first_ns + i * step_ns,
            image=image,
            viewport=Viewport.whole(*image.shape[:2]),
        )
        for i, image in enumerate(images)
    ]


def renamed(frame: Frame, stream_id: str) -> Frame:
    """The same frame in another stream."""
    return replace(frame, stream_id=stream_id)
