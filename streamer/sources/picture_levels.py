"""How a picture file becomes levels of 8-bit RGB that are read in boxes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyvips
from numpy.typing import NDArray

from streamer.errors import InputError, OutputError

# libvips would hold on to pictures, and to what it failed to read of them, after we let go
pyvips.cache_set_max(0)

Progress = Callable[[float], None]

IN_MEMORY_PX = 48_000_000
LARGEST_SIDE_PX = 10_000_000  # libvips' own limit
TILE_PX = 256
_FORGET_PX = 16_000_000
_BRIGHTEST = 64.0  # of floating-point values that mean light; 1 is white
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
    """A level of libvips; `opened` opens its picture anew.

    libvips keeps what it decoded, more the wider the picture is; opened anew from time to time,
    it keeps the same little of any picture.
    """

    opened: Callable[[], Any]

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self.image = self.opened()
        self._read_px = 0

    @property
    def width_px(self) -> int:
        return int(self.image.width)

    @property
    def height_px(self) -> int:
        return int(self.image.height)

    def read(self, x_px: int, y_px: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
        self._read_px += width_px * height_px
        if self._read_px > _FORGET_PX:
            self._open()
        try:
            data = self.image.crop(x_px, y_px, width_px, height_px).numpy()
        except pyvips.Error:
            # what could not be read lies black in libvips' cache and would pass for the picture
            self._open()
            raise
        return np.asarray(data, np.uint8)


def identity_of(place: Path) -> str:
    """Says which picture lies at a path, and in which state its file is."""
    state = place.stat()
    return f"{place.resolve()} {state.st_size} {state.st_mtime_ns}"


def vips_levels(place: Path, cache: str, on_progress: Progress | None) -> list[Level]:
    if place.is_dir():
        raise InputError(
            f"{place} is a folder without info.json; give a picture, a .dzi file or a IIIF folder"
        )
    head = pyvips.Image.new_from_file(str(place))
    _check_size(place, head)
    _check_range(place, head)
    pages = _pyramid_pages(place, head)
    if pages:
        return [_VipsLevel(page) for page in pages]
    if head.width * head.height <= IN_MEMORY_PX:
        whole = pyvips.Image.new_from_file(str(place), fail_on="truncated")
        held = rgb8(_turned(whole), place).copy_memory()
        return [_VipsLevel(lambda: held)]
    made = _cached_pyramid(place, cache, on_progress)
    pages = _pyramid_pages(made, pyvips.Image.new_from_file(str(made)))
    return [_VipsLevel(page) for page in pages]


def _pyramid_pages(place: Path, head: Any) -> list[Callable[[], Any]]:
    """What opens the levels of a pyramid TIFF, each for random access; empty when it is none."""
    fields = head.get_fields()
    if "vips-loader" not in fields or not str(head.get("vips-loader")).startswith("tiff"):
        return []

    def opened(options: dict[str, int]) -> Any:
        image = pyvips.Image.new_from_file(str(place), fail_on="truncated", **options)
        return rgb8(_turned(image), place)

    if "n-subifds" in fields and int(head.get("n-subifds")) > 0:
        more = [{"subifd": i} for i in range(int(head.get("n-subifds")))]
    else:
        count = int(head.get("n-pages")) if "n-pages" in fields else 1
        more = [{"page": i} for i in range(1, count)]
    kept: list[dict[str, int]] = [{}]
    width = head.width
    for options in more:
        page = pyvips.Image.new_from_file(str(place), **options)
        # a page that is not the one before it at about half the size is another picture
        same = abs(page.height / head.height - page.width / head.width) * page.width < 2
        if not (same and 1.5 <= width / max(1, page.width) <= 4.5):
            break
        kept.append(options)
        width = page.width
    tiled = "tile-width" in fields
    if len(kept) == 1 and not (tiled and head.width <= 2 * TILE_PX):
        return []
    return [partial(opened, options) for options in kept]


def _turned(image: Any) -> Any:
    """EXIF and TIFF orientation applied."""
    return image.autorot()


def rgb8(image: Any, place: Path) -> Any:
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


def _check_range(place: Path, head: Any) -> None:
    """Floating-point values are light: 1 is white, a sky may be brighter, 255 is a mistake."""
    if head.interpretation != "scrgb":
        return
    side = min(512, head.width, head.height)
    middle = head.crop((head.width - side) // 2, (head.height - side) // 2, side, side)
    if (most := middle.max()) > _BRIGHTEST:
        raise InputError(
            f"{place} holds floating-point values up to {most:.0f}, where 1 is white; convert it "
            "to 8 or 16 bits"
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
    image = rgb8(_turned(image), place)
    if on_progress is not None:
        notify = on_progress  # a name of its own: it is not None in the closure
        image.set_progress(True)
        image.signal_connect("eval", lambda _image, state: notify(state.percent / 100))
    beside = made.with_name(f".{made.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        image.tiffsave(
            str(beside), tile=True, tile_width=TILE_PX, tile_height=TILE_PX, pyramid=True,
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


def unreadable(path: str, error: pyvips.Error) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = lines[-1] if lines else "libvips gives no reason"
    return InputError(f"{path} cannot be read as a picture ({why}); replace it")
