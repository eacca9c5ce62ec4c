"""Apache Parquet: captions and events, and the regions of every frame, for tools that read
tables."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from streamer.interfaces import Sink
from streamer.records import SCHEMA_VERSION, Caption, Event, StreamInfo, TrackedFrame, record_id
from streamer.sinks.broker import needs
from streamer.sinks.files import prepare, writing

_RECORDS = {
    "record": "string", "id": "string", "stream_id": "string", "track_id": "int64",
    "kind": "string", "time_ns": "int64", "end_ns": "int64", "text": "string",
    "detail": "string", "why": "string", "asked_ns": "int64", "frame_index": "int64",
    "frame_time_ns": "int64", "mask_height_px": "int32", "mask_width_px": "int32",
    "mask_counts": "string", "mean_logprob": "float64", "model": "string",
    "weights_hash": "string", "data": "string", "uncertainty_ns": "int64",
}  # fmt: skip
_REGIONS = {
    "id": "string", "stream_id": "string", "frame_index": "int64", "time_ns": "int64",
    "uncertainty_ns": "int64", "track_id": "int64", "score": "float32", "x0_px": "int32",
    "y0_px": "int32", "x1_px": "int32", "y1_px": "int32", "mask_height_px": "int32",
    "mask_width_px": "int32", "mask_counts": "string", "part_of": "int64",
}  # fmt: skip
_PART_ROWS = 20_000
_PART_S = 30.0
_GROUP_ROWS = 200_000
_REMEMBERED = 1 << 16


class _Table:
    """A file of rows. Every 20,000 rows or 30 seconds a part is written whole into PATH.parts, a
    folder that Parquet tools read as one table; at the end the parts become the file."""

    def __init__(self, path: Path, columns: dict[str, str]) -> None:
        self.path = path
        self.parts = path.with_name(f"{path.name}.parts")
        self._columns = columns
        self._rows: list[dict[str, Any]] = []
        self._since_s = 0.0
        self._written = 0
        self._open = False

    def open(self) -> None:
        needs("pyarrow.parquet", "parquet", str(self.path))
        prepare(self.path)
        if not self.path.stat().st_size:
            self.path.unlink()  # an empty file is no Parquet
        self._open = True

    def write(self, row: dict[str, Any]) -> None:
        if not self._rows:
            self._since_s = time.monotonic()
        self._rows.append(row)
        if len(self._rows) >= _PART_ROWS or time.monotonic() - self._since_s >= _PART_S:
            self.flush()

    def flush(self) -> None:
        import pyarrow.parquet as pq

        if not self._rows:
            return
        with writing(self.path):
            if not self._written:  # what a killed run left stays until there is something new
                shutil.rmtree(self.parts, ignore_errors=True)
                self.parts.mkdir()
            part = self.parts / f"{self._written:06d}.parquet"
            # a name with a dot before it is no part to those who read the folder
            beside = self.parts / f".{part.name}.new"
            pq.write_table(self._table(self._rows), beside, compression="zstd")
            beside.replace(part)
        self._written += 1
        self._rows = []

    def close(self) -> None:
        import pyarrow.parquet as pq

        if not self._open:
            return
        self._open = False
        self.flush()
        if not self._written and self.path.exists():
            return  # nothing new: a run that failed early keeps the old file
        beside = self.path.with_name(f".{self.path.name}.new")
        with writing(self.path):
            with pq.ParquetWriter(beside, self._schema(), compression="zstd") as writer:
                for table in self._groups():
                    writer.write_table(table, row_group_size=_GROUP_ROWS)
            beside.replace(self.path)
            shutil.rmtree(self.parts, ignore_errors=True)

    def _groups(self) -> Iterator[Any]:
        """The parts, joined to groups of rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        held: list[Any] = []
        for n in range(self._written):
            held.append(pq.read_table(self.parts / f"{n:06d}.parquet", schema=self._schema()))
            if sum(table.num_rows for table in held) >= _GROUP_ROWS:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)

    def _schema(self) -> Any:
        import pyarrow as pa

        fields = [pa.field(name, getattr(pa, kind)()) for name, kind in self._columns.items()]
        return pa.schema(fields, metadata={"streamer.schema": str(SCHEMA_VERSION)})

    def _table(self, rows: Sequence[dict[str, Any]]) -> Any:
        import pyarrow as pa

        return pa.Table.from_pylist(list(rows), schema=self._schema())


class Records(Sink[Caption | Event]):
    """Captions and events in the order of media time: one row each, with `time_ns` a caption's
    start, and `data` an event's data as JSON.

    While a run goes on, and after it was killed, what it had so far lies in PATH.parts.

    Args:
        path: the file to write; folders above it are made.
    """

    ordered = True

    def __init__(self, path: str) -> None:
        self._table = _Table(Path(path), _RECORDS)
        self._seen: dict[str, None] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._table.open()

    def write(self, record: Caption | Event) -> None:
        if record.id in self._seen or (isinstance(record, Caption) and record.end_ns is None):
            return
        data = record.to_json()
        if isinstance(record, Caption):
            mask = record.mask
            data |= {"time_ns": record.start_ns, "mask_counts": mask.counts, "kind": "caption"}
            data |= {"mask_height_px": mask.height_px, "mask_width_px": mask.width_px}
        else:
            data["data"] = json.dumps(record.data, ensure_ascii=False, separators=(",", ":"))
        self._table.write({name: data.get(name) for name in _RECORDS})
        self._seen[record.id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def flush(self) -> None:
        self._table.flush()

    def close(self) -> None:
        self._table.close()


class Tracks(Sink[TrackedFrame]):
    """The regions of every frame with their masks: one row a region; frames without regions
    leave none. `id` is that of the frame's record in JSON Lines.

    While a run goes on, and after it was killed, what it had so far lies in PATH.parts.

    Args:
        path: the file to write; folders above it are made.
    """

    ordered = True

    def __init__(self, path: str) -> None:
        self._table = _Table(Path(path), _REGIONS)
        self._last_ns: dict[str, int] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._table.open()

    def write(self, record: TrackedFrame) -> None:
        frame = record.frame
        if frame.time_ns <= self._last_ns.get(frame.stream_id, -1):
            return  # written before
        self._last_ns[frame.stream_id] = frame.time_ns
        for region in record.regions:
            row = (
                record_id("regions", frame.stream_id, frame.time_ns), frame.stream_id,
                frame.index, frame.time_ns, frame.uncertainty_ns, region.track_id,
                region.score, *region.box_xyxy, *region.mask.hw, region.mask.counts,
                region.part_of,
            )  # fmt: skip
            self._table.write(dict(zip(_REGIONS, row, strict=True)))

    def flush(self) -> None:
        self._table.flush()

    def close(self) -> None:
        self._table.close()
