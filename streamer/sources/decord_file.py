"""Video files with random access, pictures by decord, times by PyAV.

decord seeks well but knows only floating-point times, and has had no release since 2021; the exact
times come from the packets. Without rotation metadata: use VideoFile for such files.
"""

from __future__ import annotations

import importlib
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
from streamer.sources.video_file import open_video


class DecordFile(Source):
    """Every `every`-th frame of a file, or any frame by its number.

    Args:
        path: a video file.
        every: 1 gives all frames, 25 one in 25 without decoding more than their groups.
        stream_id: the name in all records; the file's name without its ending when empty.
    """

    def __init__(self, path: str, every: int = 1, stream_id: str = "") -> None:
        if every < 1:
            raise ValueError(f"every is {every}; wanted at least 1")
        self.path = Path(path)
        self.every = every
        self.stream_id = stream_id or self.path.stem
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
            self.times_ns = _times_ns(container, stream)
            rate = stream.average_rate
        finally:
            container.close()
        try:
            self._reader = decord.VideoReader(str(self.path), ctx=decord.cpu(0))
        except Exception as error:  # decord has one error class of its own for everything
            text = str(error).strip().splitlines()[-1]
            raise InputError(
                f"{self.path} cannot be read by decord ({text}); use VideoFile"
            ) from None
        if len(self._reader) != len(self.times_ns):
            raise InputError(
                f"{self.path}: decord counts {len(self._reader)} frames, its packets "
                f"{len(self.times_ns)}; use VideoFile"
            )
        height, width = self._reader[0].shape[:2]
        return [
            StreamInfo(
                stream_id=self.stream_id,
                uri=str(self.path),
                width_px=width,
                height_px=height,
                fps=float(rate / self.every) if rate else None,
                duration_ns=self.times_ns[-1] - self.times_ns[0],
                frames=-(-len(self.times_ns) // self.every),
            )
        ]

    def read(self) -> Iterator[Frame | Event]:
        return (self.frame_at(i) for i in range(0, len(self.times_ns), self.every))

    def frame_at(self, index: int) -> Frame:
        """The frame of a number from 0, in presentation order.

        Raises:
            IndexError: for a number that the file does not have.
        """
        if not 0 <= index < len(self.times_ns):
            raise IndexError(f"{self.path} has frames 0..{len(self.times_ns) - 1}, not {index}")
        image = np.ascontiguousarray(self._reader[index].asnumpy(), dtype=np.uint8)
        return Frame(
            stream_id=self.stream_id,
            index=index,
            time_ns=self.times_ns[index],
            image=image,
            viewport=Viewport.whole(*image.shape[:2]),
        )

    def close(self) -> None:
        self._reader = None


def _times_ns(container: av.container.InputContainer, stream: av.VideoStream) -> list[int]:
    """Exact times of all frames, from the packets without decoding."""
    times = []
    for packet in container.demux(stream):
        if packet.pts is not None and packet.size and packet.time_base is not None:
            times.append(pts_to_ns(packet.pts, packet.time_base))
    return sorted(times)
