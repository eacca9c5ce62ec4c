"""Runs a graph whose parts are processes: who is asked what, what waits where, what died.

The hub lives in the process that started the run. It keeps everything that must not be lost: which
parcels are on their way, each step's last snapshot, and where the source has been read to.
The processes only compute, so any of them may die. Records pass through the hub, their pictures
do not. The sinks write here, each in its own thread.

Nothing here knows Ray; `Cluster` is what the hub needs of it.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from streamer.executors.freight import Shelf
from streamer.executors.fusion import grouped
from streamer.executors.lane import Lane
from streamer.executors.members import Cluster
from streamer.executors.parcel import Parcel
from streamer.executors.reading import Reading
from streamer.executors.seat import Seat
from streamer.executors.worker import Place
from streamer.executors.writing import Writer
from streamer.pipeline import Output, Pipeline, Step
from streamer.report import RunReport, StepReport, Tally

_TICK_S = 0.1
_CLOSING_S = 5.0


class Hub:
    """One run of a pipeline on a cluster.

    Args:
        queue_size: how many parcels may wait before a part.
        tally: counts to watch from outside while the run goes on.
        stop: when set, reading ends, everything in flight is finished and written.
        fuse: whether neighbouring light steps share a process.
        snapshot_every: how many parcels (a frame each, mostly) of a keyed worker lie between two
            snapshots.
        start_timeout_s: how long a worker may take to find a node with room and to start.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        cluster: Cluster,
        *,
        queue_size: int = 16,
        tally: Tally | None = None,
        stop: threading.Event | None = None,
        fuse: bool = True,
        snapshot_every: int = 32,
        start_timeout_s: float = 300.0,
    ) -> None:
        self.pipeline = pipeline
        self.cluster = cluster
        self.queue_size = queue_size
        self.tally = tally or Tally()
        self.stop = stop or threading.Event()
        self.snapshot_every = snapshot_every
        self.start_timeout_s = start_timeout_s
        self.shelf = Shelf()
        self._mail: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lanes: list[Lane] = []
        self._crews: dict[str, list[Lane]] = {}
        for group in grouped(pipeline, fuse=fuse):
            step = group.first
            crew = [
                Lane(self, group, f"{group.name}-{i}" if group.keyed else group.name, 1, 1)
                for i in range(step.workers if group.keyed else 1)
            ]
            if not group.keyed:
                crew[0].workers, crew[0].most = step.workers, step.max_workers or step.workers
            self._crews[step.name] = crew
            self._lanes += crew
        self._reading = Reading(self)
        self._writers = [Writer(self, output) for output in pipeline.outputs]
        nothing = StepReport(items_in=0, items_out=0, busy_s=0.0)
        self._work = {step.name: nothing for step in pipeline.steps}

    def run(self) -> RunReport:
        """Run to the end of the source.

        Raises:
            StreamerError: from a part; what the sinks had been given is written and closed first.
        """
        started_s = time.perf_counter()
        opened: list[Writer] = []
        failure: BaseException | None = None
        ready_s = ended_s = started_s
        try:
            self._reading.hire()
            self._until(lambda: self._reading.streams is not None)
            self.tally.streams = tuple(self._reading.streams or ())
            for writer in self._writers:
                opened.append(writer)
                writer.open()
            self._start_lanes()
            ready_s = time.perf_counter()
            for writer in self._writers:
                writer.start()
            self._reading.start()
            self._until(self._finished)
            ended_s = time.perf_counter()
            self._close_parts()
        except BaseException as error:
            failure = error
        for close in (*(writer.close for writer in opened), self._dismiss):
            try:
                close()
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure
        for lane in self._lanes:
            name = lane.group.first.name
            self.tally.dropped[name] = self.tally.dropped.get(name, 0) + lane.inbox.gaps.dropped
        return self.tally.report(
            wall_s=ended_s - ready_s,
            setup_s=ready_s - started_s,
            stopped=self.stop.is_set(),
            steps={n: replace(w, busy_s=round(w.busy_s, 3)) for n, w in self._work.items()},
        )

    def post(self, work: Callable[[], None]) -> None:
        """Have something done on the hub's thread; for any thread."""
        self._mail.put(work)

    def emit(self, parcel: Parcel) -> bool:
        """Send a step's parcel to all its readers, each what it takes; False when one of them has
        no room, and then to none of them."""
        readers: list[tuple[Step | Output, Lane | Writer]] = []
        for step in self.pipeline.steps:
            if parcel.sender in step.inputs and step.name in self._crews:
                readers.append((step, self._lane(step.name, parcel.stream_id)))
        for writer in self._writers:
            if parcel.sender in writer.output.inputs:
                readers.append((writer.output, writer))
        for _, part in readers:
            if part.full and not (self._reading.live and part.inbox.drop_oldest()):
                return False
        for node, part in readers:
            part.inbox.put(parcel.holding(self.pipeline.carried(parcel.sender, node)))
            self.tally.queued[node.name] = len(part.inbox)
        self.tally.made([record for _, record in parcel.records])
        return True

    def may_read(self, asked_for: int) -> bool:
        """Whether there is shared memory for more pictures, with so many asked for already."""
        info = self.tally.streams[0] if self.tally.streams else None
        coming = asked_for * info.width_px * info.height_px * 3 if info else 0
        if self.shelf.nbytes + coming <= self.cluster.picture_bytes:
            return True
        for lane in self._lanes:
            lane.save()
        # pictures may be held by a state that only further frames will change
        return all(lane.idle for lane in self._lanes) and not asked_for

    @property
    def refilling(self) -> bool:
        """Whether lost pictures are being read again; nothing is asked of the steps meanwhile."""
        return self._reading.refilling

    def refill(self, reason: str) -> None:
        """Pictures are lost, because their machine is: read them again."""
        self._reading.refill(reason)

    def left(self, lane: Lane) -> None:
        """A lane has taken a parcel out of its queue."""
        self.tally.queued[lane.group.first.name] = len(lane.inbox)

    def worked(self, work: Mapping[str, StepReport]) -> None:
        """A call was answered for the first time."""
        for name, report in work.items():
            self._work[name] = _plus(self._work[name], report)
            self.tally.took("step", name, report.busy_s)
            self.tally.count(name, report.counted)

    def placed(self, name: str, place: Place) -> None:
        """A worker's process runs."""
        self.tally.processes.setdefault(name, []).append(place.pid)

    def restarted(self, name: str, reason: str) -> None:
        """A worker's process has died and another one takes its place."""
        self.tally.restarted(name, reason)

    def _lane(self, step: str, stream_id: str) -> Lane:
        crew = self._crews[step]
        return crew[zlib.crc32(stream_id.encode()) % len(crew)]

    def _start_lanes(self) -> None:
        for info in self.tally.streams:
            for name in self._crews:
                self._lane(name, info.stream_id).open_streams += 1
        for lane in self._lanes:
            for _ in range(lane.workers):
                lane.hire()
        self._until(lambda: all(lane.ready for lane in self._lanes))

    def _until(self, reached: Callable[[], bool]) -> None:
        """Do what there is to do until something is reached."""
        ticked_s = time.monotonic()
        while not reached():
            try:
                self._mail.get(timeout=_TICK_S)()
                while True:
                    self._mail.get_nowait()()
            except queue.Empty:
                pass
            while self._pump():
                pass
            if time.monotonic() - ticked_s > _TICK_S:
                ticked_s = time.monotonic()
                for lane in self._lanes:
                    lane.tick()

    def _pump(self) -> bool:
        moved = False
        for lane in reversed(self._lanes):
            moved |= lane.pump()
        return self._reading.pump() or moved

    def _finished(self) -> bool:
        for writer in self._writers:
            if writer.failure is not None:
                raise writer.failure
        steps_done = self._reading.done and all(lane.done for lane in self._lanes)
        return steps_done and all(writer.done for writer in self._writers)

    def _seats(self) -> list[Seat]:
        seats = [seat for lane in self._lanes for seat in lane.seats]
        return seats + ([self._reading.seat] if self._reading.seat is not None else [])

    def _close_parts(self) -> None:
        """Let the parts give back what they hold; one that takes long or has died is left."""
        left = {seat for seat in self._seats() if not seat.gone}
        for seat in list(left):
            seat.ask(
                self.post,
                "close",
                then=partial(_discard, left, seat),
                lost=lambda gone, _: left.discard(gone),
            )
        until_s = time.monotonic() + _CLOSING_S
        self._until(lambda: not left or time.monotonic() > until_s)

    def _dismiss(self) -> None:
        for seat in self._seats():
            seat.leave()


def _discard(seats: set[Seat], seat: Seat, _: Any) -> None:
    seats.discard(seat)


def _plus(one: StepReport, other: StepReport) -> StepReport:
    return StepReport(
        items_in=one.items_in + other.items_in,
        items_out=one.items_out + other.items_out,
        busy_s=one.busy_s + other.busy_s,
        counted=dict(Counter(one.counted) + Counter(other.counted)),
    )
