"""Decoding with PyAV that goes on behind damage and keeps account of what was lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from streamer.clock import format_ns, parse_time_ns, pts_to_ns
from streamer.errors import InputError

_SEEK_MARGIN_NS = 2 * 10**9  # some containers index by decoding time, which may lie after PTS
_MOST_DEMUX_ERRORS = 1000  # in a row, without a packet between them
_BT709, _UNSPECIFIED = 1, 2


@dataclass
class Account:
    """What came of decoding a file, from `since_ns` on.

    `sent` packets and `decoded` frames differ by what was lost, once everything was read.
    """

    since_ns: int | None = None
    sent: int = 0
    decoded: int = 0
    unordered: int = 0
    last_ns: int | None = None
    end_ns: int | None = None
    error: str = ""
    error_ns: int = 0
    missing_ns: int = 0
    complete: bool = False

    def note(self, error: str, at_ns: int | None = None) -> None:
        """A packet or picture that could not be decoded as it was meant; the first is kept.

        Without its own time, `at_ns`, it lies at the last good frame.
        """
        if at_ns is None:
            at_ns = self.last_ns or 0
        if not self.error and (self.since_ns is None or at_ns >= self.since_ns):
            self.error, self.error_ns = error, at_ns

    def reason(self) -> str:
        """What went wrong, in one line; empty when all is well."""
        parts = []
        if self.error:
            parts.append(f"damaged at {format_ns(self.error_ns)}: {self.error}")
        if self.missing_ns:
            at = format_ns(self.last_ns or 0)
            parts.append(f"cut off at {at}: {self.missing_ns / 1e9:.2f} s are missing")
        if self.unordered:
            parts.append(f"{self.unordered} frames whose time does not increase were left out")
        return "; ".join(parts)

    def frames_lost(self, frame_ns: int) -> int | None:
        """About how many frames are missing; None when that is not known."""
        if not self.complete:
            return None
        return max(0, self.sent - self.decoded) + self.missing_ns // frame_ns


def open_video(
    path: Path, threads: str = "AUTO"
) -> tuple[av.container.InputContainer, av.VideoStream]:
    """A file's container and its first video stream.

    Args:
        threads: "AUTO" decodes several frames at once, "NONE" one after the other. (By "SLICE",
            parts of a frame at once, FFmpeg 8 loses H.264 slices in packets of their own.)

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
        container = av.open(str(path), metadata_errors="replace")
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
    if not streams[0].codec_context:  # to decode without one crashes PyAV before 18
        container.close()
        raise InputError(
            f"{path}: its video is in no format that FFmpeg knows; it may be damaged, try another"
        )
    streams[0].thread_type = threads
    return container, streams[0]


def first_picture(path: Path) -> tuple[int, av.VideoFrame]:
    """The first frame that can be decoded, with its time in ns.

    Raises:
        InputError: when there is none.
    """
    for time_ns, picture in pictures(path, Account()):
        return time_ns, picture
    raise InputError(f"{path}: none of its pictures can be decoded; the file is damaged")


def pictures(path: Path, account: Account) -> Iterator[tuple[int, av.VideoFrame]]:
    """Everything that can be decoded from a little before `account.since_ns` on, in the order of
    presentation, with strictly increasing times in ns.

    A frame without a time stamp follows the one before it by a frame's length.
    """
    landed_late = False
    for time_ns, picture in _from(path, account, account.since_ns, "AUTO"):
        if account.decoded == 1 and account.since_ns is not None and time_ns > account.since_ns:
            landed_late = True  # a broken index: read from the beginning instead
            break
        yield time_ns, picture
    if landed_late:
        account.sent = account.decoded = 0
        account.last_ns = None
        yield from _from(path, account, None, "AUTO")
    if account.sent > account.decoded + account.unordered and account.last_ns is not None:
        # frame threads drop what is behind an error when the decoder is flushed: once more
        tail = Account(since_ns=account.last_ns)
        for time_ns, picture in _from(path, tail, account.last_ns, "NONE"):
            if time_ns > account.last_ns:
                account.decoded += 1
                account.last_ns = time_ns
                yield time_ns, picture
        if tail.error and not account.error:
            account.error, account.error_ns = tail.error, tail.error_ns


def frame_length_ns(stream: av.VideoStream) -> int:
    """The usual time from one frame to the next."""
    return round(10**9 / (stream.average_rate or stream.guessed_rate or Fraction(25)))


