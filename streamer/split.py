"""Films in pieces that end at cuts: run apart, joined as if they had been run in one.

A cut ends all tracks, and steps that forget everything there go on as new ones would; only numbers
run on: track ids and the numbers of frames. So a piece is run up to and including the picture of
the cut, which proves that the tracker takes it for one; the next piece begins with that picture.
What the first makes of it beyond the cut is dropped, and the numbers of the next are moved on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError, InputError, StreamerError
from streamer.interfaces import Sink
from streamer.pipeline import SOURCE, Output, Pipeline, accepted
from streamer.records import Caption, Event, StreamInfo, TrackedFrame, tracked_frame_json
from streamer.report import Tally
from streamer.sinks.files import prepare, writing
from streamer.stored import read_mixed

Stored = TrackedFrame | Caption | Event
_MARKS = "marks"
_OF_THE_TRACKER = ("cut", "track_start", "track_end", "track_merge", "track_split", "tracks_full")


class NotJoinable(StreamerError):  # noqa: N818 - not a failure: the film is run in one
    """Pieces that would not give what the whole gives, and why."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a film; times are those of its frames. `begin_ns` None: from its beginning,
    `cut_ns` None: to its end."""

    begin_ns: int | None
    cut_ns: int | None


def pieces(cuts_ns: Sequence[int], first_ns: int, last_ns: int, least_ns: int) -> list[Piece]:
    """Pieces between cuts, none shorter than `least_ns`."""
    chosen: list[int] = []
    for cut_ns in cuts_ns:
        if cut_ns - (chosen[-1] if chosen else first_ns) >= least_ns <= last_ns - cut_ns:
            chosen.append(cut_ns)
    return [
        Piece(begin_ns=begin_ns, cut_ns=cut_ns)
        for begin_ns, cut_ns in zip([None, *chosen], [*chosen, None], strict=True)
    ]


def check_splittable(pipeline: Pipeline) -> None:
    """Whether a graph can be run in pieces.

    Raises:
        ConfigError: naming a part that remembers beyond a cut, or looks at pictures at the end.
    """
    for step in pipeline.steps:
        if step.operator.keyed and not step.make().forgets_at_cuts:
            raise ConfigError(
                f"step {step.name!r} remembers what was before a cut, so films cannot be split; "
                "leave it out, or run without --split-s"
            )
    for output in pipeline.outputs:
        if not output.sink.from_records or not output.make().ordered:
            raise ConfigError(
                f"{output.name!r} cannot be written from records alone, so films cannot be split; "
                "leave it out, or run without --split-s"
            )
    _tracker(pipeline)


def _tracker(pipeline: Pipeline) -> str:
    for step in pipeline.steps:
        if SOURCE in step.inputs and step.operator.keyed and Event in pipeline.emitted(step.name):
            return step.name
    raise ConfigError("no step tells of cuts, so films cannot be split; add operators.track.Track")


def recording(pipeline: Pipeline, folder: Path) -> Pipeline:
    """The pipeline with what its sinks would get kept in a folder, for `Joined`."""
    outputs = [
        Output(
            name=output.name,
            sink=_Recorder,
            make=partial(_Recorder, folder / f"{number}.jsonl", accepted(output)),
            inputs=output.inputs,
        )
        for number, output in enumerate(pipeline.outputs)
    ]
    marks = Output(
        name=_MARKS,
        sink=_Recorder,
        make=partial(_Recorder, folder / f"{_MARKS}.jsonl", (Event,)),
        inputs=(_tracker(pipeline),),
    )
    return replace(pipeline, outputs=(*outputs, marks))


class _Recorder(Sink[TrackedFrame | Caption | Event]):
    """Keeps the records of some kinds as they come, open captions included."""

    ordered = True

    def __init__(self, path: Path, kinds: tuple[type, ...]) -> None:
        self.path = path
        self.kinds = kinds
        self._file: Any = None

    def open(self, streams: Sequence[StreamInfo]) -> None:
        prepare(self.path)
        with writing(self.path):
            self._file = self.path.open("w", encoding="utf-8")

    def write(self, record: Stored) -> None:
        if not isinstance(record, self.kinds):
            return
        data = tracked_frame_json(record) if isinstance(record, TrackedFrame) else record.to_json()
        with writing(self.path):
            self._file.write(json.dumps(data, ensure_ascii=False) + "\n")

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with writing(self.path):
                file.close()


@dataclass(frozen=True)
class _Made:
    """What a piece has made: the records before its cut, and how many tracks and frames."""

    folder: Path
    cut_ns: int | None
    tracks: int
    frames: int

    @classmethod
    def of(cls, folder: Path, piece: Piece) -> _Made:
        marks = [mark for mark in read_mixed(folder / f"{_MARKS}.jsonl") if isinstance(mark, Event)]
        if any(mark.kind == "input_error" for mark in marks):
            raise NotJoinable("a part of it is damaged")
        at = len(marks)
        if piece.cut_ns is not None:
            here = [mark.kind == "cut" and mark.time_ns == piece.cut_ns for mark in marks]
            if True not in here:
                raise NotJoinable(f"{piece.cut_ns / 1e9:.3f} s is no cut to the tracker")
            at = here.index(True)
        frames = next((mark.data["frames"] for mark in marks if mark.kind == "stream_end"), None)
        if frames is None:
            raise InputError(f"{folder}: a piece that did not come to its end; run it again")
        tracks = sum(mark.kind == "track_start" for mark in marks[:at])
        return cls(folder, piece.cut_ns, tracks, frames - (piece.cut_ns is not None))

    def records(self, number: int) -> tuple[list[Stored], list[Stored]]:
        """Those of an output: up to the cut with the tracker's at it, and words behind those."""
        kept: list[Stored] = []
        words: list[Stored] = []
        reached = False
        for record in read_mixed(self.folder / f"{number}.jsonl"):
            said = _is_said(record)
            if self.cut_ns is not None and not said and record.order_ns >= self.cut_ns:
                reached = True
            if self._is_before(record):
                (words if reached and said else kept).append(record)
        return kept, words

    def _is_before(self, record: Stored) -> bool:
        if self.cut_ns is None:
            return True
        if isinstance(record, Caption):
            return record.track_id <= self.tracks
        if record.order_ns < self.cut_ns or isinstance(record, TrackedFrame):
            return record.order_ns < self.cut_ns
        if record.kind == "cut":
            return record.time_ns == self.cut_ns
        return record.track_id is not None and record.track_id <= self.tracks


