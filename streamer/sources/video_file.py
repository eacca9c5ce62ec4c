"""Video files, decoded in order with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from streamer.clock import seconds_to_ns
from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.interfaces import Source
from streamer.records import Event, Frame, StreamInfo
from streamer.sources.decoding import (
    Account,
    RgbConverter,
    first_picture,
    frame_length_ns,
    open_video,
    pictures,
    promised_end_ns,
    scaled_hw,
)
from streamer.sources.names import readable, stream_name


class VideoFile(Source):
    """The frames of a file with their exact media times.

    `time_ns` is PTS x time base as the file has it, also when the first one is not 0, and the same
    with and without `start`. Frames come in presentation order, upright (rotation metadata
    applied; mirroring is not), as full-range RGB with the stored number of pixels (a pixel aspect
    ratio is ignored). `index` counts the frames that are given, from 0.

    A damaged or cut off file gives all frames that can be decoded, then one `input_error` event
    at the time of the first damage with `data`: reason, and frames_lost (None: not known).

    Args:
        path: any container and codec that FFmpeg decodes.
        start: seconds after the first frame from which frames are given.
        end: seconds after the first frame before which they are; None: to the end.
        sample_fps: at most this many frames a second: the first frame at or after every multiple
            of 1 / sample_fps, counted from the file's first frame. None: all.
        max_height: larger pictures are scaled down to this height in pixels. None: never.
        stream_id: the name in all records; the file's name without its ending when empty.
    """

    def __init__(
        self,
        path: str,
        start: float = 0.0,
        end: float | None = None,
        sample_fps: float | None = None,
        max_height: int | None = None,
        stream_id: str = "",
    ) -> None:
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"start {start} and end {end}: wanted 0 <= start < end, in seconds")
        if sample_fps is not None and sample_fps <= 0:
            raise ValueError(f"sample_fps is {sample_fps}; wanted more than 0")
        if max_height is not None and max_height < 16:
            raise ValueError(f"max_height is {max_height}; wanted at least 16")
        self.path = Path(path)
        self.start_ns = seconds_to_ns(start)
        self.end_ns = None if end is None else seconds_to_ns(end)
        self.sample_fps = None if sample_fps is None else Fraction(str(sample_fps))
        self.max_height = max_height
        self.stream_id = stream_name(stream_id, self.path)
        self._first_ns = 0
        self._frame_ns = 0

    @property
    def first_ns(self) -> int:
        """The time of the file's first frame, from which `start` and `end` count; after `open`."""
        return self._first_ns

    def open(self) -> list[StreamInfo]:
        self._first_ns, first = first_picture(self.path)
        container, stream = open_video(self.path)
        try:
            promised_ns, _ = promised_end_ns(container, stream)
            self._frame_ns = frame_length_ns(stream)
            rate, frames = stream.average_rate or stream.guessed_rate, stream.frames or None
        finally:
            container.close()
        whole_ns = None if promised_ns is None else promised_ns - self._first_ns
        # what containers tell may be short of the truth: look before refusing
        if self.start_ns and (whole_ns is None or self.start_ns >= whole_ns):
            self._check_start()
        span_ns = whole_ns
        if whole_ns is not None:
            span_ns = max(0, min(self.end_ns or whole_ns, whole_ns) - self.start_ns)
            if frames and span_ns < whole_ns:
                frames = round(frames * span_ns / whole_ns)
        fps = float(rate) if rate else None
        if self.sample_fps is not None and (fps is None or self.sample_fps < fps):
            fps = float(self.sample_fps)
            frames = None if span_ns is None else max(1, round(fps * span_ns / 1e9))
        height, width = scaled_hw(first, self.max_height)
        return [
            StreamInfo(
                stream_id=self.stream_id,
                uri=str(self.path),
                width_px=width,
                height_px=height,
                fps=fps,
                duration_ns=span_ns,
                frames=frames,
            )
        ]

    def read(self) -> Iterator[Frame | Event]:
        since_ns = self._first_ns + self.start_ns
        account = Account(since_ns=since_ns if self.start_ns else None)
        converter = RgbConverter()
        index, slot = 0, -1
        for time_ns, picture in pictures(self.path, account):
            offset_ns = time_ns - self._first_ns
            if self.end_ns is not None and offset_ns >= self.end_ns:
                break
            if offset_ns < self.start_ns:
                continue
            if self.sample_fps is not None:
                now = int(offset_ns * self.sample_fps / 10**9)
                if now <= slot:
                    continue
                slot = now
            yield self._frame(index, time_ns, picture, converter)
            index += 1
        if reason := account.reason() or ("" if index else "no frame between start and end"):
            last_ns = since_ns if account.last_ns is None else account.last_ns
            yield Event(
                stream_id=self.stream_id,
                time_ns=account.error_ns if account.error else last_ns,
                kind="input_error",
                data={
                    "reason": f"{readable(self.path.name)}: {reason}",
                    "frames_lost": account.frames_lost(self._frame_ns),
                },
            )

    def _check_start(self) -> None:
        since_ns = self._first_ns + self.start_ns
        account = Account(since_ns=since_ns)
        if any(time_ns >= since_ns for time_ns, _ in pictures(self.path, account)):
            return
        last_ns = (account.last_ns or self._first_ns) - self._first_ns
        raise InputError(
            f"{self.path}: start={self.start_ns / 1e9:g} s lies behind its end (the last frame is "
            f"at {last_ns / 1e9:.3f} s); choose an earlier one"
        )

    def _frame(
        self, index: int, time_ns: int, picture: av.VideoFrame, converter: RgbConverter
    ) -> Frame:
        image = converter.convert(picture, scaled_hw(picture, self.max_height))
        return Frame(
            stream_id=self.stream_id,
            index=index,
            time_ns=time_ns,
            image=image,
            viewport=Viewport.whole(*image.shape[:2]),
        )
