"""Video files, decoded in order with PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from streamer.clock import format_ns, pts_to_ns, seconds_to_ns
from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.interfaces import Source
from streamer.records import Event, Frame, StreamInfo

_SEEK_MARGIN_S = 2  # some containers index by decoding time, which may lie after the frame's own
_BT709, _UNSPECIFIED = 1, 2


class VideoFile(Source):
    """The frames of a file with their exact media times.

    `time_ns` is PTS x time base as the file has it, also when the first one is not 0. Frames come
    in presentation order, upright (rotation metadata applied), as full-range RGB. `index` counts
    the frames that are given, from 0.

    Args:
        path: any container and codec that FFmpeg decodes.
        start: seconds after the first frame from which frames are given.
        end: seconds after the first frame before which they are; None: to the end.
        sample_fps: at most this many frames a second: the first frame at or after every multiple
            of 1 / sample_fps. None: all.
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
        self.stream_id = stream_id or self.path.stem
        self._container: av.container.InputContainer | None = None

    def open(self) -> list[StreamInfo]:
        self._container, stream = open_video(self.path)
        first = _first_frame(self.path, self._container, stream)
        self._first_ns = pts_to_ns(first.pts or 0, first.time_base or Fraction(1))
        whole_ns = duration_ns(self._container, stream)
        if whole_ns is not None and self.start_ns >= whole_ns:
            raise InputError(
                f"{self.path}: start={self.start_ns / 1e9:g} s lies behind its end "
                f"({whole_ns / 1e9:.3f} s); choose an earlier one"
            )
        height, width = _upright_hw(first)
        height, width = self._scaled(height, width)
        rate = stream.average_rate or stream.guessed_rate
        fps, frames = (float(rate) if rate else None), stream.frames or None
        span_ns = whole_ns
        if whole_ns is not None:
            span_ns = min(self.end_ns or whole_ns, whole_ns) - self.start_ns
            if frames and span_ns < whole_ns:
                frames = round(frames * span_ns / whole_ns)
        if self.sample_fps is not None and (fps is None or self.sample_fps < fps):
            frames = round(float(self.sample_fps) * span_ns / 1e9) if span_ns is not None else None
            fps = float(self.sample_fps)
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
        container, stream = open_video(self.path)
        damage = _Damage(from_start=not self.start_ns)
        index, last_ns, slot = 0, None, -1
        try:
            if self.start_ns:
                target_s = Fraction(self._first_ns + self.start_ns, 10**9) - _SEEK_MARGIN_S
                target = int(target_s / (stream.time_base or 1))
                container.seek(max(target, stream.start_time or 0), stream=stream, backward=True)
            for time_ns, picture in _decoded(container, stream, damage):
                offset_ns = time_ns - self._first_ns
                if offset_ns < self.start_ns:
                    continue
                if self.end_ns is not None and offset_ns >= self.end_ns:
                    break
                if self.sample_fps is not None:
                    now = int(offset_ns * self.sample_fps / 10**9)
                    if now <= slot:
                        continue
                    slot = now
                yield self._frame(index, time_ns, picture)
                index, last_ns = index + 1, time_ns
        finally:
            container.close()
        reason = damage.reason()
        if reason:
            at_ns = damage.first_ns if damage.first_ns is not None else last_ns or self._first_ns
            yield Event(
                stream_id=self.stream_id,
                time_ns=at_ns,
                kind="input_error",
                data={"reason": f"{self.path.name}: {reason}"},
            )

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        if self.max_height is None or height <= self.max_height:
            return height, width
        return self.max_height, max(1, round(width * self.max_height / height))

    def _frame(self, index: int, time_ns: int, picture: av.VideoFrame) -> Frame:
        image = to_rgb(picture, self._scaled(*_upright_hw(picture)))
        return Frame(
            stream_id=self.stream_id,
            index=index,
            time_ns=time_ns,
            image=image,
            viewport=Viewport.whole(*image.shape[:2]),
        )


@dataclass
class _Damage:
    """What went wrong while decoding."""

    first_ns: int | None = None
    first_error: str = ""
    from_start: bool = True
    bad: int = 0
    unordered: int = 0
    last_ns: int | None = None
    decoded: int = 0
    lost: str = ""

    def note(self, error: str) -> None:
        """A packet or picture that could not be decoded as it was meant."""
        if not self.bad:
            self.first_ns, self.first_error = self.last_ns or 0, error
        self.bad += 1

    def reason(self) -> str:
        """One line; empty when all is well."""
        parts = []
        if self.bad:
            parts.append(
                f"damaged from {format_ns(self.first_ns or 0)} on ({self.bad} packets or pictures, "
                f"first: {self.first_error})"
            )
        if self.lost:
            parts.append(f"cut off at {format_ns(self.last_ns or 0)}: {self.lost}")
        if self.unordered:
            parts.append(f"{self.unordered} frames whose time does not increase were left out")
        return "; ".join(parts)


