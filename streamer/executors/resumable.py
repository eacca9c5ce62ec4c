"""A plain loop that can be stopped anywhere and goes on where it was.

What the sinks are given is written to a journal first; from time to time the position and the
operators' states are saved beside it. A later run gives the sinks the journal, cut back to the
last saved position, and goes on from there, so that nothing is lost, doubled or renamed.
"""

from __future__ import annotations

import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from streamer.errors import ConfigError, OutputError
from streamer.executors.stage import Stage
from streamer.interfaces import Sink
from streamer.pipeline import SOURCE, Output, Pipeline
from streamer.records import Caption, Event, Frame, Record, caption_of_json, event_of_json
from streamer.report import RunReport, StepReport, Tally
from streamer.sinks.files import writing

_SAVE_EVERY_S = 5.0


@runtime_checkable
class Skipping(Protocol):
    """A source that can begin at a later frame."""

    first_index: int


@dataclass
class _State:
    """What is saved: for which work, the next frame, the journal's length, the steps' states."""

    key: str
    next_index: int = 0
    journal_bytes: int = 0
    snapshots: dict[str, dict[str, bytes]] = field(default_factory=dict)
    done: bool = False


def run_resumable(
    pipeline: Pipeline,
    folder: Path,
    *,
    key: str,
    tally: Tally,
    stop: threading.Event,
    on_open: Callable[[Any], None] | None = None,
) -> RunReport:
    """Run a pipeline whose steps are a chain, resuming what `folder` holds of the same work.

    Args:
        folder: for the journal and the state.
        key: says what the work is; the state of other work is thrown away.
        on_open: called with the source when it is open, before anything is read.

    Raises:
        ConfigError: when the source cannot begin in the middle, or the steps are no chain.
        StreamerError: from a part; everything is closed first.
    """
    source = pipeline.make_source()
    if not isinstance(source, Skipping):
        raise ConfigError(f"{type(source).__name__} cannot begin in the middle; use a PanImage")
    for before, step in zip(
        (SOURCE, *(s.name for s in pipeline.steps)), pipeline.steps, strict=False
    ):
        if step.inputs != (before,):
            raise ConfigError(f"step {step.name!r} reads {step.inputs}; here steps are a chain")
    stages = [Stage(step) for step in pipeline.steps]
    sinks = [(output, output.make()) for output in pipeline.outputs]
    opened: list[Sink[Any]] = []
    started_s = time.perf_counter()
    try:
        tally.streams = tuple(source.open())
        if on_open is not None:
            on_open(source)
        for _, sink in sinks:
            opened.append(sink)
            sink.open(tally.streams)
        loop = _Loop(pipeline, tally, source, stages, sinks, _Journal(folder, key))
        loop.resume()
        ready_s = time.perf_counter()
        loop.run(stop)
        for _, sink in sinks:
            sink.flush()
    finally:
        closers = [stage.close for stage in stages]
        for close in (*closers, source.close, *(sink.close for sink in opened)):
            close()
    return tally.report(
        wall_s=time.perf_counter() - ready_s,
        setup_s=ready_s - started_s,
        stopped=stop.is_set(),
        steps={
            stage.step.name: StepReport(
                items_in=stage.items_in, items_out=stage.items_out, busy_s=round(stage.busy_s, 3)
            )
            for stage in stages
        },
    )