def promised_end_ns(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[int | None, int]:
    """When a video's last frame ends according to its container, None where it does not tell; and
    how much that may lie off."""
    frame_ns = frame_length_ns(stream)
    start_ns = pts_to_ns(stream.start_time or 0, stream.time_base or Fraction(1))
    if stream.duration is not None and stream.time_base is not None:
        return start_ns + pts_to_ns(stream.duration, stream.time_base), 3 * frame_ns
    tag = stream.metadata.get("DURATION", "")
    try:
        return parse_time_ns(tag), 3 * frame_ns  # Matroska: counted from zero, not from the start
    except ValueError:
        pass
    if container.duration is None:
        return None, 0
    whole_ns = container.duration * 1000
    # the length of the longest stream, which may be the sound
    from_zero = container.format.name.startswith("matroska")
    return whole_ns if from_zero else start_ns + whole_ns, 2 * 10**9 + whole_ns // 50


class RgbConverter:
    """Pictures to HxWx3 uint8 RGB, upright.

    The matrix is the one that the file names; where it names none, BT.709 for pictures of 720
    lines or more, else BT.601, as players do.
    """

    def __init__(self) -> None:
        # a converter that is kept is three times as fast as a new one for each frame
        self._reformatter = VideoReformatter()

    def convert(self, picture: av.VideoFrame, hw: tuple[int, int]) -> NDArray[np.uint8]:
        """`hw`: height and width of the result, upright, in pixels."""
        turns = _quarter_turns(picture)
        height, width = hw[::-1] if turns % 2 else hw
        high = picture.colorspace == _UNSPECIFIED and picture.height >= 720
        rgb = self._reformatter.reformat(
            picture,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if picture.colorspace == _BT709 or high else None,
            interpolation="AREA" if height < picture.height else None,
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, turns), dtype=np.uint8)


def upright_hw(picture: av.VideoFrame) -> tuple[int, int]:
    """Height and width in pixels after the rotation that its metadata asks for."""
    turned = _quarter_turns(picture) % 2
    return (picture.width, picture.height) if turned else (picture.height, picture.width)


def scaled_hw(picture: av.VideoFrame, max_height: int | None) -> tuple[int, int]:
    """`upright_hw`, scaled down to `max_height` where that is less."""
    height, width = upright_hw(picture)
    if max_height is None or height <= max_height:
        return height, width
    return max_height, max(1, round(width * max_height / height))


def _quarter_turns(picture: av.VideoFrame) -> int:
    """How often the stored picture is turned by 90 degrees counter-clockwise to be upright."""
    return round(picture.rotation / 90) % 4


def _from(
    path: Path, account: Account, from_ns: int | None, threads: str
) -> Iterator[tuple[int, av.VideoFrame]]:
    container, stream = open_video(path, threads)
    try:
        # raw streams have no times to seek to
        if from_ns is not None and stream.start_time is not None and stream.time_base:
            target = int(Fraction(from_ns - _SEEK_MARGIN_NS, 10**9) / stream.time_base)
            container.seek(max(target, stream.start_time), stream=stream, backward=True)
        frame_ns = frame_length_ns(stream)
        for picture in _decoded(container, stream, account):
            if picture.pts is not None and picture.time_base is not None:
                time_ns = pts_to_ns(picture.pts, picture.time_base)
            else:
                time_ns = 0 if account.last_ns is None else account.last_ns + frame_ns
            if account.last_ns is not None and time_ns <= account.last_ns:
                account.unordered += 1
                continue
            if picture.is_corrupt:
                account.note("a picture with errors", time_ns)
            account.last_ns = time_ns
            account.decoded += 1
            yield time_ns, picture
        promised_ns, slack_ns = promised_end_ns(container, stream)
        if promised_ns is not None and account.end_ns is not None:
            missing_ns = promised_ns - account.end_ns
            account.missing_ns = missing_ns if missing_ns > slack_ns else 0
        account.complete = True
    finally:
        container.close()


def _decoded(
    container: av.container.InputContainer, stream: av.VideoStream, account: Account
) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    errors = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError as error:
            account.note(error.strerror or str(error))
            errors += 1
            if errors > _MOST_DEMUX_ERRORS:
                return
            packets = container.demux(stream)
            continue
        errors = 0
        if packet.size:
            account.sent += not packet.is_discard
            at_ns = None
            if packet.pts is not None and packet.time_base is not None:
                at_ns = pts_to_ns(packet.pts, packet.time_base)
                end_ns = pts_to_ns(packet.pts + (packet.duration or 0), packet.time_base)
                account.end_ns = max(end_ns, account.end_ns or end_ns)
            if packet.is_corrupt:
                account.note("an incomplete packet", at_ns)
        try:
            yield from packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            account.note(error.strerror or str(error))
