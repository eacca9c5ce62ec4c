"""Reads back what a run has stored: OUT/STEM.tracks.jsonl and OUT/STEM.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.mask import Mask
from streamer.records import (
    SCHEMA_VERSION,
    Caption,
    Event,
    Frame,
    Region,
    TrackedFrame,
    caption_of_json,
    event_of_json,
)

T = TypeVar("T")


def find_run(path: Path) -> tuple[Path, Path]:
    """The tracks and the records of a run.

    Args:
        path: OUT when it holds one run, or OUT/STEM, or either of the two files.

    Raises:
        InputError: when there is no run, or more than one.
    """
    if path.is_dir():
        found = sorted(path.glob("*.tracks.jsonl"))
        if len(found) != 1:
            names = ", ".join(str(f).removesuffix(".tracks.jsonl") for f in found)
            what = f"several runs; name one: {names}" if found else "no *.tracks.jsonl in it"
            raise InputError(f"{path}: {what}")
        base = str(found[0]).removesuffix(".tracks.jsonl")
    else:
        base = str(path).removesuffix(".jsonl").removesuffix(".tracks")
    tracks, records = Path(f"{base}.tracks.jsonl"), Path(f"{base}.jsonl")
    for file in (tracks, records):
        if not file.is_file():
            raise InputError(
                f"{file}: no such file; a run with the sinks Tracks and JsonLines, for instance of "
                "the configuration quickstart, writes it"
            )
    return tracks, records


def read_tracks(path: Path) -> Iterator[TrackedFrame]:
    """The regions of every frame, in the order written; the pictures are black, and of no cost.

    Frames without regions have the size of those before them, 1x1 px before the first.

    Raises:
        InputError: naming the line that is not one of regions.
    """
    size = _Size()
    yield from _records(path, ("regions",), size.tracked)


def read_records(path: Path) -> Iterator[Caption | Event]:
    """Captions and events in the order written.

    Raises:
        InputError: naming the line that is neither.
    """
    yield from _records(path, ("caption", "event"), _caption_or_event)


def read_mixed(path: Path) -> Iterator[TrackedFrame | Caption | Event]:
    """Records of all kinds in the order written; see `read_tracks`.

    Raises:
        InputError: naming the line that is none.
    """
    size = _Size()

    def made(data: dict[str, Any]) -> TrackedFrame | Caption | Event:
        return size.tracked(data) if data["record"] == "regions" else _caption_or_event(data)

    yield from _records(path, ("regions", "caption", "event"), made)


class _Size:
    """Remembers the size of the last frame that had regions."""

    def __init__(self) -> None:
        self._hw = (1, 1)

    def tracked(self, data: dict[str, Any]) -> TrackedFrame:
        regions = tuple(
            Region(
                mask=Mask.from_json(item["mask"]),
                box_xyxy=tuple(item["box_xyxy"]),
                score=item["score"],
                track_id=item["track_id"],
                part_of=item.get("part_of"),
            )
            for item in data["regions"]
        )
        self._hw = regions[0].mask.hw if regions else self._hw
        frame = Frame(
            stream_id=data["stream_id"],
            index=data["frame_index"],
            time_ns=data["time_ns"],
            image=np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (*self._hw, 3)),
            viewport=Viewport.whole(*self._hw),
            uncertainty_ns=data.get("uncertainty_ns", 0),
        )
        return TrackedFrame(frame=frame, regions=regions)


def _caption_or_event(data: dict[str, Any]) -> Caption | Event:
    return event_of_json(data) if data["record"] == "event" else caption_of_json(data)


def _records(
    path: Path, kinds: tuple[str, ...], make: Callable[[dict[str, Any]], T]
) -> Iterator[T]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield _record(f"{path}:{number}", line, kinds, make)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _record(
    place: str, line: str, kinds: tuple[str, ...], make: Callable[[dict[str, Any]], T]
) -> T:
    try:
        data = json.loads(line)
        if data["record"] in kinds and data["schema"] == SCHEMA_VERSION:
            return make(data)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{place}: a damaged record ({error}); let the run write it anew"
        ) from None
    raise InputError(
        f"{place}: not a record of kind {' or '.join(kinds)} and schema {SCHEMA_VERSION}; give a "
        "file that a run wrote"
    )
