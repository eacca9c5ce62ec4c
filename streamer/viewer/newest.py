"""The newest pictures of cameras, as `streamer.sinks.newest` leaves them in a run's folder.

A file is replaced every second. So that a picture can be asked about which somebody has before
their eyes, those shown last are kept in memory.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamer.errors import InputError
from streamer.sinks.newest import FOLDER, Taken, taken_of
from streamer.sinks.views import folder_of

_MOST_BYTES = 16 << 20
_KEPT = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Still:
    """A picture (JPEG) and when it was taken."""

    taken: Taken
    jpeg: bytes

    def image(self, hw: tuple[int, int]) -> NDArray[np.uint8]:
        """HxWx3 uint8 RGB, at the size (height, width) in which its masks are.

        Raises:
            InputError: when it is damaged.
        """
        try:
            with Image.open(io.BytesIO(self.jpeg), formats=["JPEG"]) as picture:
                image = np.asarray(picture.convert("RGB"))
        except OSError as error:
            raise InputError(f"the newest picture is damaged ({error})") from None
        if min(hw) > 0 and image.shape[:2] != hw:
            image = cv2.resize(image, hw[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(image, np.uint8)


class Newest:
    """Pictures in the folder of a run; may be used by many threads at once."""

    def __init__(self, out: Path) -> None:
        self.folder = out.resolve() / FOLDER
        self._shown: OrderedDict[tuple[str, int], Still] = OrderedDict()
        self._files: dict[str, tuple[tuple[int, int], Still | None]] = {}
        self._lock = threading.Lock()

    def now(self, stream_id: str) -> Still | None:
        """The newest picture of a stream; None when there is none."""
        path = self.folder / f"{folder_of(stream_id)}.jpg"
        try:
            # neither is a link followed out of the run, nor a file read that is no picture of ours
            if path.resolve() != path or (stat := path.stat()).st_size > _MOST_BYTES:
                return None
            state = stat.st_mtime_ns, stat.st_ino
            with self._lock:
                known = self._files.get(stream_id)
            if known is None or known[0] != state:
                known = state, _read(path, stream_id)
                with self._lock:
                    self._files[stream_id] = known
            return known[1]
        except (OSError, ValueError, RuntimeError):
            return None

    def show(self, stream_id: str) -> Still | None:
        """`now`, and it is kept, for it may be asked about."""
        still = self.now(stream_id)
        if still is not None:
            with self._lock:
                self._shown[stream_id, still.taken.time_ns] = still
                self._shown.move_to_end((stream_id, still.taken.time_ns))
                while len(self._shown) > _KEPT:
                    self._shown.popitem(last=False)
        return still

    def at(self, stream_id: str, time_ns: int) -> Still | None:
        """The picture of a moment (+- 1 ms), when it is the newest or was shown lately."""
        newest = self.now(stream_id)
        with self._lock:
            found = [still for (name, _), still in self._shown.items() if name == stream_id]
        for still in (*found, *([newest] if newest is not None else [])):
            if abs(still.taken.time_ns - time_ns) <= 10**6:
                return still
        return None


def _read(path: Path, stream_id: str) -> Still | None:
    jpeg = path.read_bytes()
    taken = taken_of(jpeg)
    if taken is None or taken.stream_id != stream_id:
        return None
    return Still(taken=taken, jpeg=jpeg)
