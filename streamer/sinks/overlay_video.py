"""The film with outlines, ids and captions drawn in: H.264 in MP4, sound kept."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from streamer.errors import InputError, OutputError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo, TrackedFrame
from streamer.sinks.audio import AudioCopy
from streamer.sinks.drawing import draw_regions
from streamer.sinks.files import prepare, writing

_TIME_BASE = Fraction(1, 90_000)
_BT709 = 1  # FFmpeg's number for its matrix, primaries and transfer alike
_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)


class OverlayVideo(Sink[TrackedFrame | Caption | Event]):
    """Frames keep their media times, shifted so that the first is at 0.

    Words appear with the frame at which they were asked for. Colours are BT.709, so that players
    show what the source showed.

    Args:
        path: the file to write, MP4 whatever its name.
        audio: a file whose sound is kept, usually the input; "" for none. A file without sound
            gives none.
        crf: quality, 0 (lossless) .. 51 (worst).
        preset: speed of libx264, from ultrafast to veryslow; veryfast takes four times as long as
            ultrafast and makes half the bytes.
        max_height: larger pictures are scaled down to this height in pixels. None: never.
    """

    ordered = True
    one_stream = True

    def __init__(
        self,
        path: str,
        audio: str = "",
        crf: int = 23,
        preset: str = "ultrafast",
        max_height: int | None = None,
    ) -> None:
        if not 0 <= crf <= 51:
            raise ValueError(f"crf is {crf}; 0 (lossless) .. 51 (worst)")
        if preset not in _PRESETS:
            raise ValueError(f"preset is {preset!r}; one of {', '.join(_PRESETS)}")
        if max_height is not None and max_height < 16:
            raise ValueError(f"max_height is {max_height}; wanted at least 16")
        self.path = Path(path)
        self.audio = Path(audio) if audio else None
        self.crf = crf
        self.preset = preset
        self.max_height = max_height
        self._rate = Fraction(25)
        self._words: dict[int, str] = {}
        self._container: av.container.OutputContainer | None = None
        self._film: _Film | None = None
        self._held: TrackedFrame | None = None
        self._last_ns: int | None = None

    def open(self, streams: Sequence[StreamInfo]) -> None:
        if len(streams) != 1:
            raise OutputError(f"{self.path}: an overlay film shows one stream, not {len(streams)}")
        if self.audio is not None and not self.audio.exists():
            raise InputError(f"{self.audio}: no such file to take the sound from; check the path")
        prepare(self.path)
        fps = streams[0].fps
        self._rate = Fraction(fps).limit_denominator(1001) if fps else Fraction(25)

    def write(self, record: TrackedFrame | Caption | Event) -> None:
        # words may follow the frame at which they were asked for, so it is held until time goes on
        if self._held is not None and record.order_ns > self._held.order_ns:
            self._show_held()
        if isinstance(record, TrackedFrame):
            if self._last_ns is None or record.order_ns > self._last_ns:
                self._held = record
                self._last_ns = record.order_ns
        elif isinstance(record, Caption):
            if record.end_ns is None:
                self._words[record.track_id] = record.text
        elif record.kind == "track_end" and record.track_id is not None:
            self._words.pop(record.track_id, None)

    def close(self) -> None:
        """Finish the film; without a frame there is none, and the file stays empty."""
        try:
            self._show_held()
            if self._film is not None:
                with writing(self.path):
                    self._film.finish()
        finally:
            container, self._container, self._film = self._container, None, None
            if container is not None:
                with writing(self.path):
                    container.close()

    def _show_held(self) -> None:
        record, self._held = self._held, None
        if record is None:
            return
        picture = draw_regions(record.frame.image, record.regions, self._words)
        with writing(self.path):
            if self._container is None:
                self._container = av.open(
                    str(self.path), "w", format="mp4", options={"movflags": "+faststart"}
                )
            if self._film is None:
                self._film = self._started(self._container, picture, record.frame.time_ns)
            self._film.add(picture, record.frame.time_ns)

    def _started(
        self, container: av.container.OutputContainer, picture: NDArray[np.uint8], first_ns: int
    ) -> _Film:
        height, width = picture.shape[:2]
        out_height, out_width = height, width
        if self.max_height is not None and height > self.max_height:
            out_height, out_width = self.max_height, width * self.max_height // height
        options = {"crf": str(self.crf), "preset": self.preset}
        stream = container.add_stream("libx264", rate=self._rate, options=options)
        assert isinstance(stream, av.VideoStream)
        # 4:2:0 has a colour sample for two by two pixels: an odd last row or column is left out
        stream.height, stream.width = (max(2, side - side % 2) for side in (out_height, out_width))
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.colorspace = _BT709
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        stream.codec_context.color_range = int(ColorRange.MPEG)
        sound = None
        if self.audio is not None:
            sound = AudioCopy.of(self.audio, container, Fraction(first_ns, 10**9))
        scaled = (out_height, out_width) != (height, width)
        cut_hw = (height, width) if scaled else (stream.height, stream.width)
        return _Film(container, stream, sound, first_ns, cut_hw)


class _Film:
    """An encoder that was started with the first picture's size and time."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        stream: av.VideoStream,
        sound: AudioCopy | None,
        first_ns: int,
        cut_hw: tuple[int, int],
    ) -> None:
        self._container = container
        self._stream = stream
        self._sound = sound
        self._first_ns = first_ns
        self._cut_hw = cut_hw
        self._last_pts = -1
        self._reformatter = VideoReformatter()

    def add(self, picture: NDArray[np.uint8], time_ns: int) -> None:
        """A picture, HxWx3 uint8 RGB, cut or padded with black where its size differs."""
        rgb = av.VideoFrame.from_ndarray(_fitted(picture, *self._cut_hw), format="rgb24")
        frame = self._reformatter.reformat(
            rgb,
            width=self._stream.width,
            height=self._stream.height,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA if rgb.height != self._stream.height else None,
        )
        pts = round(Fraction(time_ns - self._first_ns, 10**9) / _TIME_BASE)
        frame.pts = self._last_pts = max(self._last_pts + 1, pts)
        frame.time_base = _TIME_BASE
        if self._sound is not None:
            self._sound.up_to(frame.pts * _TIME_BASE)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder still holds, and the sound up to the last picture."""
        for packet in self._stream.encode(None):
            self._container.mux(packet)
        if self._sound is not None:
            self._sound.close(self._last_pts * _TIME_BASE)


def _fitted(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    if picture.shape[:2] == (height, width):
        return picture
    if picture.shape[0] >= height and picture.shape[1] >= width:
        return np.ascontiguousarray(picture[:height, :width])
    fitted = np.zeros((height, width, 3), np.uint8)
    part = picture[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted
