"""The contracts: Source, Operator, Sink. Everything a pipeline is made of is one of the three.

A class is configured by its constructor: the signature is the schema of its `with:` block. It
must be cheap; what costs (opening files, loading weights) belongs into `open` or `setup`, which
run in the worker.

An edge carries those record types of the upstream that the reader takes. Which types these are
is read from the type annotations: `Operator[In, Out]` and `Sink[In]`, where In and Out may be
unions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from streamer.records import Event, Frame, Record, StreamInfo, StreamLeft

In = TypeVar("In", bound=Record)
Out = TypeVar("Out", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one worker of a step needs. `labels` name the nodes it may run on."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.cpus, self.gpus, self.memory_bytes) < 0:
            raise ValueError("cpus, gpus and memory_bytes are at least 0")


class Source(ABC):
    """Frames of one or more streams, pulled by the executor.

    `live` decides what a full queue means: False (files) blocks the reader, nothing is lost;
    True (cameras) drops the oldest frames and counts them.
    """

    live: ClassVar[bool] = False
    resources: ClassVar[Resources] = Resources(cpus=0.5)

    @abstractmethod
    def open(self) -> list[StreamInfo]:
        """Check and open the input; says what is known of its streams.

        Raises:
            InputError: with one line that names the input, what is wrong and what to do.
        """

    @abstractmethod
    def read(self) -> Iterator[Frame | Event | StreamInfo | StreamLeft]:
        """Frames in the order of time, per stream with strictly increasing `time_ns`.

        A live source may give the StreamInfo of a stream that joins, before anything of it, and
        StreamLeft when one leaves; a stream that has left does not come again.

        An input that breaks in the middle is not an exception: everything decodable is yielded,
        then an Event of kind `input_error` with `data={"reason": ...}` says where and why.
        """

    def interrupt(self) -> None:  # noqa: B027 - most sources never wait for long
        """Make `read` end soon, although nothing comes; called from another thread, any number of
        times."""

    def close(self) -> None:  # noqa: B027 - nothing to release is the common case
        """Release files and handles; called once, also after an error in `open`."""


class Operator(ABC, Generic[In, Out]):
    """A step between source and sinks.

    `keyed`: one worker owns a stream and sees its items in order (trackers). Otherwise workers
    are a pool and items of a stream may go to any of them (captioning).
    `delay_ns`: of a keyed one that looks ahead: what it makes lies at most so far before the item
    that it was given last; whoever merges it with others waits for it.
    `forgets_at_cuts`: from the frame of a `cut` event on, a keyed one makes what a new one would
    make, but for the numbers of tracks and frames.
    """

    resources: ClassVar[Resources] = Resources()
    batch_size: int = 1
    keyed: ClassVar[bool] = False
    delay_ns: int = 0
    forgets_at_cuts: bool = False

    def setup(self) -> None:
        """Runs once in the worker before the first item: load weights, open devices."""

    @abstractmethod
    def process(self, items: Sequence[In]) -> list[Out]:
        """Work on 1..batch_size items. The outputs of a batch must not depend on how the items
        were cut into batches, and their `order_ns` must not lie before the first item's; with
        `delay_ns`, not further before the last item of the batch before."""

    def flush(self, stream_id: str) -> list[Out]:
        """End of a stream: whatever is still held back."""
        return []

    def counted(self) -> Mapping[str, int]:
        """What it has counted so far, for the metrics: "tokens", say."""
        return {}

    def snapshot(self, stream_id: str) -> bytes:
        """The state of a stream, so that another worker can go on with it."""
        return b""

    def restore(self, stream_id: str, state: bytes) -> None:
        """The inverse of `snapshot`."""

    def close(self) -> None:
        """Must survive a failed `setup`."""


class Sink(ABC, Generic[In]):
    """Where records end. Idempotent by record id.

    `ordered`: records of several steps arrive merged by `order_ns` (per stream), the same in
    every run; an unordered sink gets each record at once.
    """

    ordered: bool = False
    one_stream: ClassVar[bool] = False  # it has no place for a second one
    from_records: ClassVar[bool] = False  # it needs no pictures: stored records give the same

    def open(self, streams: Sequence[StreamInfo]) -> None:
        """Check that the output can be written and open it.

        Raises:
            OutputError: with one line that names the output, what is wrong and what to do.
        """

    def join(self, info: StreamInfo) -> None:
        """A stream has joined a live run; called before its first record is written."""

    @abstractmethod
    def write(self, record: In) -> None: ...

    def flush(self) -> None:
        """After this, everything written so far survives a crash of the process."""

    def close(self) -> None:
        """Finish the output; the result must be valid even when the run was interrupted."""