def _is_said(record: Stored) -> bool:
    """Whether a record is of the words, which are ordered behind the tracker's of their moment."""
    if isinstance(record, Event):
        return record.kind not in _OF_THE_TRACKER
    return isinstance(record, Caption)


def join(pipeline: Pipeline, parts: Sequence[tuple[Piece, Path]], tally: Tally) -> None:
    """Give a pipeline's sinks what its pieces have made, in order, with the numbers of one run.

    Args:
        parts: the pieces in order, each with the folder of its `recording`.
        tally: counts what there was.

    Raises:
        NotJoinable: when the pieces would not give what the whole gives.
        StreamerError: when a sink cannot write.
    """
    made = [_Made.of(folder, piece) for piece, folder in parts]
    source = pipeline.make_source()
    try:
        tally.streams = tuple(source.open())
    finally:
        source.close()
    tally.frames = sum(part.frames for part in made)
    for number, output in enumerate(pipeline.outputs):
        sink: Sink[Any] = output.make()
        try:
            sink.open(tally.streams)
            for record in _joined(made, number):
                tally.made([record])
                sink.write(record)
            sink.flush()
        finally:
            sink.close()


def _joined(made: Sequence[_Made], number: int) -> Iterator[Stored]:
    tracks = frames = 0
    words: list[Stored] = []  # of the piece before, at the cut
    cut_ns: int | None = None
    for part in made:
        kept, late = part.records(number)
        moved = [_moved(record, tracks, frames) for record in kept]
        at_cut = 0
        while at_cut < len(moved) and _is_at(moved[at_cut], cut_ns):
            at_cut += 1
        yield from moved[:at_cut]
        yield from words
        yield from moved[at_cut:]
        words = [_moved(record, tracks, frames) for record in late]
        cut_ns = part.cut_ns
        tracks, frames = tracks + part.tracks, frames + part.frames
    yield from words


def _is_at(record: Stored, cut_ns: int | None) -> bool:
    return not _is_said(record) and record.order_ns == cut_ns


def _moved(record: Stored, tracks: int, frames: int) -> Stored:
    """A record with its numbers moved on."""
    if isinstance(record, Caption):
        return replace(
            record, track_id=record.track_id + tracks, frame_index=record.frame_index + frames
        )
    if isinstance(record, TrackedFrame):
        regions = (
            replace(r, track_id=r.track_id + tracks, part_of=r.part_of and r.part_of + tracks)
            for r in record.regions
        )
        frame = replace(record.frame, index=record.frame.index + frames)
        return TrackedFrame(frame=frame, regions=tuple(regions))
    if record.kind == "stream_end":
        record = replace(record, data={**record.data, "frames": record.data["frames"] + frames})
    if "other_track_id" in record.data:
        other = record.data["other_track_id"] + tracks
        record = replace(record, data={**record.data, "other_track_id": other})
    return record if record.track_id is None else replace(record, track_id=record.track_id + tracks)
