"""The hub's side of the source: asks the reader for records ahead, lets them out in order."""

from __future__ import annotations

import weakref
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from streamer.errors import ContractError, StreamerError
from streamer.executors.freight import Picture, unpack
from streamer.executors.members import MachineGone
from streamer.executors.parcel import Parcel
from streamer.executors.seat import Desk, Seat
from streamer.executors.worker import Place, Reader
from streamer.pipeline import SOURCE
from streamer.records import Event, Frame, StreamInfo

if TYPE_CHECKING:
    from streamer.executors.hub import Hub

_PIPELINED = 2  # requests that the reader has at once
_CHUNK = 4  # records in one; a live source gives each at once
_MOST_REFILLS = 5  # without a new record between them


@dataclass(eq=False)
class _Request:
    records: list[Frame | Event] | None = None
    ended: bool = False


class Reading:
    """The source of a run."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.live = False
        self.streams: list[StreamInfo] | None = None
        self.seat: Seat | None = None
        source = hub.pipeline.make_source()
        self._desk = Desk("the source", hub.cluster, hub.shelf, hub.post, source.resources)
        self._requests: deque[_Request] = deque()
        self._backlog: deque[Frame | Event] = deque()
        self._started = False
        self._lost_pictures = False
        self._ended = False
        self._ends: deque[Parcel] | None = None
        self._read = 0  # records taken from the source so far
        self._at = 0  # of them, those that the present reader has given: less while refilling
        self._out: weakref.WeakValueDictionary[int, Picture] = weakref.WeakValueDictionary()
        self._last: dict[str, tuple[int, int]] = {}
        self._last_ns: dict[str, int] = {}
        self._deaths_at: tuple[int, int] = (-1, 0)
        self._refilled_at: tuple[int, int] = (-1, 0)

    @property
    def done(self) -> bool:
        """Whether everything has been let out, the ends of the streams included."""
        return self._ends is not None and not self._ends

    def hire(self) -> None:
        """Start the reader and open the source."""
        make = partial(Reader, self.hub.pipeline.make_source)
        again = self.seat is not None
        self.seat = self._desk.hire(SOURCE, make, again=again, placed=self._placed, lost=self._lost)
        self.seat.ask(self.hub.post, "open", then=self._opened, lost=self._lost)

    def start(self) -> None:
        """Begin to read, where the reader before came to."""
        self._started = True
        self._at = self._resume_at()
        if self.seat is not None and self.streams is not None and not self.seat.ready:
            self.seat.ask(
                self.hub.post, "start", self._at, self._last,
                then=lambda _: None, lost=self._lost,
            )  # fmt: skip
            self.seat.ready = True

    @property
    def refilling(self) -> bool:
        """Whether pictures that were lost are being read again."""
        return self._lost_pictures

    def refill(self, reason: str) -> None:
        """Read again all pictures that are still wanted.

        Raises:
            StreamerError: when the source is live and cannot be read again, or that does not help.
        """
        if self._lost_pictures or self.seat is None:
            return
        if self.live:
            raise StreamerError(f"frames of a live source are lost with their machine ({reason})")
        at, times = self._refilled_at
        self._refilled_at = (self._read, times + 1 if at == self._read else 1)
        if self._refilled_at[1] > _MOST_REFILLS:
            raise StreamerError(
                f"the same pictures were lost {self._refilled_at[1]} times ({reason}); look at the "
                "machines of the cluster and their object stores"
            )
        self._lost_pictures = True
        self.seat.leave()
        self._requests.clear()
        self.hub.restarted(SOURCE, reason)
        self.hire()

    def pump(self) -> bool:
        """Let records out as far as there is room, and ask for more; whether any left."""
        moved = False
        if self.hub.stop.is_set() and self._started and not self._ended:
            self._ended = True
            self._backlog.clear()
        while self._backlog and self._let_out(self._backlog[0]):
            self._backlog.popleft()
            moved = True
        if self._ended and not self._backlog and self._ends is None:
            self._ends = deque(
                Parcel(SOURCE, stream_id, order_ns, (), end=True)
                for stream_id, order_ns in self._last_ns.items()
            )
        while self._ends and self.hub.emit(self._ends[0]):
            self._ends.popleft()
            moved = True
        self._ask()
        return moved

    def _ask(self) -> None:
        count = 1 if self.live else _CHUNK
        while (
            self.seat is not None
            and self.seat.ready
            and len(self._requests) < _PIPELINED
            and (self._lost_pictures or self._may_ask(count))
        ):
            request = _Request()
            self._requests.append(request)
            handles: list[Any] = []
            handles += self.seat.ask(
                self.hub.post,
                "read",
                count,
                results=1 + count,
                then=partial(self._received, request, handles),
                lost=self._lost,
            )

    def _may_ask(self, count: int) -> bool:
        if self._ended or len(self._backlog) > count:
            return False
        return self.live or self.hub.may_read(len(self._requests) * count)

    def _received(self, request: _Request, handles: list[Any], packed: bytes) -> None:
        def find(label: tuple[Any, ...]) -> Picture:
            _, at, shape = label
            return self.hub.shelf.add(shape, handles[1 + at])

        request.records, request.ended = unpack(packed, find)
        while self._requests and self._requests[0].records is not None:
            first = self._requests.popleft()
            for record in first.records or ():
                self._take(record)
            if self._lost_pictures and (self._at >= self._read or first.ended):
                self._lost_pictures = False
            self._ended = self._ended or first.ended

    def _take(self, record: Frame | Event) -> None:
        """The reader's next record: one to pass on, or one that was and is there again."""
        at, self._at = self._at, self._at + 1
        picture = cast(Any, record.image) if isinstance(record, Frame) else None
        if at < self._read:
            before = self._out.get(at)
            if before is not None and picture is not None:
                before.handle = picture.handle
            return
        if self._ended:
            return
        self._read += 1
        if isinstance(record, Frame):
            self._last[record.stream_id] = (record.index, record.time_ns)
            self._out[at] = cast(Any, picture)
        self._backlog.append(record)

    def _resume_at(self) -> int:
        """The record from which a new reader has to read."""
        return min(self._out, default=self._read) if self._lost_pictures else self._read

    def _let_out(self, record: Frame | Event) -> bool:
        stream_id = record.stream_id
        if stream_id not in self._last_ns:
            raise ContractError(f"the source gave a record of unknown stream {stream_id!r}")
        order_ns = max(record.order_ns, self._last_ns[stream_id])
        parcel = Parcel(SOURCE, stream_id, order_ns, ((order_ns, record),))
        if not self.hub.emit(parcel):
            return False
        self._last_ns[stream_id] = order_ns
        if isinstance(record, Frame):
            self.hub.tally.frame(stream_id, record.time_ns)
        return True

    def _placed(self, seat: Seat, place: Place) -> None:
        seat.place = place
        self.hub.placed(SOURCE, place)

    def _opened(self, answer: tuple[list[StreamInfo], bool]) -> None:
        self._desk.failed_starts = 0
        if self.streams is None:
            self._last_ns = {info.stream_id: 0 for info in answer[0]}
        self.streams, self.live = answer
        if self._started:
            self.start()

    def _lost(self, seat: Seat, why: Exception) -> None:
        seat.leave()
        self._requests.clear()
        if self._ended and not self._lost_pictures:
            return
        if error := self._desk.start_error(seat, why):
            raise error
        at, deaths = self._deaths_at
        if not isinstance(why, MachineGone):
            self._deaths_at = (self._read, deaths + 1 if at == self._read else 1)
        if self._deaths_at[1] >= 3:
            raise StreamerError(
                f"the reader of the source died {self._deaths_at[1]} times behind "
                f"{self._read} records ({why}); leave that part of the input out"
            )
        self.hub.restarted(SOURCE, str(why))
        self.hire()
