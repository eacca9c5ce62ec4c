"""Answers become captions: in the catalog, where they are found, and as JSON Lines in the run's
folder (asked.jsonl; a run that goes on writes its own file, and a second writer would break it)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
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


def save(
    folder: Path,
    records: Records,
    stream: dict[str, Any],
    time_ns: int,
    inside: NDArray[np.bool_],
    turns: Sequence[Turn],
    asker: Asker,
    track_id: int | None,
) -> Caption:
    """Save what was answered about a region of a moment.

    The last short answer, or else the last one, becomes the text; a detailed one and questions
    with their answers become the detail.

    Args:
        time_ns: of the picture, media time.
        track_id: under which it was saved before; None: of the track that lies there, or a new
            one.

    Raises:
        OutputError: when the catalog or the file cannot be written.
    """
    mask = Mask.encode(inside)
    fps = stream["fps"] or 25.0
    near = records.frame_near(stream["stream_id"], time_ns, round(0.5e9 / fps))
    if near is not None:
        time_ns, frame_index = near
    else:
        frame_index = max(0, round((time_ns - stream["origin_ns"]) * fps / 1e9))
    if track_id is None:
        track_id = _track_there(records, stream["stream_id"], time_ns, mask)
    short = next((t for t in reversed(turns) if t.asked == "short"), turns[-1])
    rest = [t for t in turns if t is not short and t.asked != "short"]
    details = [t.answer if t.asked == "detailed" else f"{t.asked} {t.answer}" for t in rest]
    if short.asked not in ("short", "detailed"):
        details.append(f"{short.asked} {short.answer}")
    caption = Caption(
        stream_id=stream["stream_id"],
        track_id=track_id,
        start_ns=time_ns,
        end_ns=time_ns,
        text=short.answer,
        detail="; ".join(dict.fromkeys(details)),
        why="asked",
        asked_ns=time_ns,
        frame_index=frame_index,
        frame_time_ns=time_ns,
        mask=mask,
        mean_logprob=short.mean_logprob,
        model=asker.name,
        weights_hash=asker.weights_hash,
    )
    while records.has_caption(caption.id):  # the same track was asked about at this moment before
        caption = replace(caption, asked_ns=caption.asked_ns + 1)
    path = folder / NAME
    line = json.dumps(caption.to_json(), ensure_ascii=False, separators=(",", ":"))
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    writer = CatalogWriter(records.path, [])
    try:
        writer.caption(caption)
    finally:
        writer.close()
    return caption


def _track_there(records: Records, stream_id: str, time_ns: int, mask: Mask) -> int:
    tracks = records.masks(stream_id, time_ns, time_ns + 1)
    alike = [(m.iou(mask), track_id) for _, track_id, m in tracks if m.hw == mask.hw]
    best, track_id = max(alike, default=(0.0, 0))
    return track_id if best >= _SAME else records.newest_track(stream_id) + 1
