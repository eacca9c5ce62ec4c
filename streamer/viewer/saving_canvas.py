"""Answers about a scroll become regions of it: records `canvas_region` in asked.jsonl.

They have a file of their own, beside those of the run: `streamer scroll` writes regions.geojson
and regions.jsonl anew whenever it runs, and would lose them, and to change a file that a run may be
writing breaks it. The pages put both together. A line is added in one piece, and its id follows
from the place alone: saved again, with more words, a region replaces itself, for the last line
counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.canvas_mask import CanvasMask
from streamer.geometry import BoxXYXY
from streamer.mask import Mask
from streamer.records import Caption, record_id
from streamer.scroll.findings import Finding, finding_json
from streamer.scroll.geojson import feature
from streamer.scroll.narration import canvas_place
from streamer.viewer.asking import Asker, Turn
from streamer.viewer.run import Run
from streamer.viewer.saving import NAME, append, words_of

_BESIDE_THE_RUN = 10**9  # the walk counts its regions from 1
_MOST_BYTES = 64 << 20


def save_on_canvas(
    run: Run,
    inside: NDArray[np.bool_],
    box_xyxy: BoxXYXY,
    window_xyxy: BoxXYXY,
    turns: Sequence[Turn],
    asker: Asker,
    quality: float,
) -> dict[str, Any]:
    """Save what was answered about a region of a scroll.

    Args:
        inside: the mask of the box, at any scale.
        box_xyxy, window_xyxy: of the region and of what was looked at, in canvas pixels.
        quality: 0..1, how sure the outline is.

    Returns:
        The region as a GeoJSON feature, as in `asked_features`.

    Raises:
        OutputError: when the file cannot be written.
    """
    mask = Mask.encode(inside)
    number = _BESIDE_THE_RUN + int(record_id(box_xyxy, mask.counts)[:7], 16)
    text, detail, mean_logprob = words_of(turns)
    caption = Caption(
        stream_id=run.folder.resolve().name, track_id=number, start_ns=0, end_ns=0, text=text,
        detail=detail, why="asked", asked_ns=0, frame_index=0, frame_time_ns=0, mask=mask,
        mean_logprob=mean_logprob, model=asker.name, weights_hash=asker.weights_hash,
    )  # fmt: skip
    finding = Finding(
        stream_id=caption.stream_id, region_id=number, shape=CanvasMask(box_xyxy, mask),
        window_xyxy=window_xyxy, asked_xyxy=window_xyxy, first_ns=0, last_ns=0,
        sure=round(quality, 3), windows=1, joined=False, caption=caption,
    )  # fmt: skip
    place = canvas_place(finding, _hw(run))
    append(run.folder, {**finding_json(finding), "place": place, "neighbours": []})
    return _feature(finding, _hw(run), text, detail)


def asked_features(run: Run) -> list[dict[str, Any]]:
    """What was saved of a scroll, as GeoJSON features with `asked` among their properties; lines
    that cannot be read, or do not lie on this canvas, are passed over."""
    path = run.folder / NAME
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).splitlines()
    except OSError:
        return []
    found: dict[int, dict[str, Any]] = {}
    height, width = _hw(run)
    for line in lines:
        try:
            data = json.loads(line)
            if data["record"] != "canvas_region":
                continue
            x0, y0, x1, y1 = (int(v) for v in data["box_xyxy"])
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                continue
            finding = Finding(
                stream_id=str(data["stream_id"]), region_id=int(data["region_id"]),
                shape=CanvasMask((x0, y0, x1, y1), Mask.from_json(data["mask"])),
                window_xyxy=(0, 0, 1, 1), asked_xyxy=None, first_ns=0, last_ns=0,
                sure=float(data["sure"]), windows=1, joined=False,
            )  # fmt: skip
            number = finding.region_id
            found[number] = _feature(finding, (height, width), str(data["text"]), data["detail"])
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def _feature(finding: Finding, hw: tuple[int, int], text: str, detail: str) -> dict[str, Any]:
    made = feature(finding, [finding], hw)
    made["properties"] |= {"text": text, "detail": str(detail), "asked": True}
    return made


def _hw(run: Run) -> tuple[int, int]:
    assert run.scroll is not None
    return run.scroll["height_px"], run.scroll["width_px"]
