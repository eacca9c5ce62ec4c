"""The workers of a step in one process: threads that share queues, and the order of their work."""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamer.executors.merge import Merge
from streamer.executors.parcel import Aborted, Inbox, Parcel
from streamer.executors.stage import Stage
from streamer.pipeline import Step, takes_events
from streamer.report import StepReport

if TYPE_CHECKING:
    from streamer.executors.local import Run


class _Lane:
    """A queue with its merge, and the turns in which what came through it goes on."""

    def __init__(self, run: Run, senders: list[str], inbox: Inbox) -> None:
        self.run = run
        self.inbox = inbox
        self.begun = 0  # streams; the reading thread counts them, ...
        self._ended = 0  # ... and who takes the last of them counts here
        self._merge = Merge(senders)
        self._taking = threading.Lock()
        self._turns = threading.Condition()
        self._turn = 0
        self._aborted = False

    def take(self, limit: int) -> tuple[int, list[Parcel]] | None:
        """The next merged parcels with the number of their turn; None when all streams ended."""
        with self._taking:
            number, parcels = self.inbox.get(limit, over=self._over)
            if not parcels:
                return None
            merged = [self._merge.push(parcel) for parcel in parcels]
            self._ended += merged[-1].end
            return number, merged

    def _over(self) -> bool:
        return not self.run.reading and self._ended == self.begun

    def in_turn(self, number: int, work: Callable[[], None]) -> None:
        """Run `work` when all earlier numbers have had their turn."""
        with self._turns:
            while self._turn != number and not self._aborted:
                self._turns.wait()
        if self._aborted:
            raise Aborted
        work()
        with self._turns:
            self._turn += 1
            self._turns.notify_all()

    def abort(self) -> None:
        self.inbox.abort()
        with self._turns:
            self._aborted = True
            self._turns.notify_all()


class Crew:
    """The workers of one step: one lane each when keyed, otherwise a pool on one lane."""

    def __init__(self, run: Run, step: Step, queue_size: int) -> None:
        self.run = run
        self.step = step
        self.stages = [Stage(step) for _ in range(step.workers)]
        senders = sorted(step.inputs, key=run.pipeline.rank)
        lanes = step.workers if step.operator.keyed else 1
        self.lanes = [
            _Lane(run, senders, Inbox(queue_size, tells=takes_events(step))) for _ in range(lanes)
        ]
        self._ready: threading.Barrier | None = None

    @property
    def inboxes(self) -> list[Inbox]:
        return [lane.inbox for lane in self.lanes]

    def begin(self, stream_id: str) -> None:
        """One more stream will come, and its end."""
        self._lane(stream_id).begun += 1

    def put(self, parcel: Parcel, *, drop_oldest: bool) -> None:
        """Queue a parcel; those of one stream always go to the same lane."""
        self._lane(parcel.stream_id).inbox.put(parcel, drop_oldest=drop_oldest)
        self.run.tally.queued[self.step.name] = sum(len(lane.inbox) for lane in self.lanes)
        self.run.tally.dropped[self.step.name] = sum(lane.inbox.gaps.dropped for lane in self.lanes)

    def threads(self, ready: threading.Barrier) -> list[threading.Thread]:
        """A thread for every worker; each waits at the barrier when it is set up."""
        self._ready = ready
        lanes = self.lanes * (len(self.stages) // len(self.lanes))
        return [
            self.run.thread(f"{self.step.name} {i}", self._work, stage, lane, ready)
            for i, (stage, lane) in enumerate(zip(self.stages, lanes, strict=True))
        ]

    def report(self) -> StepReport:
        return StepReport(
            items_in=sum(stage.items_in for stage in self.stages),
            items_out=sum(stage.items_out for stage in self.stages),
            busy_s=round(sum(stage.busy_s for stage in self.stages), 3),
            counted=dict(sum((Counter(s.operator.counted()) for s in self.stages), Counter())),
        )

    def abort(self) -> None:
        if self._ready is not None:
            self._ready.abort()
        for lane in self.lanes:
            lane.abort()

    def closers(self) -> list[Callable[[], None]]:
        return [stage.close for stage in self.stages]

    def _lane(self, stream_id: str) -> _Lane:
        return self.lanes[zlib.crc32(stream_id.encode()) % len(self.lanes)]

    def _work(self, stage: Stage, lane: _Lane, ready: threading.Barrier) -> None:
        stage.setup()
        try:
            ready.wait()
        except threading.BrokenBarrierError:
            return
        while (taken := lane.take(stage.operator.batch_size)) is not None:
            number, parcels = taken
            begun_s = time.perf_counter()
            made = stage.take(parcels)
            self.run.tally.count(self.step.name, stage.newly_counted())
            self.run.tally.took("step", self.step.name, time.perf_counter() - begun_s)
            lane.in_turn(number, lambda: self._emit(made))  # noqa: B023 - runs before the next turn

    def _emit(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            self.run.emit(parcel)
