"""A static page: the whole picture to zoom into, with regions, words, scenes and the path.

Opens from a file, without a server: tiles are pictures beside the page, data is a script.
"""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from streamer.errors import OutputError
from streamer.scroll.findings import Finding
from streamer.scroll.narration import Scene, canvas_place, neighbours, scene_json
from streamer.sinks.drawing import track_colour
from streamer.sinks.files import writing
from streamer.sources.canvas import Canvas
from streamer.sources.paths import Walk

_STATIC = Path(__file__).parent / "static"
_TILE_PX = 512


def write_page(
    folder: Path,
    canvas: Canvas,
    walk: Walk,
    findings: Sequence[Finding],
    scenes: Sequence[Scene],
    *,
    title: str,
    film: str = "",
    on_progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write the page into a folder: index.html, its scripts, and the picture's tiles.

    Args:
        film: address of the walk's film as seen from the page, "" for none.

    Raises:
        OutputError: when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("openseadragon.min.js", "openseadragon.LICENSE.txt", "scroll.js", "scroll.css"):
        with writing(folder / name):
            shutil.copyfile(_STATIC / name, folder / name)
    lowest, finest = _write_tiles(folder / "tiles", canvas, on_progress)
    data = page_data(walk, findings, scenes, title=title)
    data["levels"] = [lowest, finest]
    data["film"] = film
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    page = (_STATIC / "index.html").read_text(encoding="utf-8")
    with writing(folder / "index.html"):
        (folder / "data.js").write_text(f"window.SCROLL = {text};\n", encoding="utf-8")
        (folder / "index.html").write_text(
            page.replace("{{title}}", html.escape(title)), encoding="utf-8"
        )


def page_data(
    walk: Walk, findings: Sequence[Finding], scenes: Sequence[Scene], *, title: str
) -> dict[str, Any]:
    """What the page shows."""
    height, width = walk.canvas_hw
    words = {f.region_id: f.text for f in findings}
    return {
        "title": title,
        "width": width,
        "height": height,
        "tile": _TILE_PX,
        "path": [
            [x + w / 2, y + h / 2, stop.pause_ns > 0, stop.level]
            for stop in walk.stops
            for x, y, w, h in [stop.box_xywh]
        ],
        "scenes": [scene_json(scene) for scene in scenes],
        "regions": [
            {
                "id": f.region_id,
                "text": f.text,
                "detail": f.caption.detail if f.caption else "",
                "place": canvas_place(f, walk.canvas_hw),
                "near": [f"{relation} {words[i]}" for relation, i in neighbours(f, findings)],
                "box": list(f.box_xyxy),
                "rings": [[[round(x, 1), round(y, 1)] for x, y in ring] for ring in f.outline(1.0)],
                "colour": "#{:02x}{:02x}{:02x}".format(*track_colour(f.region_id)),
            }
            for f in findings
        ],
    }


def _write_tiles(
    folder: Path, canvas: Canvas, on_progress: Callable[[float], None]
) -> tuple[int, int]:
    """Deep Zoom tiles `level/column_row.jpg`; returns the numbers of the coarsest and the finest
    level. Tiles of the same picture that are there from an earlier run are kept."""
    top = (max(canvas.hw) - 1).bit_length()
    lowest = min(top, (_TILE_PX - 1).bit_length())
    mark = folder / "picture"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != canvas.identity:
        shutil.rmtree(folder, ignore_errors=True)
        with writing(mark):
            folder.mkdir(parents=True)
            mark.write_text(canvas.identity, encoding="utf-8")
    jobs = []
    for level in range(top, lowest - 1, -1):
        shrink = 1 << (top - level)
        height, width = -(-canvas.height_px // shrink), -(-canvas.width_px // shrink)
        for row in range(-(-height // _TILE_PX)):
            for column in range(-(-width // _TILE_PX)):
                jobs.append((level, shrink, column, row, width, height))
    for n, (level, shrink, column, row, width, height) in enumerate(jobs):
        file = folder / str(level) / f"{column}_{row}.jpg"
        if not file.is_file():
            x, y = column * _TILE_PX, row * _TILE_PX
            w, h = min(_TILE_PX, width - x), min(_TILE_PX, height - y)
            box = (x * shrink, y * shrink)
            size = (
                min(w * shrink, canvas.width_px - box[0]),
                min(h * shrink, canvas.height_px - box[1]),
            )
            _write_tile(file, canvas.shown(*box, *size, (h, w)))
        on_progress((n + 1) / len(jobs))
    return lowest, top


def _write_tile(file: Path, tile: NDArray[np.uint8]) -> None:
    beside = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        image = pyvips.Image.new_from_array(np.ascontiguousarray(tile))
        image.copy(interpretation="srgb").jpegsave(str(beside), Q=88)
        beside.replace(file)
    except (OSError, pyvips.Error) as error:
        raise OutputError(
            f"{file} cannot be written ({error}); free space or choose another folder"
        ) from None
