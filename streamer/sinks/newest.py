"""The newest picture of every stream, for `streamer view`: a run on cameras keeps no film."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
from PIL import Image

from streamer.interfaces import Sink
from streamer.records import Frame, StreamInfo, TrackedFrame
from streamer.sinks.files import writing
from streamer.sinks.views import folder_of, save_picture

FOLDER = "newest"  # in the folder of a run


@dataclass(frozen=True, kw_only=True)
class Taken:
    """When a picture was taken: time_ns as in `Frame`."""

    stream_id: str
    time_ns: int
    frame_index: int
    uncertainty_ns: int


class Newest(Sink[TrackedFrame]):
    """Writes PATH/STREAM.jpg, a picture of now and then that replaces the one before, whole or not
    at all. Its JPEG comment says when it was taken, so picture and time cannot part.

    It takes no frames of a source, only those that a step lets out: where a step covers people,
    read that one, as everything that writes pictures does.

    Args:
        path: the folder to write into; made when it is missing.
        every_s: at most one picture of a stream in so many seconds of media time.
        max_height: larger pictures are scaled down to this height in pixels.
    """

    def __init__(self, path: str, every_s: float = 1.0, max_height: int = 1080) -> None:
        if every_s <= 0:
            raise ValueError(f"every_s is {every_s}; wanted more than 0")
        if max_height < 16:
            raise ValueError(f"max_height is {max_height}; wanted at least 16")
        self.path = Path(path)
        self.every_ns = round(every_s * 1e9)
        self.max_height = max_height
        self._last_ns: dict[str, int] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        for info in streams:
            self.join(info)

    def join(self, info: StreamInfo) -> None:
        file = self._file(info.stream_id)
        with writing(file):
            file.unlink(missing_ok=True)  # of an earlier run, as its records go too

    def write(self, record: TrackedFrame) -> None:
        frame = record.frame
        last_ns = self._last_ns.get(frame.stream_id)
        if last_ns is not None and frame.time_ns - last_ns < self.every_ns:
            return
        self._last_ns[frame.stream_id] = frame.time_ns
        self._save(frame)

    def _file(self, stream_id: str) -> Path:
        return self.path / f"{folder_of(stream_id)}.jpg"

    def _save(self, frame: Frame) -> None:
        image, (height, width) = frame.image, frame.hw
        if height > self.max_height:
            size = (max(1, round(width * self.max_height / height)), self.max_height)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        taken = Taken(
            stream_id=frame.stream_id, time_ns=frame.time_ns, frame_index=frame.index,
            uncertainty_ns=frame.uncertainty_ns,
        )  # fmt: skip
        comment = json.dumps(asdict(taken)).encode()
        save_picture(self._file(frame.stream_id), image, comment=comment)


def taken_of(jpeg: bytes) -> Taken | None:
    """When a picture of `Newest` was taken; None of any other file."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            data = json.loads(picture.info["comment"])
        return Taken(
            stream_id=str(data["stream_id"]), time_ns=int(data["time_ns"]),
            frame_index=int(data["frame_index"]), uncertainty_ns=int(data["uncertainty_ns"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, Image.DecompressionBombError):
        return None
