"""A folder of pictures as a stream, one frame each."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.interfaces import Source
from streamer.records import Event, Frame, StreamInfo
from streamer.sources.names import readable, stream_name

PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class Images(Source):
    """Pictures in natural order of their names (2 before 10), at a steady rate.

    EXIF orientation is applied; 16-bit pictures are scaled to 8. A picture that cannot be read is
    left out and named in an `input_error` event at its time; its place in time stays empty, and
    `index` counts it. Sizes may differ.

    Args:
        path: a folder, a single picture, or a pattern such as `shots/*.png`.
        fps: pictures a second.
        max_height: larger pictures are scaled down to this height in pixels. None: never.
        stream_id: the name in all records; the folder's name when empty.
    """

    def __init__(
        self, path: str, fps: float = 1.0, max_height: int | None = None, stream_id: str = ""
    ) -> None:
        if fps <= 0:
            raise ValueError(f"fps is {fps}; wanted more than 0")
        if max_height is not None and max_height < 16:
            raise ValueError(f"max_height is {max_height}; wanted at least 16")
        self.path = path
        self.fps = Fraction(str(fps))
        self.max_height = max_height
        place = Path(path)
        self.stream_id = stream_name(stream_id, place.parent if glob.has_magic(path) else place)
        self._files: list[Path] = []

    def open(self) -> list[StreamInfo]:
        self._files = _listed(self.path)
        first = next((hw for hw in map(self._hw, self._files) if hw is not None), None)
        if first is None:
            raise InputError(f"{self.path}: none of its pictures can be read; give others")
        return [
            StreamInfo(
                stream_id=self.stream_id,
                uri=self.path,
                width_px=first[1],
                height_px=first[0],
                fps=float(self.fps),
                duration_ns=self._time_ns(len(self._files)),
                frames=len(self._files),
            )
        ]

    def read(self) -> Iterator[Frame | Event]:
        for index, file in enumerate(self._files):
            time_ns = self._time_ns(index)
            try:
                image = self._load(file)
            except InputError as error:
                yield Event(
                    stream_id=self.stream_id,
                    time_ns=time_ns,
                    kind="input_error",
                    data={"reason": str(error), "frames_lost": 1},
                )
                continue
            yield Frame(
                stream_id=self.stream_id,
                index=index,
                time_ns=time_ns,
                image=image,
                viewport=Viewport.whole(*image.shape[:2]),
            )

    def _time_ns(self, index: int) -> int:
        return round(index * 10**9 / self.fps)

    def _load(self, file: Path) -> NDArray[np.uint8]:
        try:
            with Image.open(file) as opened:
                picture = _eight_bit(ImageOps.exif_transpose(opened)).convert("RGB")
        except Exception as error:  # what broken bytes make Pillow's decoders raise has no end
            unknown = isinstance(error, UnidentifiedImageError)
            why = "it is none that Pillow knows" if unknown else str(error)
            raise InputError(
                f"{readable(file.name)} cannot be read as a picture ({why}); replace it"
            ) from None
        if self.max_height is not None and picture.height > self.max_height:
            width = max(1, round(picture.width * self.max_height / picture.height))
            picture = picture.resize((width, self.max_height), Image.Resampling.BOX)
        return np.array(picture, np.uint8)

    def _hw(self, file: Path) -> tuple[int, int] | None:
        try:
            height, width = self._load(file).shape[:2]
        except InputError:
            return None
        return height, width


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 bits scaled to 8; Pillow's own conversion clips them at 255."""
    if picture.mode == "F":
        raise ValueError("floating-point values have no known range; convert it to 8 or 16 bits")
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.clip(np.asarray(picture), 0, 65535) >> 8).astype(np.uint8))


def _listed(path: str) -> list[Path]:
    """The pictures of a folder or pattern in natural order, or the one picture.

    Raises:
        InputError: when there are none.
    """
    place = Path(path)
    if place.is_file():
        return [place]
    if not place.is_dir() and not glob.has_magic(path):
        raise InputError(f"{path}: no such folder or picture; check the path")
    try:
        found = list(place.iterdir()) if place.is_dir() else [Path(n) for n in glob.glob(path)]
    except OSError as error:
        raise InputError(
            f"{path} may not be read ({error.strerror}); change its permissions"
        ) from None
    files = [file for file in found if file.suffix.lower() in PICTURE_ENDINGS and file.is_file()]
    if not files:
        endings = " ".join(sorted(PICTURE_ENDINGS))
        raise InputError(f"{path} has no pictures ({endings}); give a folder or pattern with some")
    return sorted(
        files, key=lambda p: ([int(t) if t.isdecimal() else t for t in _parts(p.name)], p)
    )


def _parts(name: str) -> list[str]:
    # text and numbers alternate, so that names of any shape compare
    return re.split(r"(\d+)", name.lower())
