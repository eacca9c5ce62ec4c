"""Runs a graph in one process: a thread for each part, bounded queues between them.

Decoding, tracking, captioning and writing overlap, because what they spend their time in (codecs,
OpenCV, torch) releases the interpreter's lock. A full queue holds back whoever fills it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from streamer.errors import ContractError
from streamer.executors.crew import Crew
from streamer.executors.merge import Merge
from streamer.executors.parcel import Aborted, Inbox, Parcel
from streamer.executors.thinning import Thinning
from streamer.interfaces import Sink, Source
from streamer.pipeline import SOURCE, Output, Pipeline, takes_events
from streamer.records import Event, Frame, StreamInfo, StreamLeft
from streamer.report import RunReport, Tally


def run_local(
    pipeline: Pipeline,
    *,
    queue_size: int = 16,
    tally: Tally | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Run a pipeline to the end of its source.

    Args:
        queue_size: how many inputs may wait before a part.
        tally: counts to watch from outside while the run goes on.
        stop: when set, reading ends, everything in flight is finished and written.

    Raises:
        StreamerError: from a part; what the sinks had been given is written and closed first.
    """
    return Run(pipeline, queue_size, tally or Tally(), stop or threading.Event()).run()


class Run:
    """One run of a pipeline; see `run_local`."""

    def __init__(
        self, pipeline: Pipeline, queue_size: int, tally: Tally, stop: threading.Event
    ) -> None:
        self.pipeline = pipeline
        self.tally = tally
        self.stop = stop
        self.failure: BaseException | None = None
        self.reading = True
        self.thinning = Thinning(queue_size)
        self.begun = 0  # streams, those that have left included
        self.source: Source = pipeline.make_source()
        self.sinks: list[tuple[Output, Sink[Any]]] = [(o, o.make()) for o in pipeline.outputs]
        self.crews = [Crew(self, step, queue_size) for step in pipeline.steps]
        self.boxes = [
            (output, sink, Inbox(queue_size, tells=takes_events(output)))
            for output, sink in self.sinks
        ]
        self._lock = threading.Lock()

    def run(self) -> RunReport:
        started_s = time.perf_counter()
        opened: list[Sink[Any]] = []
        try:
            self.tally.streams = tuple(self.source.open())
            for info in self.tally.streams:
                self._count(info.stream_id)
            for _, sink in self.sinks:
                opened.append(sink)
                sink.open(self.tally.streams)
            ready_s, ended_s = self._work()
        finally:
            closers = [close for crew in self.crews for close in crew.closers()]
            self._close_all([*closers, self.source.close, *(sink.close for sink in opened)])
        if self.failure is not None:
            raise self.failure
        steps = {crew.step.name: crew.report() for crew in self.crews}
        return self.tally.report(
            wall_s=ended_s - ready_s,
            setup_s=ready_s - started_s,
            stopped=self.stop.is_set(),
            steps=steps,
        )

    def _work(self) -> tuple[float, float]:
        """Run all threads; the moments at which everything was ready and everything done."""
        ready = threading.Barrier(1 + sum(len(crew.stages) for crew in self.crews))
        threads = [thread for crew in self.crews for thread in crew.threads(ready)]
        for output, sink, inbox in self.boxes:
            threads.append(self.thread(f"sink {output.name}", self._write, output, sink, inbox))
        for thread in threads:
            thread.start()
        try:
            ready.wait()
        except threading.BrokenBarrierError:
            self.abort()
        ready_s = time.perf_counter()
        reader = self.thread("source", self._read)
        reader.start()
        for thread in (reader, *threads):
            while thread.is_alive():  # a plain join() would keep Ctrl-C waiting
                thread.join(0.2)
                if self.stop.is_set() or self.failure is not None:
                    self.source.interrupt()
        return ready_s, time.perf_counter()

    def thread(self, name: str, work: Callable[..., None], *args: object) -> threading.Thread:
        """A thread whose failure ends the run."""

        def guarded() -> None:
            try:
                work(*args)
            except Aborted:
                pass
            except BaseException as error:
                with self._lock:
                    self.failure = self.failure or error
                self.abort()

        return threading.Thread(target=guarded, name=name, daemon=True)

    def abort(self) -> None:
        """Wake every thread that waits; nothing more is read or made."""
        for crew in self.crews:
            crew.abort()
        for _, _, inbox in self.boxes:
            inbox.abort()

    def _read(self) -> None:
        last_ns = {info.stream_id: 0 for info in self.tally.streams}
        for record in self.source.read():
            if self.stop.is_set():
                break
            if isinstance(record, StreamInfo):
                self._join(record)
                last_ns[record.stream_id] = 0
                continue
            if isinstance(record, StreamLeft):
                if record.stream_id in last_ns:
                    self._end(record.stream_id, last_ns.pop(record.stream_id))
                continue
            if record.stream_id not in last_ns:
                raise ContractError(
                    f"the source gave a record of unknown stream {record.stream_id!r}"
                )
            given: list[Frame | Event] = [record]
            if isinstance(record, Frame):
                self.tally.frame(record.stream_id, record.time_ns)
                if self.source.live:
                    given = self._thinned(record)
            for item in given:
                order_ns = max(item.order_ns, last_ns[item.stream_id])
                last_ns[item.stream_id] = order_ns
                self.emit(Parcel(SOURCE, item.stream_id, order_ns, ((order_ns, item),)))
        for stream_id, order_ns in last_ns.items():
            self._end(stream_id, order_ns)
        self.reading = False
        for inbox in [box for _, _, box in self.boxes] + [
            c for crew in self.crews for c in crew.inboxes
        ]:
            inbox.wake()

    def _thinned(self, frame: Frame) -> list[Frame | Event]:
        """The frame of a live stream, if the steps keep up, behind what is to be told."""
        readers = [crew for crew in self.crews if SOURCE in crew.step.inputs]
        self.thinning.look(max((len(i) for crew in readers for i in crew.inboxes), default=0))
        told, goes_on = self.thinning.frame(frame)
        self.tally.dropped[SOURCE] = self.thinning.frames
        self.tally.frame_stride = self.thinning.level.frames
        self.tally.thinned_questions = self.thinning.questions
        return [*told, frame] if goes_on else list(told)

    def _count(self, stream_id: str) -> None:
        self.begun += 1
        for crew in self.crews:
            crew.begin(stream_id)

    def _join(self, info: StreamInfo) -> None:
        """One more stream, while the others go on."""
        self.tally.joined(info)
        self._count(info.stream_id)
        for _, _, inbox in self.boxes:
            inbox.put(Parcel(SOURCE, info.stream_id, 0, (), begins=info), drop_oldest=True)

    def _end(self, stream_id: str, order_ns: int) -> None:
        self.tally.left(stream_id)
        for event in self.thinning.end(stream_id):
            order_ns = max(order_ns, event.order_ns)
            self.emit(Parcel(SOURCE, stream_id, order_ns, ((order_ns, event),)))
        self.emit(Parcel(SOURCE, stream_id, order_ns, (), end=True))

    def emit(self, parcel: Parcel) -> None:
        """Send a step's parcel to all its readers, each what it takes."""
        self.tally.made([record for _, record in parcel.records])
        # a live run that falls behind thins out (see Thinning); where that is not enough, what has
        # waited longest goes
        live = self.source.live
        for crew in self.crews:
            if parcel.sender in crew.step.inputs:
                mine = parcel.holding(self.pipeline.carried(parcel.sender, crew.step))
                if live:
                    mine = self.thinning.parcel(mine, crew.step.name)
                crew.put(mine, drop_oldest=live)
        for output, _, inbox in self.boxes:
            if parcel.sender in output.inputs:
                mine = parcel.holding(self.pipeline.carried(parcel.sender, output))
                inbox.put(mine, drop_oldest=live)
                self.tally.queued[output.name] = len(inbox)

    def _write(self, output: Output, sink: Sink[Any], inbox: Inbox) -> None:
        senders = sorted(output.inputs, key=self.pipeline.rank)
        merge = Merge(senders) if sink.ordered else None
        ended = 0

        def over() -> bool:
            return not self.reading and ended == len(senders) * self.begun

        while parcels := inbox.get(over=over)[1]:
            for parcel in parcels:
                if parcel.begins is not None:
                    sink.join(parcel.begins)
                    continue
                ended += parcel.end
                for _, record in (merge.push(parcel) if merge else parcel).records:
                    sink.write(record)
                    self.tally.written(output.name, record)
        sink.flush()

    def _close_all(self, closers: list[Callable[[], None]]) -> None:
        """Close everything, also when closing one fails; the first failure counts."""
        for close in closers:
            try:
                close()
            except Exception as error:
                self.failure = self.failure or error
