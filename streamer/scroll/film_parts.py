"""The film of a walk, rendered in parts, so that a rendering that was stopped goes on."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from streamer.clock import NS_PER_S
from streamer.geometry import Viewport
from streamer.records import Frame, StreamInfo, TrackedFrame
from streamer.scroll.film import Painter
from streamer.sinks.audio import AudioCopy
from streamer.sinks.files import writing
from streamer.sinks.overlay_video import OverlayVideo

_PART_S = 20


@dataclass(frozen=True, kw_only=True)
class FilmShape:
    """Size in pixels, pictures a second, and quality (libx264's crf)."""

    height_px: int = 720
    width_px: int = 1280
    fps: int = 25
    crf: int = 23


def write_film(
    path: Path,
    painter: Painter,
    duration_ns: int,
    shape: FilmShape,
    *,
    key: str,
    audio: Path | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Render the walk as H.264 in MP4, with sound as AAC.

    Parts lie in a hidden folder beside the film until it is whole. A film that is there already is
    left as it is.

    Args:
        key: says what is shown and heard; parts and films of another key are thrown away.
        audio: a file with the sound.
        on_progress: called with 0..1 at every picture; what it raises ends the rendering, and what
            is finished of it is kept.

    Raises:
        OutputError: when the film cannot be written.
        InputError: when the picture's data is damaged.
    """
    folder = path.with_name(f".{path.name}.parts")
    mark, done = folder / "key", folder / "done"
    with writing(folder):
        if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            mark.write_text(key, encoding="utf-8")
        if done.is_file() and path.is_file():
            return
    frames = max(1, math.ceil(duration_ns * shape.fps / NS_PER_S))
    parts = []
    for first in range(0, frames, _PART_S * shape.fps):
        part = folder / f"{first:09d}.mp4"
        indices = range(first, min(frames, first + _PART_S * shape.fps))
        if not part.is_file():
            _write_part(
                part, painter, indices, shape, lambda index: on_progress((index + 1) / frames)
            )
        parts.append((Fraction(first, shape.fps), part))
    with writing(path):
        beside = folder / "whole.mp4"
        _join(beside, parts, Fraction(duration_ns, NS_PER_S), audio)
        beside.replace(path)
        for _, part in parts:
            part.unlink()
        done.write_bytes(b"")


def _write_part(
    path: Path,
    painter: Painter,
    indices: range,
    shape: FilmShape,
    on_picture: Callable[[int], None],
) -> None:
    beside = path.with_suffix(".new")
    sink = OverlayVideo(str(beside), crf=shape.crf)
    view = Viewport.whole(shape.height_px, shape.width_px)
    sink.open(
        [
            StreamInfo(
                stream_id="walk", uri="", width_px=shape.width_px, height_px=shape.height_px,
                fps=shape.fps,
            )
        ]
    )  # fmt: skip
    try:
        for index in indices:
            time_ns = index * NS_PER_S // shape.fps
            frame = Frame(
                stream_id="walk", index=index, time_ns=time_ns, image=painter.picture(time_ns),
                viewport=view,
            )  # fmt: skip
            sink.write(TrackedFrame(frame=frame, regions=()))
            on_picture(index)
    finally:
        sink.close()
    with writing(path):
        beside.replace(path)


def _join(
    path: Path, parts: Sequence[tuple[Fraction, Path]], end_s: Fraction, audio: Path | None
) -> None:
    """Parts one after the other at their times in seconds; nothing is encoded anew but sound."""
    options = {"movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as film:
        with av.open(str(parts[0][1])) as first:
            stream = film.add_stream_from_template(first.streams.video[0])
        sound = AudioCopy.of(audio, film, Fraction(0)) if audio is not None else None
        for start_s, part in parts:
            with av.open(str(part)) as opened:
                for packet in opened.demux(video=0):
                    if packet.pts is None or packet.dts is None or packet.time_base is None:
                        continue
                    shift = round(start_s / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = stream
                    if sound is not None:
                        sound.up_to(packet.pts * packet.time_base)
                    film.mux(packet)
        if sound is not None:
            sound.close(end_s)
