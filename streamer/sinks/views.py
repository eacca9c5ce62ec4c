"""Good views of tracks, and pictures of them in files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamer.records import Frame, Region, record_id
from streamer.sinks.files import writing

MUCH_BETTER = 1.2  # a little better is not worth a picture


def quality(frame: Frame, region: Region) -> float:
    """Pixels of the mask, fewer where the picture may cut it off."""
    height, width = frame.hw
    x0, y0, x1, y1 = region.box_xyxy
    cut_off = x0 <= 2 or y0 <= 2 or x1 >= width - 2 or y1 >= height - 2
    return region.mask.area_px * (0.5 + 0.5 * region.score) * (0.3 if cut_off else 1.0)


def save_picture(path: Path, image: NDArray[np.uint8], *, comment: bytes = b"") -> None:
    """Write HxWx3 (RGB) or HxWx4 (RGBA) pixels as the ending says; whole or not at all. A JPEG
    may carry a comment.

    Raises:
        OutputError: when the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.new")
    with writing(path):
        kind = "PNG" if path.suffix == ".png" else "JPEG"
        Image.fromarray(image).save(beside, format=kind, quality=92, comment=comment)
        beside.replace(path)


def folder_of(stream_id: str) -> str:
    """A folder's name for a stream: its own where that is harmless, else with what tells it
    apart from others that look alike."""
    name = re.sub(r"[^\w.-]", "_", stream_id).strip(".")[:60]
    return name if name and name == stream_id else f"{name or 'stream'}-{record_id(stream_id)[:8]}"
