"""Little films for tests, made with PyAV: every picture shows its own number as stripes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8
MS = Fraction(1, 1000)


def picture_of(number: int, hw: tuple[int, int] = (120, 160)) -> NDArray[np.uint8]:
    """HxWx3 RGB: above, the number as eight light or dark stripes (highest bit first); below,
    texture that moves with the number, so that frames differ enough to be worth coding."""
    height, width = hw
    image = np.zeros((height, width, 3), np.uint8)
    stripes = np.arange(width) * BITS // width
    image[: height // 2] = np.where(number >> (BITS - 1 - stripes) & 1, 230, 20)[None, :, None]
    y, x = np.mgrid[height // 2 : height, :width]
    image[height // 2 :] = ((x * 3 + y * 2 + number * 5) % 256)[..., None]
    image[height // 2 :, :, 0] //= 2
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """The number that a picture of `picture_of` shows, whatever its size."""
    height, width = image.shape[:2]
    row = image[height // 4, :, 1]
    bits = [int(row[round((k + 0.5) * width / BITS)] > 125) for k in range(BITS)]
    return int("".join(map(str, bits)), 2)


def write_film(
    path: Path,
    pts: Sequence[int] = tuple(range(0, 2000, 40)),
    *,
    time_base: Fraction = MS,
    hw: tuple[int, int] = (120, 160),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: str = "",
    pictures: Sequence[NDArray[np.uint8]] | None = None,
) -> Path:
    """A film with pictures at the given presentation times, in units of `time_base`.

    Args:
        options: for the encoder; "movflags" goes to the container. Key frames every 12 by default.
        sound: a codec for clicks of 50 ms at every full second.
        pictures: shown instead of the numbered ones.
    """
    encoder = {"g": "12", "bf": "0", **(options or {})}
    container_options = {"movflags": encoder.pop("movflags")} if "movflags" in encoder else {}
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=encoder)
        stream.height, stream.width = hw
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        audio = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for number, at in enumerate(pts):
            image = picture_of(number, hw) if pictures is None else pictures[number]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = at, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            _write_clicks(container, audio, float(pts[0] * time_base), float(pts[-1] * time_base))
    return path


def write_sound_only(path: Path) -> Path:
    """Two seconds of clicks without a picture."""
    with av.open(str(path), "w") as container:
        _write_clicks(container, container.add_stream("aac", rate=48000, layout="mono"), 0.0, 2.0)
    return path


def click_times_s(path: Path) -> list[float]:
    """When the clicks of a film begin, in seconds of its own time line."""
    found: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.pts is not None
            assert frame.time_base is not None
            start_s = float(frame.pts * frame.time_base)
            loud = np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1)
            scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
            for sample in np.flatnonzero(loud > 0.3 * scale):
                at_s = start_s + sample / frame.sample_rate
                if not found or at_s - found[-1] > 0.5:
                    found.append(at_s)
    return found


def _write_clicks(
    container: av.container.OutputContainer, stream: av.AudioStream, start_s: float, end_s: float
) -> None:
    rate = 48000
    first = round(start_s * rate)
    at = np.arange(first, round(end_s * rate))
    loud = (at % rate) < rate // 20
    wave = (np.sin(at * 2 * np.pi * 1000 / rate) * loud * 28000).astype(np.int16)
    for begin in range(0, len(wave), 1024):
        part = np.ascontiguousarray(wave[None, begin : begin + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + begin, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def rotate(path: Path, degrees_clockwise: int) -> Path:
    """Set the display matrix of an MP4's first track."""
    one = 1 << 16
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees_clockwise]
    rows = [cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in rows)
    path.write_bytes(data)
    return path


def cut_off(path: Path, share: float) -> Path:
    """Keep only the first part of a file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def damage(path: Path, start: float, end: float) -> Path:
    """Overwrite a part of a file, given as shares of its length, with noise."""
    data = bytearray(path.read_bytes())
    first, last = round(start * len(data)), round(end * len(data))
    data[first:last] = random.Random(1).randbytes(last - first)
    path.write_bytes(data)
    return path
