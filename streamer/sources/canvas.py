"""One picture of any size, read through windows.

A window is read from the pyramid level that is just fine enough for it, so what a window costs
does not depend on the size of the picture. Small pictures are held in memory; large ones without
a pyramid are turned into a tiled pyramid TIFF once, in a cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import pyvips
from numpy.typing import NDArray

from streamer.errors import InputError, OutputError
from streamer.sources.tile_folder import tile_folder_levels

Progress = Callable[[float], None]

IN_MEMORY_PX = 48_000_000
LARGEST_SIDE_PX = 10_000_000  # libvips' own limit
_TILE_PX = 256
# no picture format packs more pixels into a byte of file than deflate's 1032 bytes of 8 pixels
_MOST_PX_PER_BYTE = 8 * 1032


class Level(Protocol):
    """A picture of one scale: 8-bit RGB, read in boxes."""

    @property
    def width_px(self) -> int: ...
    @property
    def height_px(self) -> int: ...
    def read(self, x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """HxWx3 uint8 RGB of a box that lies inside."""


@dataclass(eq=False)
class _VipsLevel:
    image: Any

    def __post_init__(self) -> None:
        self._region = pyvips.Region.new(self.image)

    @property
    def width_px(self) -> int:
        return int(self.image.width)

    @property
    def height_px(self) -> int:
        return int(self.image.height)

    def read(self, x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        data = self._region.fetch(x_px, y_px, width_px, height_px)
        return np.frombuffer(data, np.uint8).reshape(height_px, width_px, 3)


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
            levels = tiles or _vips_levels(place, cache, on_progress)
        except pyvips.Error as error:
            raise _unreadable(path, error) from None
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
            raise _unreadable(self.path, error) from None
        if pixels.shape[:2] == out_hw:
            return pixels
        shrinks = pixels.shape[1] >= out_hw[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (out_hw[1], out_hw[0]), interpolation=how), np.uint8)

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
                        raise _unreadable(self.path, error) from None


def identity_of(place: Path) -> str:
    """Says which picture lies at a path, and in which state its file is."""
    state = place.stat()
    return f"{place.resolve()} {state.st_size} {state.st_mtime_ns}"


def _vips_levels(place: Path, cache: str, on_progress: Progress | None) -> list[Level]:
    if place.is_dir():
        raise InputError(
            f"{place} is a folder without info.json; give a picture, a .dzi file or a IIIF folder"
        )
    head = pyvips.Image.new_from_file(str(place))
    _check_size(place, head)
    pages = _pyramid_pages(place, head)
    if pages:
        return [_VipsLevel(_rgb8(_turned(page), place)) for page in pages]
    if head.width * head.height <= IN_MEMORY_PX:
        whole = pyvips.Image.new_from_file(str(place), fail_on="truncated")
        return [_VipsLevel(_rgb8(_turned(whole), place).copy_memory())]
    made = _cached_pyramid(place, cache, on_progress)
    return [
        _VipsLevel(page) for page in _pyramid_pages(made, pyvips.Image.new_from_file(str(made)))
    ]


def _pyramid_pages(place: Path, head: Any) -> list[Any]:
    """The levels of a pyramid TIFF, each opened for random access; empty when it is none."""
    fields = head.get_fields()
    if "vips-loader" not in fields or not str(head.get("vips-loader")).startswith("tiff"):
        return []

    def opened(**options: int) -> Any:
        return pyvips.Image.new_from_file(str(place), fail_on="truncated", **options)

    if "n-subifds" in fields and int(head.get("n-subifds")) > 0:
        more = [opened(subifd=i) for i in range(int(head.get("n-subifds")))]
    else:
        count = int(head.get("n-pages")) if "n-pages" in fields else 1
        more = [opened(page=i) for i in range(1, count)]
    pages, width = [opened()], head.width
    for page in more:
        # a page that is not the one before it at about half the size is another picture
        same = abs(page.height / head.height - page.width / head.width) * page.width < 2
        if not (same and 1.5 <= width / max(1, page.width) <= 4.5):
            break
        pages.append(page)
        width = page.width
    tiled = "tile-width" in fields
    return pages if len(pages) > 1 or (tiled and head.width <= 2 * _TILE_PX) else []


def _turned(image: Any) -> Any:
    """EXIF and TIFF orientation applied."""
    return image.autorot()


def _rgb8(image: Any, place: Path) -> Any:
    """Any picture as 8-bit RGB; transparency shows white."""
    if image.coding != "none":
        image = image.rad2float() if image.coding == "rad" else image.colourspace("lab")
    if image.format in ("float", "double", "complex", "dpcomplex") and image.interpretation not in (
        "scrgb", "lab", "xyz", "lch",
    ):  # fmt: skip
        raise InputError(
            f"{place} holds floating-point values without a known range; convert it to 8 or 16 bits"
        )
    if image.format in ("int", "uint", "char", "short"):
        raise InputError(
            f"{place} holds values of type {image.format}, which have no known range; convert it "
            "to 8 or 16 bits"
        )
    if image.bands > 5:
        raise InputError(f"{place} has {image.bands} bands; convert it to RGB")
    if image.format == "ushort" and image.interpretation in ("b-w", "multiband", "srgb"):
        image = image.copy(interpretation="grey16" if image.bands <= 2 else "rgb16")
    elif image.interpretation == "multiband":
        image = image.copy(interpretation="b-w" if image.bands <= 2 else "srgb")
    if image.interpretation == "cmyk" and "icc-profile-data" in image.get_fields():
        image = image.icc_transform("srgb")
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.hasalpha():
        image = image.flatten(background=255)
    if image.format != "uchar":
        image = image.cast("uchar")
    if image.bands == 1:
        image = image.bandjoin([image, image])
    return image if image.bands == 3 else image.extract_band(0, n=3)


def _check_size(place: Path, head: Any) -> None:
    if max(head.width, head.height) > LARGEST_SIDE_PX:
        raise InputError(
            f"{place} says it is {head.width}x{head.height} px; sides up to {LARGEST_SIDE_PX} px "
            "can be read; cut it into parts"
        )
    held = place.stat().st_size
    if head.width * head.height > _MOST_PX_PER_BYTE * max(1, held) + IN_MEMORY_PX:
        raise InputError(
            f"{place} says it is {head.width}x{head.height} px but holds only {held} bytes; that "
            "is no real picture; give another"
        )


def _cached_pyramid(place: Path, cache: str, on_progress: Progress | None) -> Path:
    """A tiled pyramid TIFF of a picture, made once for every content of the file."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(cache) if cache else Path(base) / "streamer" / "pyramids"
    key = identity_of(place)
    made = folder / f"{place.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.tif"
    if made.is_file():
        return made
    image = pyvips.Image.new_from_file(str(place), fail_on="truncated")
    if "orientation" not in image.get_fields() or int(image.get("orientation")) == 1:
        # read once from top to bottom, in little memory
        image = pyvips.Image.new_from_file(str(place), fail_on="truncated", access="sequential")
    image = _rgb8(_turned(image), place)
    if on_progress is not None:
        notify = on_progress  # a name of its own: it is not None in the closure
        image.set_progress(True)
        image.signal_connect("eval", lambda _image, state: notify(state.percent / 100))
    beside = made.with_name(f".{made.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        image.tiffsave(
            str(beside), tile=True, tile_width=_TILE_PX, tile_height=_TILE_PX, pyramid=True,
            compression="jpeg", Q=92, bigtiff=True,
        )  # fmt: skip
        beside.replace(made)
    except OSError as error:
        raise OutputError(
            f"{made} cannot be written ({error.strerror}); give another cache folder"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    if on_progress is not None:
        on_progress(1.0)
    return made


def _unreadable(path: str, error: pyvips.Error) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = lines[-1] if lines else "libvips gives no reason"
    return InputError(f"{path} cannot be read as a picture ({why}); replace it")
