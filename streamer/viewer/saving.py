"""Answers become captions: in the catalog, where they are found, and as JSON Lines in the run's
folder (asked.jsonl; a run that goes on writes its own file, and a second writer would break it)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.catalog_writer import CatalogWriter
from streamer.mask import Mask
from streamer.records import Caption
from streamer.sinks.files import writing
from streamer.viewer.asking import Asker, Turn
from streamer.viewer.records import Records

NAME = "asked.jsonl"
_SAME = 0.5  # IoU from which a region is a track's
# a camera goes on to number its tracks: what nobody tracks is numbered far away from them
_BESIDE_CAMERAS = 10**6


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a picture was taken, in media time; `frame_index` None where only the time is known."""

    time_ns: int
    frame_index: int | None = None
    uncertainty_ns: int = 0


def save(
    folder: Path,
    records: Records,
    stream: dict[str, Any],
    moment: Moment,
    inside: NDArray[np.bool_],
    turns: Sequence[Turn],
    asker: Asker,
    track_id: int | None,
) -> Caption:
    """Save what was answered about a region of a moment; see `words_of` for the words.

    Args:
        track_id: under which it was saved before; None: of the track that lies there, or a new
            one.

    Raises:
        OutputError: when the catalog or the file cannot be written.
    """
    mask = Mask.encode(inside)
    fps = stream["fps"] or 25.0
    time_ns, frame_index = moment.time_ns, moment.frame_index
    near = records.frame_near(stream["stream_id"], time_ns, round(0.5e9 / fps))
    if frame_index is None and near is not None:
        time_ns, frame_index = near
    elif frame_index is None:
        frame_index = max(0, round((time_ns - stream["origin_ns"]) * fps / 1e9))
    if track_id is None:
        track_id = _track_there(records, stream, time_ns, mask)
    text, detail, mean_logprob = words_of(turns)
    caption = Caption(
        stream_id=stream["stream_id"],
        track_id=track_id,
        start_ns=time_ns,
        end_ns=time_ns,
        text=text,
        detail=detail,
        why="asked",
        asked_ns=time_ns,
        frame_index=frame_index,
        frame_time_ns=time_ns,
        mask=mask,
        mean_logprob=mean_logprob,
        model=asker.name,
        weights_hash=asker.weights_hash,
        uncertainty_ns=moment.uncertainty_ns,
    )
    while records.has_caption(caption.id):  # the same track was asked about at this moment before
        caption = replace(caption, asked_ns=caption.asked_ns + 1)
    writer = CatalogWriter(records.path, [])
    try:
        writer.begin()
        writer.caption(caption)
        append(folder, caption.to_json())
    finally:
        writer.close()
    return caption


def words_of(turns: Sequence[Turn]) -> tuple[str, str, float | None]:
    """Text, detail and log-probability of what was answered: the last short answer, or else the
    last one, becomes the text; a detailed one and questions with their answers the detail."""
    short = next((t for t in reversed(turns) if t.asked == "short"), turns[-1])
    rest = [t for t in turns if t is not short and t.asked != "short"]
    details = [t.answer if t.asked == "detailed" else f"{t.asked} {t.answer}" for t in rest]
    if short.asked not in ("short", "detailed"):
        details.append(f"{short.asked} {short.answer}")
    return short.answer, "; ".join(dict.fromkeys(details)), short.mean_logprob


def append(folder: Path, record: dict[str, Any]) -> None:
    """Add a record to asked.jsonl in one piece: two that write at once do not mix their lines.

    Raises:
        OutputError: when the file cannot be written.
    """
    path = folder / NAME
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
    with writing(path):
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(file).st_size
            # a line that a full disk has cut short does not spoil the next one
            torn = size and os.pread(file, 1, size - 1) != b"\n"
            os.write(file, (f"\n{line}" if torn else line).encode())
        finally:
            os.close(file)


def _track_there(records: Records, stream: dict[str, Any], time_ns: int, mask: Mask) -> int:
    tracks = records.masks(stream["stream_id"], time_ns, time_ns + 1)
    alike = [(m.iou(mask), track_id) for _, track_id, m in tracks if m.hw == mask.hw]
    best, track_id = max(alike, default=(0.0, 0))
    if best >= _SAME:
        return track_id
    newest = records.newest_track(stream["stream_id"])
    return max(newest, _BESIDE_CAMERAS if stream["unix"] else 0) + 1
