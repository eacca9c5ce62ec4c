"""One picture of any size, read through windows.

A window is read from the pyramid level that is just fine enough for it, so what a window costs
does not depend on the size of the picture. Small pictures are held in memory; large ones without
a pyramid are turned into a tiled pyramid TIFF once, in a cache.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyvips
from numpy.typing import NDArray

from streamer.errors import InputError
from streamer.sources.picture_levels import (
    TILE_PX,
    Level,
    Progress,
    identity_of,
    unreadable,
    vips_levels,
)
from streamer.sources.tile_folder import tile_folder_levels

_DAMAGED_GREY = 128


class Canvas:
    """A picture that is open for reading windows.

    Args:
        path: a picture in any format of libvips, or a folder of tiles (a `.dzi` file, or a IIIF
            Image API folder with its `info.json`).
        cache: folder for pyramids of large pictures; the user's cache folder when empty.
        on_progress: called with 0..1 while a pyramid is made.

    Raises:
        InputError: when the picture cannot be read, with one line.
    """

    def __init__(self, path: str, cache: str = "", on_progress: Progress | None = None) -> None:
        self.path = path
        place = Path(path)
        if not place.exists():
            raise InputError(f"{path}: no such picture; check the path")
        tiles = tile_folder_levels(place)
        try:
            levels = tiles or vips_levels(place, cache, on_progress)
        except pyvips.Error as error:
            raise unreadable(path, error) from None
        # the finest first
        self._levels: list[Level] = sorted(levels, key=lambda level: -level.width_px)
        self.width_px = self._levels[0].width_px
        self.height_px = self._levels[0].height_px
        self._probe()

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height_px, self.width_px

    @property
    def identity(self) -> str:
        """Says which picture it is, and in which state its file was."""
        return identity_of(Path(self.path))

    @property
    def level_widths_px(self) -> list[int]:
        """Widths of the pyramid's levels, the finest first."""
        return [level.width_px for level in self._levels]

    def window(
        self, x_px: int, y_px: int, width_px: int, height_px: int, out_hw: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """A window at the size wanted.

        Args:
            x_px, y_px, width_px, height_px: the window in canvas pixels, inside the canvas.
            out_hw: (height, width) of the result.

        Returns:
            HxWx3 uint8 RGB.

        Raises:
            InputError: when the picture's data is damaged there.
        """
        inside = 0 <= x_px <= self.width_px - width_px and 0 <= y_px <= self.height_px - height_px
        if not inside or min(width_px, height_px, *out_hw) < 1:
            raise ValueError(f"window {(x_px, y_px, width_px, height_px)} leaves {self.hw} px")
        level = self._level_for(width_px / out_hw[1])
        fx, fy = level.width_px / self.width_px, level.height_px / self.height_px
        x0, y0 = int(x_px * fx), int(y_px * fy)
        x1 = min(level.width_px, max(x0 + 1, round((x_px + width_px) * fx)))
        y1 = min(level.height_px, max(y0 + 1, round((y_px + height_px) * fy)))
        x0, y0 = min(x0, x1 - 1), min(y0, y1 - 1)
        try:
            pixels = level.read(x0, y0, x1 - x0, y1 - y0)
        except pyvips.Error as error:
            raise unreadable(self.path, error) from None
        if pixels.shape[:2] == out_hw:
            return pixels
        shrinks = pixels.shape[1] >= out_hw[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (out_hw[1], out_hw[0]), interpolation=how), np.uint8)

    def shown(
        self, x_px: int, y_px: int, width_px: int, height_px: int, out_hw: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """Like `window`, for showing: places whose data is damaged are grey."""
        try:
            return self.window(x_px, y_px, width_px, height_px, out_hw)
        except InputError:
            if max(width_px, height_px) <= TILE_PX or max(out_hw) < 2:
                return np.full((*out_hw, 3), _DAMAGED_GREY, np.uint8)
        # halves of the longer side, until only the damaged places are left
        height, width = out_hw
        if width >= height:
            first = width // 2
            cut = min(width_px - 1, max(1, round(width_px * first / width)))
            left = self.shown(x_px, y_px, cut, height_px, (height, first))
            right = self.shown(x_px + cut, y_px, width_px - cut, height_px, (height, width - first))
            return np.concatenate([left, right], axis=1)
        first = height // 2
        cut = min(height_px - 1, max(1, round(height_px * first / height)))
        above = self.shown(x_px, y_px, width_px, cut, (first, width))
        below = self.shown(x_px, y_px + cut, width_px, height_px - cut, (height - first, width))
        return np.concatenate([above, below], axis=0)

    def thumbnail(self, longest_px: int) -> NDArray[np.uint8]:
        """The whole picture with its longer side at most `longest_px` (a side is at least 1)."""
        share = min(1.0, longest_px / max(self.hw))
        out_hw = (max(1, round(self.height_px * share)), max(1, round(self.width_px * share)))
        return self.window(0, 0, self.width_px, self.height_px, out_hw)

    def _level_for(self, shrink: float) -> Level:
        """The coarsest level that is no coarser than the window."""
        chosen = self._levels[0]
        for level in self._levels:
            if self.width_px / level.width_px <= shrink * 1.01:
                chosen = level
        return chosen

    def _probe(self) -> None:
        """Read the corners of all levels, so that a file that breaks off is known at once."""
        for level in self._levels:
            for x in (0, level.width_px - 1):
                for y in (0, level.height_px - 1):
                    try:
                        level.read(x, y, 1, 1)
                    except pyvips.Error as error:
                        raise unreadable(self.path, error) from None
