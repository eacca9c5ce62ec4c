"""Which film of a stream a browser can play, and single pictures of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from streamer.clock import pts_to_ns
from streamer.errors import InputError
from streamer.sources.decoding import Account, RgbConverter, open_video, pictures, scaled_hw

_CODECS = {
    "video/mp4": ("h264", "av1", "vp9", "libdav1d"),
    "video/webm": ("vp8", "vp9", "av1", "libdav1d"),
}
_DEPTHS = ("yuv420p", "yuvj420p")  # what every browser decodes


@dataclass(frozen=True, kw_only=True)
class Film:
    """A file that a browser plays.

    Attributes:
        kind: "source", or "captioned" with outlines and words in the picture.
        begin_ns: media time of the run at the film's beginning.
        file_begin_ns: the same in the file's own time.
    """

    kind: str
    path: Path
    mime: str
    begin_ns: int
    file_begin_ns: int
    duration_ns: int | None

    def picture(self, time_ns: int, max_height: int | None) -> tuple[int, NDArray[np.uint8]]:
        """The picture shown at a media time, HxWx3 uint8 RGB, and its media time.

        Args:
            max_height: larger pictures are scaled down to this height in pixels.

        Raises:
            InputError: when there is none.
        """
        wanted_ns = time_ns - self.begin_ns + self.file_begin_ns
        shown = None
        for at_ns, picture in pictures(self.path, Account(since_ns=wanted_ns)):
            if shown is not None and at_ns > wanted_ns:
                break
            shown = at_ns, picture
        if shown is None:
            raise InputError(f"{self.path.name}: no picture at {wanted_ns / 1e9:.3f} s")
        image = RgbConverter().convert(shown[1], scaled_hw(shown[1], max_height))
        return shown[0] - self.file_begin_ns + self.begin_ns, image


def playable(path: Path, kind: str, begin_ns: int | None = None) -> Film | None:
    """A file as film, None when it is none or browsers cannot play it.

    Args:
        begin_ns: media time of the run at the film's beginning; the file's own when None.
    """
    if not path.is_file():
        return None
    try:
        container, stream = open_video(path)
    except InputError:
        return None
    try:
        names = container.format.name.split(",")
        mime = "video/mp4" if "mp4" in names else "video/webm" if "webm" in names else ""
        codec = stream.codec_context
        if codec.name not in _CODECS.get(mime, ()) or codec.pix_fmt not in _DEPTHS:
            return None
        # players count from where the first of a file's streams begins
        start_ns = pts_to_ns(container.start_time or 0, Fraction(1, av.time_base))
        length = container.duration
        return Film(
            kind=kind, path=path, mime=mime,
            begin_ns=start_ns if begin_ns is None else begin_ns, file_begin_ns=start_ns,
            duration_ns=None if length is None else pts_to_ns(length, Fraction(1, av.time_base)),
        )  # fmt: skip
    finally:
        container.close()
