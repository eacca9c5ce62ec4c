"""JSON Lines: one record a line, its form published by `streamer schema`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from streamer.errors import ContractError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo, TrackedFrame, tracked_frame_json
from streamer.sinks.files import prepare, writing

_REMEMBERED = 1 << 16


class _Lines:
    """A file of JSON lines. A key is written once, as far back as the last 65,536 keys: memory
    stays the same however long a camera runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None
        self._written: dict[str, None] = {}

    def open(self) -> None:
        prepare(self.path)

    def write(self, data: dict[str, Any], key: str) -> None:
        if key in self._written:
            return
        try:
            line = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise ContractError(f"{data['record']} {data['id']} is not JSON: {error}") from None
        with writing(self.path):
            # one write a line: what a crash leaves behind is whole lines
            self._new().write(line + "\n")
        self._written[key] = None
        if len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]

    def flush(self) -> None:
        with writing(self.path):
            file = self._new()
            file.flush()
            if self.path.is_file():  # a pipe has nothing to be made durable
                os.fsync(file.fileno())

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with writing(self.path):
                file.close()

    def _new(self) -> IO[str]:
        """The file, emptied when it is first needed: a run that fails before keeps the old one."""
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", buffering=1)
        return self._file


class JsonLines(Sink[Caption | Event]):
    """Captions and events in the order of media time, the same in every run.

    Args:
        path: the file to write; folders above it are made.
        partial: also write captions whose end is not known yet (`end_ns` null); the same id
            follows again with its end.
    """

    ordered = True
    from_records = True

    def __init__(self, path: str, partial: bool = False) -> None:
        self.partial = partial
        self._lines = _Lines(Path(path))

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._lines.open()

    def write(self, record: Caption | Event) -> None:
        key = record.id
        if isinstance(record, Caption) and record.end_ns is None:
            if not self.partial:
                return
            key += " open"
        self._lines.write(record.to_json(), key)

    def flush(self) -> None:
        self._lines.flush()

    def close(self) -> None:
        self._lines.close()


class Tracks(Sink[TrackedFrame]):
    """The regions of every frame, with their masks: one line a frame.

    Args:
        path: the file to write; folders above it are made.
    """

    ordered = True
    from_records = True

    def __init__(self, path: str) -> None:
        self._lines = _Lines(Path(path))

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._lines.open()

    def write(self, record: TrackedFrame) -> None:
        data = tracked_frame_json(record)
        self._lines.write(data, data["id"])

    def flush(self) -> None:
        self._lines.flush()

    def close(self) -> None:
        self._lines.close()
