"""The workers of a group of steps as the hub sees them: a queue, calls, results in their order.

A lane of keyed steps has one worker and remembers what it was asked since its last snapshot; when
the worker dies, the next one gets the snapshot and is asked all that again. A lane of stateless
steps is a pool that grows with its queue; what a dead worker had not answered, others are asked.
Either way each call's results leave once, in the order of the calls.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from streamer.errors import StreamerError
from streamer.executors.fusion import Group
from streamer.executors.members import MachineGone, Mislaid
from streamer.executors.merge import Merge
from streamer.executors.parcel import Inbox
from streamer.executors.seat import Call, Desk, Seat
from streamer.executors.worker import Done, Place, State, Worker
from streamer.pipeline import takes_events

if TYPE_CHECKING:
    from streamer.executors.hub import Hub

_PIPELINED = 2  # calls that a worker has at once, so that it never waits for the hub
_CARGO = 4  # parcels that a keyed worker gets in a call when they wait: a call costs milliseconds
_MOST_DEATHS = 3  # of workers at the same call
_IDLE_S = 10.0  # after which a worker that a pool had grown by goes


class Lane:
    """Takes parcels in at `inbox`, gives what becomes of them to the hub."""

    def __init__(self, hub: Hub, group: Group, name: str, workers: int, most: int) -> None:
        self.hub = hub
        self.group = group
        self.name = name
        self.workers = workers
        self.most = most
        self.open_streams = 0
        self.inbox = Inbox(hub.queue_size, tells=takes_events(group.first))
        self.seats: list[Seat] = []
        senders = sorted(group.first.inputs, key=hub.pipeline.rank)
        self._merge = Merge(senders)
        step = f"step {group.name!r}"
        self._desk = Desk(step, hub.cluster, hub.shelf, hub.post, group.resources)
        self._cargo = 1
        self._number = 0
        self._unsent: deque[Call] = deque()
        self._waiting: deque[Call] = deque()
        self._log = _Log() if group.keyed else None

    @property
    def done(self) -> bool:
        """Whether all streams have come to their end here and everything has left."""
        return not (self.open_streams or self._waiting)

    @property
    def full(self) -> bool:
        """Whether there is no room in its queue."""
        return len(self.inbox) >= self.inbox.size

    @property
    def idle(self) -> bool:
        """Whether nothing is being worked on or waits to be."""
        return not (self._waiting or self._unsent or len(self.inbox))

    @property
    def ready(self) -> bool:
        """Whether the workers that it starts with are set up."""
        return sum(seat.ready for seat in self.seats) >= self.workers

    def hire(self, *, again: bool = False) -> None:
        """Start one more worker, or another one in the place of one that died."""
        make = partial(Worker, self.group)
        seat = self._desk.hire(self.name, make, again=again, placed=self._placed, lost=self._lost)
        self.seats.append(seat)
        state = self._log.state if self._log else None
        seat.ask(self.hub.post, "setup", then=lambda _: self._set_up(seat), lost=self._lost)
        if state is not None:
            seat.ask(self.hub.post, "restore", state, then=lambda _: None, lost=self._lost)

    def pump(self) -> bool:
        """Let results out and send calls, as far as there is room; whether anything left."""
        moved = self._let_out()
        self._send()
        return moved

    def tick(self) -> None:
        """Now and then: grow, shrink, and find out what hangs."""
        now_s = time.monotonic()
        for seat in list(self.seats):
            if seat.place is None and now_s - seat.hired_s > self.hub.start_timeout_s:
                if len(self.seats) > self.workers:  # others took the room that it was to grow into
                    seat.leave()
                    self.seats.remove(seat)
                    continue
                raise StreamerError(
                    f"{self._desk.name} asks for {describe(self.group)}, and its worker did not "
                    f"start in {self.hub.start_timeout_s:g} s: no node has room for it, or all are "
                    "overloaded; free some, or ask for less"
                )
        busy = all(seat.ready and seat.calls for seat in self.seats)
        waited_for = busy and 2 * len(self.inbox) >= self.inbox.size
        if waited_for and len(self.seats) < self.most and self._desk.has_room():
            self.hire()
        for seat in self.seats[self.workers :]:
            if seat.ready and not seat.calls and now_s - seat.idle_since_s > _IDLE_S:
                seat.leave()
                self.seats.remove(seat)
                break

    def save(self) -> None:
        """Take a snapshot now, so that pictures that are kept for a repetition become free."""
        if self._log is not None and self._log.calls and not self._unsent:
            for seat in self.seats:
                if seat.ready:
                    self._snapshot(seat, self._log, self._log.calls[-1].number)

    def _placed(self, seat: Seat, place: Place) -> None:
        seat.place = place
        # the workers of a pool share what waits, the one of a keyed lane gets it all
        self._cargo = max(place.batch_size, _CARGO) if self.group.keyed else place.batch_size
        self.hub.placed(self.name, place)

    def _set_up(self, seat: Seat) -> None:
        seat.ready = True
        self._desk.failed_starts = 0

    def _send(self) -> None:
        while not self.hub.refilling and (seat := self._free_seat()):
            call = self._unsent.popleft() if self._unsent else self._next_call()
            if call is None:
                return
            self._desk.send(seat, call, done=self._answered, lost=self._lost)
            if self._log is not None and self._log.asked(call) >= self.hub.snapshot_every:
                self._snapshot(seat, self._log, call.number)

    def _free_seat(self) -> Seat | None:
        """The ready seat with the fewest calls, if one may have another."""
        ready = [seat for seat in self.seats if seat.ready and len(seat.calls) < _PIPELINED]
        return min(ready, key=lambda seat: len(seat.calls), default=None)

    def _next_call(self) -> Call | None:
        # a slow call must not let those behind it pile up without end
        if not len(self.inbox) or len(self._waiting) >= 2 * _PIPELINED * len(self.seats):
            return None
        _, parcels = self.inbox.get(self._cargo)
        merged = [self._merge.push(parcel) for parcel in parcels]
        self.open_streams -= merged[-1].end
        call = Call(self._number, merged)
        self._number += 1
        self._waiting.append(call)
        self.hub.left(self)
        return call

    def _answered(self, seat: Seat, call: Call, answer: Done) -> None:
        if call in self._waiting and not call.counted:
            call.counted = True
            self.hub.worked(answer.work)
        if self._log is not None:
            self._log.trim()

    def _let_out(self) -> bool:
        moved = False
        while self._waiting and self._waiting[0].made is not None:
            made = self._waiting[0].made
            while made and self.hub.emit(made[0]):
                made.popleft()
                moved = True
            if made:
                break
            self._waiting.popleft()
            moved = True
        if self.done and self._log is not None:
            self._log.calls.clear()
        return moved

    def _snapshot(self, seat: Seat, log: _Log, last: int) -> None:
        accept = log.begin(last)
        if accept is not None:
            seat.ask(self.hub.post, "snapshot", then=accept, lost=self._lost)

    def _lost(self, seat: Seat, why: Exception) -> None:
        reason = str(why)
        unanswered = seat.leave()
        self.seats.remove(seat)
        if self.done:
            return
        if isinstance(why, Mislaid):
            # it did not get the call, but may have got those behind it: another one starts anew
            self.hub.refill(reason)
        elif error := self._desk.start_error(seat, why):
            raise error
        first = next((call for call in unanswered if call.made is None), None)
        if first is not None and not isinstance(why, (Mislaid, MachineGone)):
            first.deaths += 1
            if first.deaths >= _MOST_DEATHS:
                raise StreamerError(
                    f"{self._desk.name}: {first.deaths} workers died of the same input, "
                    f"{first.place} ({reason}); leave that part out or give the step more memory"
                )
        if self._log is None:
            self._unsent.extendleft(reversed(unanswered))
        else:
            self._unsent = self._log.again()
        self.hub.restarted(self.name, reason)
        self.hire(again=True)


class _Log:
    """What a keyed worker was asked since the snapshot with which another could go on."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.calls: deque[Call] = deque()
        self._last_asked = -1
        self._saved_at = -1
        self._unsaved = 0  # parcels
        self._pending = False
        self._candidate: tuple[int, State] | None = None
        self._life = 0

    def asked(self, call: Call) -> int:
        """Remember a call; how many parcels there were since the last snapshot was asked for."""
        if call.number > self._last_asked:
            self.calls.append(call)
            self._last_asked = call.number
            self._unsaved += len(call.parcels)
        return 0 if self._pending else self._unsaved

    def begin(self, last: int) -> Callable[[State], None] | None:
        """A snapshot is being asked for, behind the call `last`; what to do with it."""
        if self._pending or last <= self._saved_at:
            return None
        self._pending, self._unsaved = True, 0
        life = self._life

        def accept(state: State) -> None:
            if life == self._life:
                self._candidate = (last, state)
                self.trim()

        return accept

    def trim(self) -> None:
        """Forget what a snapshot makes needless, once all that it holds has been answered."""
        if self._candidate is None:
            return
        last, state = self._candidate
        if any(call.made is None for call in self.calls if call.number <= last):
            return
        self.state, self._saved_at, self._candidate, self._pending = state, last, None, False
        while self.calls and self.calls[0].number <= last:
            self.calls.popleft()

    def again(self) -> deque[Call]:
        """The worker has died: what the next one is asked behind the snapshot."""
        self._life += 1
        self._pending, self._candidate = False, None
        return deque(self.calls)


def describe(group: Group) -> str:
    """What a worker of a group asks for, for people."""
    needs = group.resources
    parts = [f"{needs.cpus:g} CPU"]
    parts += [f"{needs.gpus:g} GPU"] if needs.gpus else []
    parts += [f"{needs.memory_bytes / 2**30:.1f} GiB of memory"] if needs.memory_bytes else []
    parts += [f"the label {key}={value}" for key, value in sorted(needs.labels.items())]
    return ", ".join(parts)
