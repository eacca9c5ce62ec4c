"""Pictures that lie on disk as folders of tiles: Deep Zoom (DZI) and IIIF Image API level 0."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from streamer.errors import InputError
from streamer.sources.picture_levels import Level, rgb8

_TILES_KEPT = 64


@dataclass(eq=False)
class _TileLevel:
    """A level made of square tiles; `file_of(column, row)` names a tile's file, `margin_px` is
    how far tiles reach over their inner borders."""

    width_px: int
    height_px: int
    tile_px: int
    margin_px: int
    file_of: Callable[[int, int], Path]

    def __post_init__(self) -> None:
        self._tile = lru_cache(_TILES_KEPT)(self._load)

    def read(self, x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        out = np.empty((height_px, width_px, 3), np.uint8)
        side = self.tile_px
        for row in range(y_px // side, (y_px + height_px - 1) // side + 1):
            for column in range(x_px // side, (x_px + width_px - 1) // side + 1):
                left, top = column * side, row * side
                x0, x1 = max(x_px, left), min(x_px + width_px, left + side)
                y0, y1 = max(y_px, top), min(y_px + height_px, top + side)
                # tiles but those of the first column and row begin with their margin
                dx = (self.margin_px if column else 0) - left
                dy = (self.margin_px if row else 0) - top
                tile = self._tile(column, row)[y0 + dy : y1 + dy, x0 + dx : x1 + dx]
                if tile.shape[:2] != (y1 - y0, x1 - x0):
                    raise InputError(
                        f"{self.file_of(column, row)}: the tile is smaller than its place; "
                        "make the tiles again"
                    )
                out[y0 - y_px : y1 - y_px, x0 - x_px : x1 - x_px] = tile
        return out

    def _load(self, column: int, row: int) -> NDArray[np.uint8]:
        file = self.file_of(column, row)
        if not file.is_file():
            raise InputError(f"{file}: this tile is missing; make the tiles again")
        try:
            image = pyvips.Image.new_from_file(str(file), fail_on="truncated")
            return np.asarray(rgb8(image, file).numpy(), np.uint8)
        except pyvips.Error as error:
            why = str(error).strip().splitlines()[-1]
            raise InputError(f"{file}: this tile cannot be read ({why}); replace it") from None


def tile_folder_levels(place: Path) -> list[Level]:
    """The levels of a `.dzi` file or a IIIF folder; empty when the place is neither.

    Raises:
        InputError: when its description cannot be understood.
    """
    if place.suffix.lower() == ".dzi" and place.is_file():
        return _deep_zoom(place)
    info = place / "info.json" if place.is_dir() else place
    if info.name == "info.json" and info.is_file():
        return _iiif(info)
    return []


def _deep_zoom(place: Path) -> list[Level]:
    try:
        root = ElementTree.fromstring(place.read_bytes())
        size = next(item for item in root if item.tag.endswith("Size"))
        width, height = int(size.attrib["Width"]), int(size.attrib["Height"])
        tile, margin = int(root.attrib["TileSize"]), int(root.attrib["Overlap"])
        ending = root.attrib["Format"]
        if min(width, height, tile) < 1 or margin < 0:
            raise ValueError("sizes below 1")
    except (ElementTree.ParseError, StopIteration, KeyError, ValueError) as error:
        raise InputError(f"{place} is not a Deep Zoom description ({error}); replace it") from None
    folder = place.with_name(f"{place.stem}_files")
    top = (max(width, height) - 1).bit_length()
    levels: list[Level] = []
    for number in range(top, -1, -1):
        shrink = 1 << (top - number)
        level = folder / str(number)

        def file_of(column: int, row: int, level: Path = level) -> Path:
            return level / f"{column}_{row}.{ending}"

        hw = (-(-height // shrink), -(-width // shrink))
        levels.append(_TileLevel(hw[1], hw[0], tile, margin, file_of))
        if max(hw) <= tile:
            break
    return levels


def _iiif(info: Path) -> list[Level]:
    try:
        data: dict[str, Any] = json.loads(info.read_text(encoding="utf-8"))
        width, height = int(data["width"]), int(data["height"])
        tiles = data["tiles"][0]
        side, factors = int(tiles["width"]), sorted(int(f) for f in tiles["scaleFactors"])
        if min(width, height, side, *factors) < 1:
            raise ValueError("sizes below 1")
    except (OSError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{info} does not describe tiles of a IIIF image ({error!r}); replace it"
        ) from None
    return [_iiif_level(info.parent, width, height, side, factor) for factor in factors]


def _iiif_level(folder: Path, width: int, height: int, side: int, factor: int) -> Level:
    def file_of(column: int, row: int) -> Path:
        x, y = column * side * factor, row * side * factor
        w, h = min(side * factor, width - x), min(side * factor, height - y)
        out_w, out_h = -(-w // factor), -(-h // factor)
        whole = (x, y, w, h) == (0, 0, width, height)
        areas = (["full"] if whole else []) + [f"{x},{y},{w},{h}"]
        # version 3 writes both sides, version 2 the width; "max" and "full" are the whole picture
        sizes = [f"{out_w},{out_h}", f"{out_w},"] + (["max", "full"] if whole else [])
        options = [folder / a / s / "0" / "default.jpg" for a in areas for s in sizes]
        return next((option for option in options if option.is_file()), options[0])

    return _TileLevel(-(-width // factor), -(-height // factor), side, 0, file_of)
