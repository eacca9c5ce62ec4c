"""A part of a scroll as one picture, put together from the tiles that its page has on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError, InputError
from streamer.viewer.run import Run

TILE_PX = 512
LONGEST_PX = 1024
_LEAST_PX = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A part of the canvas at one of its levels.

    Attributes:
        image: HxWx3 uint8 RGB, at most LONGEST_PX on a side.
        left_px, top_px: its corner, in pixels of the level.
        shrink: canvas pixels per pixel of the level, a power of two; 1 at full resolution.
    """

    image: NDArray[np.uint8]
    left_px: int
    top_px: int
    shrink: int


def cut(run: Run, box_xyxy: Sequence[float]) -> Cut:
    """What a scroll shows in a box of canvas pixels, clipped to the canvas: at the finest level
    at which it is at most LONGEST_PX long, so never larger than it was scanned.

    Raises:
        ConfigError: when the box shows too little of the canvas to ask about.
        InputError: when this is no scroll, or tiles are missing.
    """
    if run.scroll is None:
        raise InputError("this is no scroll")
    width, height = run.scroll["width_px"], run.scroll["height_px"]
    lowest, finest = run.scroll["levels"]
    x0, x1 = (min(max(v, 0.0), float(width)) for v in box_xyxy[::2])
    y0, y1 = (min(max(v, 0.0), float(height)) for v in box_xyxy[1::2])
    level = finest
    while True:
        shrink = 1 << (finest - level)
        left, right = math.floor(x0 / shrink), math.ceil(x1 / shrink)
        top, bottom = math.floor(y0 / shrink), math.ceil(y1 / shrink)
        if max(right - left, bottom - top) <= LONGEST_PX or level == lowest:
            break
        level -= 1
    if min(right - left, bottom - top) < _LEAST_PX:
        raise ConfigError("too little of the picture is in view to ask about it; zoom or move")
    if max(right - left, bottom - top) > LONGEST_PX:
        raise InputError("the coarsest tiles are missing; let `streamer scroll` write the page")
    image = np.empty((bottom - top, right - left, 3), np.uint8)
    for row in range(top // TILE_PX, (bottom - 1) // TILE_PX + 1):
        for column in range(left // TILE_PX, (right - 1) // TILE_PX + 1):
            x, y = column * TILE_PX, row * TILE_PX
            tile = _tile(run, level, column, row)
            xs = slice(max(left, x), min(right, x + TILE_PX))
            ys = slice(max(top, y), min(bottom, y + TILE_PX))
            part = tile[ys.start - y : ys.stop - y, xs.start - x : xs.stop - x]
            if part.shape[:2] != (ys.stop - ys.start, xs.stop - xs.start):
                raise InputError(f"tile {level}/{column}_{row} is smaller than it should be")
            image[ys.start - top : ys.stop - top, xs.start - left : xs.stop - left] = part
    return Cut(image=image, left_px=left, top_px=top, shrink=shrink)


def _tile(run: Run, level: int, column: int, row: int) -> NDArray[np.uint8]:
    name = f"{level}/{column}_{row}"
    path = run.tile(f"{name}.jpg")
    try:
        data = path.read_bytes() if path is not None else b""
        tile = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except (OSError, cv2.error):
        tile = None
    if tile is None:
        raise InputError(f"tile {name} is missing or damaged; let `streamer scroll` write the page")
    return np.asarray(tile[..., ::-1])