def open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """A file's container and its first video stream, decoding on several threads.

    Raises:
        InputError: naming the file, what is wrong and what to do.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a video file, or use the Images source")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or record it again")
        if not os.access(path, os.R_OK):
            raise InputError(f"{path} may not be read; change its permissions")
        container = av.open(str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (av.FFmpegError, OSError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path} is not a video that can be read ({text}); try another file"
        ) from None
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        kinds = sorted({str(s.type) for s in container.streams}) or ["no stream"]
        container.close()
        raise InputError(f"{path} has no video, only {', '.join(kinds)}; give a file with pictures")
    streams[0].thread_type = "AUTO"
    return container, streams[0]


def duration_ns(container: av.container.InputContainer, stream: av.VideoStream) -> int | None:
    """Length of a video as its container tells, None where it does not."""
    if stream.duration is not None and stream.time_base is not None:
        return pts_to_ns(stream.duration, stream.time_base)
    return None if container.duration is None else container.duration * 1000


def to_rgb(picture: av.VideoFrame, hw: tuple[int, int]) -> NDArray[np.uint8]:
    """HxWx3 uint8 RGB, upright, scaled to `hw`; the matrix is BT.709 where the file says so, or
    says nothing and the picture is 720 lines or higher, else BT.601."""
    turns = _quarter_turns(picture)
    height, width = hw[::-1] if turns % 2 else hw
    high = picture.colorspace == _UNSPECIFIED and picture.height >= 720
    rgb = picture.reformat(
        width=width,
        height=height,
        format="rgb24",
        src_colorspace="itu709" if picture.colorspace == _BT709 or high else None,
        interpolation="AREA" if height < picture.height else None,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, turns), dtype=np.uint8)


def _quarter_turns(picture: av.VideoFrame) -> int:
    """How often the stored picture is turned by 90 degrees counter-clockwise to be upright."""
    return round(picture.rotation / 90) % 4


def _upright_hw(picture: av.VideoFrame) -> tuple[int, int]:
    turned = _quarter_turns(picture) % 2
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def _first_frame(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> av.VideoFrame:
    for _, picture in _decoded(container, stream, _Damage()):
        return picture
    raise InputError(f"{path}: none of its pictures can be decoded; the file is damaged")


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, damage: _Damage
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Everything that can be decoded, in order, with strictly increasing times in ns."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    frame_ns = round(10**9 / rate)
    for picture in _pictures(container, stream, damage):
        if picture.pts is not None and picture.time_base is not None:
            time_ns = pts_to_ns(picture.pts, picture.time_base)
        else:  # raw streams have no time stamps: count frames
            time_ns = 0 if damage.last_ns is None else damage.last_ns + frame_ns
        if picture.is_corrupt:
            damage.note("picture with errors")
        if damage.last_ns is not None and time_ns <= damage.last_ns:
            damage.unordered += 1
            continue
        damage.last_ns = time_ns
        damage.decoded += 1
        yield time_ns, picture
    damage.lost = _lost(container, stream, damage)


def _lost(container: av.container.InputContainer, stream: av.VideoStream, damage: _Damage) -> str:
    """What the container promises beyond what could be decoded; "" when nothing of note."""
    if stream.frames and damage.from_start:
        missing = stream.frames - damage.decoded - damage.unordered
        # edit lists may hide a few frames at the ends
        return f"{missing} of {stream.frames} frames are missing" if missing > 5 else ""
    whole_ns = duration_ns(container, stream)
    if whole_ns is None or damage.last_ns is None:
        return ""
    start_ns = pts_to_ns(stream.start_time or 0, stream.time_base or Fraction(1))
    missing_ns = start_ns + whole_ns - damage.last_ns
    # the last frame may be shown for long
    return f"{missing_ns / 1e9:.1f} s are missing" if missing_ns > 2e9 + whole_ns / 50 else ""


def _pictures(
    container: av.container.InputContainer, stream: av.VideoStream, damage: _Damage
) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            damage.note(error.strerror or str(error))
            if isinstance(error, av.EOFError) or damage.bad > 100_000:
                return
            packets = container.demux(stream)
            continue
        try:
            yield from packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            damage.note(error.strerror or str(error))
