"""The film with outlines, ids and captions drawn in: H.264 in MP4, sound kept."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from streamer.errors import OutputError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo, TrackedFrame
from streamer.sinks.audio import AudioCopy
from streamer.sinks.drawing import draw_regions
from streamer.sinks.files import prepare

_TIME_BASE = Fraction(1, 90_000)


class OverlayVideo(Sink[TrackedFrame | Caption | Event]):
    """Frames keep their media times, shifted so that the first is at 0.

    Args:
        path: the .mp4 file to write.
        audio: a file whose sound is kept, usually the input; "" for none. A file without sound
            gives none.
        crf: quality, 0 (lossless) .. 51 (worst).
        preset: speed of libx264, from ultrafast to veryslow.
    """

    ordered = True

    def __init__(self, path: str, audio: str = "", crf: int = 23, preset: str = "veryfast") -> None:
        if not 0 <= crf <= 51:
            raise ValueError(f"crf is {crf}; 0 (lossless) .. 51 (worst)")
        self.path = Path(path)
        self.audio = audio
        self.crf = crf
        self.preset = preset
        self._rate = Fraction(25)
        self._words: dict[int, str] = {}
        self._container: av.container.OutputContainer | None = None
        self._video: av.VideoStream | None = None
        self._sound: AudioCopy | None = None
        self._first_ns = 0
        self._last_pts = -1

    def open(self, streams: Sequence[StreamInfo]) -> None:
        if len(streams) != 1:
            raise OutputError(f"{self.path}: an overlay film shows one stream, not {len(streams)}")
        prepare(self.path)
        fps = streams[0].fps
        self._rate = Fraction(fps).limit_denominator(1001) if fps else Fraction(25)

    def write(self, record: TrackedFrame | Caption | Event) -> None:
        if isinstance(record, TrackedFrame):
            picture = draw_regions(record.frame.image, record.regions, self._words)
            self._encode(picture, record.frame.time_ns)
        elif isinstance(record, Caption):
            if record.end_ns is None:
                self._words[record.track_id] = record.text
        elif record.kind == "track_end" and record.track_id is not None:
            self._words.pop(record.track_id, None)

    def close(self) -> None:
        if self._container is None or self._video is None:
            return
        for packet in self._video.encode(None):
            self._container.mux(packet)
        if self._sound is not None:
            self._sound.close(self._last_pts * _TIME_BASE)
        self._container.close()
        self._container = None

    def _encode(self, picture: NDArray[np.uint8], time_ns: int) -> None:
        if self._container is None or self._video is None:
            self._start(picture, time_ns)
        assert self._container is not None
        assert self._video is not None
        height, width = self._video.height, self._video.width
        if picture.shape[:2] != (height, width):
            picture = _fitted(picture, height, width)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = max(self._last_pts + 1, round((time_ns - self._first_ns) / 10**9 / _TIME_BASE))
        frame.time_base = _TIME_BASE
        self._last_pts = frame.pts
        if self._sound is not None:
            self._sound.up_to(frame.pts * _TIME_BASE)
        for packet in self._video.encode(frame):
            self._container.mux(packet)

    def _start(self, picture: NDArray[np.uint8], time_ns: int) -> None:
        height, width = picture.shape[:2]
        self._first_ns = time_ns
        self._container = av.open(str(self.path), "w", options={"movflags": "+faststart"})
        options = {"crf": str(self.crf), "preset": self.preset}
        video = self._container.add_stream("libx264", rate=self._rate, options=options)
        assert isinstance(video, av.VideoStream)
        # 4:2:0 has a colour sample for two by two pixels: an odd last row or column is left out
        video.width, video.height = max(2, width - width % 2), max(2, height - height % 2)
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = _TIME_BASE
        self._video = video
        if self.audio:
            self._sound = AudioCopy.of(Path(self.audio), self._container, Fraction(time_ns, 10**9))


def _fitted(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cut to the film's size, black where a picture is smaller."""
    if picture.shape[0] >= height and picture.shape[1] >= width:
        return np.ascontiguousarray(picture[:height, :width])
    fitted = np.zeros((height, width, 3), np.uint8)
    part = picture[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted
