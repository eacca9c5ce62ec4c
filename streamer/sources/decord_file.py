"""Video files with random access, pictures by decord, times by PyAV.

decord seeks well but knows only floating-point times, and has had no release since 2021; the exact
times come from the packets.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamer.clock import pts_to_ns
from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.interfaces import Source
from streamer.records import Event, Frame, StreamInfo
from streamer.sources.decoding import open_video
from streamer.sources.names import readable, stream_name

_INDEXED = ("mov,mp4", "matroska", "avi")  # elsewhere decord gives other frames than asked for


class DecordFile(Source):
    """Every `every`-th frame of a file, or any frame by its number.

    `Frame.index` is the number of the frame in the file, from 0 in the order of presentation, and
    `time_ns` the same as VideoFile's. At damage the reading ends with an `input_error` event;
    VideoFile goes on behind it.

    Args:
        path: a video file with an index: MP4, MOV, Matroska, WebM, AVI.
        every: 1 gives all frames, 25 one in 25 without decoding more than their groups.
        stream_id: the name in all records; the file's name without its ending when empty.
    """

    def __init__(self, path: str, every: int = 1, stream_id: str = "") -> None:
        if every < 1:
            raise ValueError(f"every is {every}; wanted at least 1")
        self.path = Path(path)
        self.every = every
        self.stream_id = stream_name(stream_id, self.path)
        self.times_ns: list[int] = []
        self._reader: Any = None

    def open(self) -> list[StreamInfo]:
        try:
            decord = importlib.import_module("decord")
        except ImportError:
            raise InputError(
                f"{self.path}: random access needs decord; pip install 'osprey-streamer[decord]'"
            ) from None
        container, stream = open_video(self.path)
        try:
            if not container.format.name.startswith(_INDEXED):
                raise InputError(
                    f"{self.path}: {container.format.name} has no index to jump by; use VideoFile"
                )
            self.times_ns, end_ns = _times_ns(container, stream)
            rate = stream.average_rate
        finally:
            container.close()
        try:
            self._reader = decord.VideoReader(str(self.path), ctx=decord.cpu(0))
            height, width = self._reader[0].shape[:2]
        except Exception as error:  # decord has one error class of its own for everything
            raise InputError(
                f"{self.path} cannot be read by decord ({_last_words(error)}); use VideoFile"
            ) from None
        if not self.times_ns or len(self._reader) != len(self.times_ns):
            raise InputError(
                f"{self.path}: decord counts {len(self._reader)} frames, its packets "
                f"{len(self.times_ns)}; use VideoFile"
            )
        return [
            StreamInfo(
                stream_id=self.stream_id,
                uri=str(self.path),
                width_px=width,
                height_px=height,
                fps=float(rate / self.every) if rate else None,
                duration_ns=end_ns - self.times_ns[0],
                frames=-(-len(self.times_ns) // self.every),
            )
        ]

    def read(self) -> Iterator[Frame | Event]:
        for index in range(0, len(self.times_ns), self.every):
            try:
                frame = self.frame_at(index)
            except InputError as error:
                yield Event(
                    stream_id=self.stream_id,
                    time_ns=self.times_ns[index],
                    kind="input_error",
                    data={
                        "reason": readable(str(error)),
                        "frames_lost": len(range(index, len(self.times_ns), self.every)),
                    },
                )
                return
            yield frame

    def frame_at(self, index: int) -> Frame:
        """The frame of a number from 0, in the order of presentation.

        Raises:
            IndexError: for a number that the file does not have.
            InputError: when it cannot be decoded.
        """
        if not 0 <= index < len(self.times_ns):
            raise IndexError(f"{self.path} has frames 0..{len(self.times_ns) - 1}, not {index}")
        try:
            image = np.ascontiguousarray(self._reader[index].asnumpy(), dtype=np.uint8)
        except Exception as error:  # decord has one error class of its own for everything
            raise InputError(
                f"{self.path}: frame {index} cannot be decoded ({_last_words(error)}); "
                "use VideoFile, which goes on behind damage"
            ) from None
        return Frame(
            stream_id=self.stream_id,
            index=index,
            time_ns=self.times_ns[index],
            image=image,
            viewport=Viewport.whole(*image.shape[:2]),
        )

    def close(self) -> None:
        self._reader = None


def _times_ns(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[list[int], int]:
    """Exact times of all frames and the end of the last, from the packets without decoding."""
    times, end_ns = [], 0
    for packet in container.demux(stream):
        if packet.pts is not None and packet.size and packet.time_base is not None:
            times.append(pts_to_ns(packet.pts, packet.time_base))
            last_pts = packet.pts + (packet.duration or 0)
            end_ns = max(end_ns, pts_to_ns(last_pts, packet.time_base))
    return sorted(times), end_ns


def _last_words(error: Exception) -> str:
    """What decord says after the place in its own source code."""
    return re.sub(r"^.*\.cc:\d+: ", "", str(error).strip().splitlines()[-1])
