"""A picture of every track: its best view."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import OutputError
from streamer.interfaces import Sink
from streamer.records import Event, Frame, Region, StreamInfo, TrackedFrame
from streamer.sinks.files import writing
from streamer.sinks.views import MUCH_BETTER, folder_of, quality, save_picture

_Key = tuple[str, int]


class Crops(Sink[TrackedFrame | Event]):
    """Writes PATH/STREAM/TRACK.jpg (or .png) when a track ends: the view with most of it in the
    picture, at full resolution. A stream that is run again replaces its pictures.

    Args:
        path: the folder to write into; made when it is missing.
        format: jpg or png.
        margin: how much around the region is shown, as a share of its longer side.
        cut_out: only the pixels of the mask, the others transparent; needs format png.
        min_area_px: smaller regions get no picture.
    """

    ordered = True

    def __init__(
        self,
        path: str,
        format: str = "jpg",
        margin: float = 0.1,
        cut_out: bool = False,
        min_area_px: int = 1,
    ) -> None:
        if format not in ("jpg", "png"):
            raise ValueError(f"format is {format!r}; wanted jpg or png")
        if cut_out and format != "png":
            raise ValueError("cut_out needs transparency; set format to png")
        if not 0 <= margin <= 10:
            raise ValueError(f"margin is {margin}; wanted 0 to 10")
        self.path = Path(path)
        self.format = format
        self.margin = margin
        self.cut_out = cut_out
        self.min_area_px = min_area_px
        self._best: dict[_Key, NDArray[np.uint8]] = {}
        self._quality: dict[_Key, float] = {}
        self._begun: set[str] = set()

    def open(self, streams: Sequence[StreamInfo]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; give a folder for the pictures")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def write(self, record: TrackedFrame | Event) -> None:
        if isinstance(record, Event):
            if record.kind == "track_end" and record.track_id is not None:
                key = (record.stream_id, record.track_id)
                self._save(key)
                self._quality.pop(key, None)
            return
        for region in record.regions:
            key = (record.stream_id, region.track_id)
            found = quality(record.frame, region)
            if region.mask.area_px < self.min_area_px:
                continue
            if key not in self._quality or found > MUCH_BETTER * self._quality[key]:
                self._quality[key] = found
                self._best[key] = self._crop(record.frame, region)

    def flush(self) -> None:
        for key in sorted(self._best):
            self._save(key)

    def close(self) -> None:
        self.flush()

    def _save(self, key: _Key) -> None:
        image = self._best.pop(key, None)
        if image is not None:
            stream_id, track_id = key
            folder = self._folder(stream_id)
            save_picture(folder / f"{track_id:05d}.{self.format}", image)

    def _folder(self, stream_id: str) -> Path:
        folder = self.path / folder_of(stream_id)
        if stream_id not in self._begun:
            self._begun.add(stream_id)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                for old in folder.iterdir():  # of an earlier run
                    if re.fullmatch(r"\d{5,}\.(jpg|png)", old.name):
                        old.unlink()
        return folder

    def _crop(self, frame: Frame, region: Region) -> NDArray[np.uint8]:
        x0, y0, x1, y1 = region.box_xyxy
        pad = round(self.margin * max(x1 - x0, y1 - y0))
        rows, columns = slice(max(0, y0 - pad), y1 + pad), slice(max(0, x0 - pad), x1 + pad)
        crop = frame.image[rows, columns]
        if not self.cut_out:
            return crop.copy()
        inside = region.mask.decode()[rows, columns]
        return np.dstack([crop * inside[..., None], np.uint8(255) * inside]).astype(np.uint8)
