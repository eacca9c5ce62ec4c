"""`streamer export`: the stored tracks of a run in the forms other tools read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from streamer.commands.running import OK, out
from streamer.errors import ConfigError, InputError
from streamer.interfaces import Sink
from streamer.records import Record, StreamInfo, TrackedFrame
from streamer.stored import find_run, read_records, read_tracks


def export(run: Path, *, coco: Path | None, mot: Path | None, parquet: Path | None) -> int:
    """Write what is asked for.

    Raises:
        ConfigError: when nothing is.
    """
    from streamer.pipeline import record_types

    sinks = _sinks(coco, mot, parquet)
    if not sinks:
        raise ConfigError("nothing to write; give --coco FILE, --mot FOLDER or --parquet FOLDER")
    tracks, records = find_run(run)
    infos = _streams(tracks)
    for path, made in sinks.items():
        for sink in made:
            takes = record_types(type(sink))[0]
            sink.open(infos)
            try:
                for record in _stored(tracks, records, takes):
                    sink.write(record)
                sink.flush()
            finally:
                sink.close()
        out.print(f"written: {path}", markup=False)
    return OK


def _sinks(
    coco: Path | None, mot: Path | None, parquet: Path | None
) -> dict[Path, list[Sink[Any]]]:
    from streamer.sinks import parquet as tables
    from streamer.sinks.coco import Coco
    from streamer.sinks.mot import Mot

    sinks: dict[Path, list[Sink[Any]]] = {}
    if coco is not None:
        sinks[coco] = [Coco(str(coco))]
    if mot is not None:
        sinks[mot] = [Mot(str(mot))]
    if parquet is not None:
        sinks[parquet] = [
            tables.Records(str(parquet / "records.parquet")),
            tables.Tracks(str(parquet / "tracks.parquet")),
        ]
    return sinks


def _stored(tracks: Path, records: Path, takes: tuple[type, ...]) -> Iterator[Record]:
    parts: list[Iterator[Record]] = []
    if TrackedFrame in takes:
        parts.append(iter(read_tracks(tracks)))
    if takes != (TrackedFrame,):
        parts.append(record for record in read_records(records) if isinstance(record, takes))
    return chain(*parts)


def _streams(tracks: Path) -> list[StreamInfo]:
    """Which streams there are, with the size of the first region's picture."""
    sizes: dict[str, tuple[int, int]] = {}
    for frame in read_tracks(tracks):
        if frame.regions or frame.stream_id not in sizes:
            sizes[frame.stream_id] = frame.regions[0].mask.hw if frame.regions else (0, 0)
            if frame.regions and all(height for height, _ in sizes.values()):
                break
    if not sizes:
        raise InputError(f"{tracks} is empty; let the run write it anew")
    return [
        StreamInfo(stream_id=name, uri=str(tracks), width_px=width, height_px=height)
        for name, (height, width) in sizes.items()
    ]