class _Journal:
    """The records for the sinks, in the order they were made, and the state they belong to."""

    def __init__(self, folder: Path, key: str) -> None:
        self.lines_path, self.state_path = folder / "journal.jsonl", folder / "state.pickle"
        self._file: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder} cannot be made ({error.strerror}); choose another folder"
            ) from None
        self.state = _State(key)
        try:
            saved = pickle.loads(self.state_path.read_bytes())
            if isinstance(saved, _State) and saved.key == key:
                self.state = saved
        except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError):
            pass  # no state, or one of another version: begin anew

    def earlier(self) -> list[tuple[str, Record]]:
        """What was written up to the saved position, by step; opens the journal behind it."""
        with writing(self.lines_path):
            self._file = self.lines_path.open("ab")
            if self._file.tell() < self.state.journal_bytes:
                self.state = _State(self.state.key)  # the journal was shortened: begin anew
            self._file.truncate(self.state.journal_bytes)
            self._file.seek(0, os.SEEK_END)
        lines = self.lines_path.read_text(encoding="utf-8").splitlines()
        return [(item["step"], _record(item["data"])) for item in map(json.loads, lines)]

    def write(self, step: str, record: Caption | Event) -> None:
        assert self._file is not None
        line = json.dumps({"step": step, "data": record.to_json()}, separators=(",", ":"))
        with writing(self.lines_path):
            self._file.write(line.encode() + b"\n")

    def save(self, next_index: int, stages: list[Stage], streams: list[str], done: bool) -> None:
        """Make all of it durable; a crash leaves the state before or this one."""
        assert self._file is not None
        beside = self.state_path.with_suffix(".new")
        with writing(self.state_path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self.state = _State(
                key=self.state.key,
                next_index=next_index,
                journal_bytes=self._file.tell(),
                snapshots={
                    stage.step.name: {s: stage.operator.snapshot(s) for s in streams}
                    for stage in stages
                },
                done=done,
            )
            beside.write_bytes(pickle.dumps(self.state))
            beside.replace(self.state_path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


@dataclass(eq=False)
class _Loop:
    pipeline: Pipeline
    tally: Tally
    source: Any
    stages: list[Stage]
    sinks: list[tuple[Output, Sink[Any]]]
    journal: _Journal

    def resume(self) -> None:
        """Give the sinks what earlier runs made, and the operators their states."""
        for step, record in self.journal.earlier():
            self.tally.made([record])
            self._write(step, record)
        state = self.journal.state
        if state.done:
            return
        self.source.first_index = state.next_index
        for stage in self.stages:
            stage.setup()
            for stream_id, snapshot in state.snapshots.get(stage.step.name, {}).items():
                stage.operator.restore(stream_id, snapshot)

    def run(self, stop: threading.Event) -> None:
        if self.journal.state.done:
            self.journal.close()
            return
        streams = [info.stream_id for info in self.tally.streams]
        saved_s = time.monotonic()
        for record in self.source.read():
            if isinstance(record, Frame):
                # all that came of the frames before is written: a place to go on from
                if stop.is_set() or time.monotonic() - saved_s > _SAVE_EVERY_S:
                    self.journal.save(record.index, self.stages, streams, done=False)
                    saved_s = time.monotonic()
                if stop.is_set():
                    self.journal.close()
                    return
                self.tally.frame(record.stream_id, record.time_ns)
            self._emit(SOURCE, record, 0)
        for stream_id in streams:
            for i, stage in enumerate(self.stages):
                for made in stage.operator.flush(stream_id):
                    self._emit(stage.step.name, made, i + 1)
        self.journal.save(0, self.stages, [], done=True)
        self.journal.close()

    def _emit(self, step: str, record: Record, depth: int) -> None:
        """A record that a step made, to the sinks that read it and on down the chain."""
        self.tally.made([record])
        if isinstance(record, (Caption, Event)) and any(step in o.inputs for o, _ in self.sinks):
            self.journal.write(step, record)
        self._write(step, record)
        if depth < len(self.stages):
            stage = self.stages[depth]
            if isinstance(record, self.pipeline.carried(step, stage.step)):
                started_s = time.perf_counter()
                made = stage.operator.process([record])
                stage.busy_s += time.perf_counter() - started_s
                stage.items_in += 1
                stage.items_out += len(made)
                for item in made:
                    self._emit(stage.step.name, item, depth + 1)

    def _write(self, step: str, record: Record) -> None:
        for output, sink in self.sinks:
            if step in output.inputs and isinstance(record, self.pipeline.carried(step, output)):
                sink.write(record)


def _record(data: dict[str, Any]) -> Record:
    return caption_of_json(data) if data["record"] == "caption" else event_of_json(data)
