"""The two ends of a graph at work: its source and its sinks. All executors run them through this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event as Flag
from typing import Any

from streamer.errors import ContractError, InputError, OutputError
from streamer.executors.guard import blaming_disk
from streamer.executors.merge import Merge
from streamer.executors.parcel import BEFORE_ALL_NS, Parcel
from streamer.interfaces import Sink, Source
from streamer.pipeline import SOURCE, Output, Pipeline
from streamer.records import Frame, StreamInfo
from streamer.report import Tally


class Inlet:
    """The source."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.source: Source = pipeline.make_source()
        self.stopped = False

    def open(self) -> tuple[StreamInfo, ...]:
        """Open the input.

        Raises:
            InputError: as the source raised it.
            ContractError: for anything else, and for two streams of one name.
        """
        with blaming_disk("the source", "open", InputError):
            streams = tuple(self.source.open())
        names = [info.stream_id for info in streams]
        for name in names:
            if names.count(name) > 1:
                raise ContractError(f"the source opens two streams of the name {name!r}")
        return streams

    def parcels(self, tally: Tally, stop: Flag | None = None) -> Iterator[Parcel]:
        """Everything that is read, one record a parcel, then the end of each stream; when `stop`
        is set, the end comes at once.

        Raises:
            InputError: when the system cannot read on.
            ContractError: for a record of a stream that `open` did not name, or a bug.
        """
        last_ns = {info.stream_id: BEFORE_ALL_NS for info in tally.streams}
        with blaming_disk("the source", "read", InputError):
            for record in self.source.read():
                if stop is not None and stop.is_set():
                    self.stopped = True
                    break
                stream_id = record.stream_id
                if stream_id not in last_ns:
                    raise ContractError(
                        f"the source gave a record of stream {stream_id!r}, which it did not open"
                    )
                if isinstance(record, Frame):
                    tally.frame(stream_id, record.time_ns)
                last_ns[stream_id] = max(record.order_ns, last_ns[stream_id])
                item = (last_ns[stream_id], record)
                yield Parcel(SOURCE, stream_id, last_ns[stream_id], (item,))
        for stream_id, order_ns in last_ns.items():
            yield Parcel(SOURCE, stream_id, order_ns, (), end=True)

    def close(self) -> None:
        """Give back what the source holds."""
        with blaming_disk("the source", "close", InputError):
            self.source.close()


class Outlet:
    """A sink, with the merge before it."""

    def __init__(self, pipeline: Pipeline, output: Output) -> None:
        self.output = output
        self.sink: Sink[Any] = output.make()
        self._part = f"sink {output.name!r}"
        self._opened = False
        self._senders = sorted(output.inputs, key=pipeline.rank)
        self._merge = Merge(self._senders) if self.sink.ordered else None
        self._open_ends = 0

    def open(self, streams: Sequence[StreamInfo]) -> None:
        """Open the output.

        Raises:
            OutputError: as the sink raised it.
            ContractError: for anything else.
        """
        self._opened = True
        self._open_ends = len(self._senders) * len(streams)
        with blaming_disk(self._part, "open", OutputError):
            self.sink.open(streams)

    @property
    def done(self) -> bool:
        """Whether every sender has ended every stream."""
        return not self._open_ends

    def take(self, parcel: Parcel) -> None:
        """Write what may be written now.

        Raises:
            OutputError: when the system cannot write on, or as the sink raised it.
            ContractError: for anything else.
        """
        self._open_ends -= parcel.end
        merged = self._merge.push(parcel) if self._merge else parcel
        if merged.records:
            with blaming_disk(self._part, "write", OutputError):
                for _, record in merged.records:
                    self.sink.write(record)

    def flush(self) -> None:
        """Make what was written survive a crash."""
        with blaming_disk(self._part, "flush", OutputError):
            self.sink.flush()

    def close(self) -> None:
        """Finish the output; nothing to do for one that was never opened."""
        if self._opened:
            with blaming_disk(self._part, "close", OutputError):
                self.sink.close()
