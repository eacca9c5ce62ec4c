"""A worker's place in the graph: the process that fills it, what it was asked, what it holds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamer.errors import StreamerError
from streamer.executors.freight import Picture, Shelf, pack, unpack
from streamer.executors.members import Cluster, Gone, MachineGone, Member, Mislaid
from streamer.executors.parcel import Parcel
from streamer.executors.worker import Done, Place
from streamer.interfaces import Resources

Post = Callable[[Callable[[], None]], None]
"""Have something done on the hub's thread."""


@dataclass(eq=False)
class Call:
    """What a worker is asked to do; `made` is None until it is known."""

    number: int
    parcels: list[Parcel]
    made: deque[Parcel] | None = None
    deaths: int = 0
    counted: bool = False

    @property
    def place(self) -> str:
        """Where in the media it is, for people."""
        parcel = self.parcels[-1]
        return f"stream {parcel.stream_id!r} at {parcel.watermark_ns / 1e9:.3f} s"


@dataclass(eq=False)
class _Asked:
    """A question, and its answer once it has come."""

    then: Callable[[Any], None]
    lost: Callable[[Seat, Exception], None]
    answer: tuple[Any] | None = None


@dataclass(eq=False)
class Seat:
    """A process that was hired for a worker's place.

    A process that has died leaves its seat for good; another one gets a new seat, so that a late
    answer of the first cannot be taken for one of the second.
    """

    member: Member
    hired_s: float = field(default_factory=time.monotonic)
    place: Place | None = None
    ready: bool = False
    gone: bool = False
    calls: list[Call] = field(default_factory=list)
    held: dict[int, Picture] = field(default_factory=dict)
    idle_since_s: float = field(default_factory=time.monotonic)
    _asked: deque[_Asked] = field(default_factory=deque)

    def ask(
        self,
        post: Post,
        method: str,
        *arguments: Any,
        handles: list[Any] | None = None,
        results: int = 1,
        then: Callable[[Any], None],
        lost: Callable[[Seat, Exception], None],
    ) -> list[Any]:
        """Ask the process; `then` runs on the hub's thread, with the result, in the order of the
        questions: large answers travel slower than small ones, and what a process holds is known
        from its last.

        Args:
            lost: gets `Gone` or `Mislaid` instead; other exceptions are raised on that thread.
        """

        asked = _Asked(then, lost)
        self._asked.append(asked)

        def answered(answer: Any) -> None:
            asked.answer = (answer,)
            while self._asked and self._asked[0].answer and not self.gone:
                self._hear(self._asked.popleft())

        return self.member.ask(
            method,
            *arguments,
            handles=handles or [],
            results=results,
            then=lambda answer: post(lambda: answered(answer)),
        )

    def _hear(self, asked: _Asked) -> None:
        assert asked.answer is not None
        (answer,) = asked.answer
        if isinstance(answer, (Gone, Mislaid)):
            asked.lost(self, answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            asked.then(answer)

    def leave(self) -> list[Call]:
        """The process is of no use any more; what it had been asked and has not answered."""
        self.gone = True
        self.member.dismiss()
        self.held.clear()
        calls, self.calls = self.calls, []
        return calls


class Desk:
    """Sends calls to seats and takes their answers."""

    def __init__(
        self, name: str, cluster: Cluster, shelf: Shelf, post: Post, resources: Resources
    ) -> None:
        self.name = name
        self.cluster = cluster
        self.shelf = shelf
        self.post = post
        self.resources = resources
        self.failed_starts = 0

    def hire(
        self,
        label: str,
        make: Callable[[], Any],
        *,
        again: bool,
        placed: Callable[[Seat, Place], None],
        lost: Callable[[Seat, Exception], None],
    ) -> Seat:
        """A new seat whose process is being started."""
        seat = Seat(self.cluster.hire(label, make, self.resources, again=again))
        seat.ask(self.post, "place", then=lambda place: placed(seat, place), lost=lost)
        return seat

    def has_room(self) -> bool:
        """Whether one more process would find its resources free."""
        return self.cluster.has_room(self.resources)

    def send(
        self,
        seat: Seat,
        call: Call,
        *,
        done: Callable[[Seat, Call, Done], None],
        lost: Callable[[Seat, Exception], None],
    ) -> None:
        """Ask a seat to do a call."""
        pictures: dict[int, Picture] = {}

        def label(picture: Picture) -> int:
            pictures[picture.number] = picture
            return picture.number

        packed = pack(call.parcels, label)
        seat.calls.append(call)

        def then(answer: Done) -> None:
            known = {**seat.held, **pictures}
            seat.held = {n: known[n] for n in answer.in_use if n in known}
            if call.made is not None:
                self._finish(seat, call)
                done(seat, call, answer)
            elif answer.new_images:
                self._collect(seat, call, answer, known, done, lost)
            else:
                call.made = self._unpacked(answer, known, [])
                self._finish(seat, call)
                done(seat, call, answer)

        numbers = list(pictures)
        handles = [pictures[number].handle for number in numbers]
        seat.ask(
            self.post, "take", call.number, packed, numbers, call.made is not None,
            handles=handles, then=then, lost=lost,
        )  # fmt: skip

    def start_error(self, seat: Seat, why: Exception) -> StreamerError | None:
        """What to say when workers of this step cannot be started; None: try once more."""
        if seat.ready:
            self.failed_starts = 0
            return None
        if isinstance(why, MachineGone):  # a cluster may take a while to notice
            return None
        self.failed_starts += 1
        if self.failed_starts < 3:
            return None
        return StreamerError(
            f"{self.name}: its worker died {self.failed_starts} times while it was started "
            f"({why}); look at the memory of the machine and at the step's setup()"
        )

    def _collect(
        self,
        seat: Seat,
        call: Call,
        answer: Done,
        known: dict[int, Picture],
        done: Callable[[Seat, Call, Done], None],
        lost: Callable[[Seat, Exception], None],
    ) -> None:
        def then(_: Any) -> None:
            call.made = self._unpacked(answer, known, handles)
            self._finish(seat, call)
            done(seat, call, answer)

        results = 1 + answer.new_images
        _, *handles = seat.ask(
            self.post, "collect", call.number, results=results, then=then, lost=lost
        )

    def _unpacked(
        self, answer: Done, known: dict[int, Picture], handles: list[Any]
    ) -> deque[Parcel]:
        new: dict[int, Picture] = {}

        def find(label: tuple[Any, ...]) -> Picture:
            if label[0] == "known":
                return known[label[1]]
            _, at, shape = label
            if at not in new:
                new[at] = self.shelf.add(shape, handles[at])
            return new[at]

        return deque(unpack(answer.parcels, find))

    @staticmethod
    def _finish(seat: Seat, call: Call) -> None:
        seat.calls.remove(call)
        if not seat.calls:
            seat.idle_since_s = time.monotonic()
