from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import InputError
from streamer.records import Event, Frame
from streamer.sources.video_file import VideoFile
from streamer.testing import check_source
from tests.media_factory import (
    cut_off,
    damage,
    number_in,
    picture_of,
    rotate,
    write_film,
    write_sound_only,
)

STEADY = tuple(range(0, 2000, 40))
UNSTEADY = (0, 40, 95, 120, 200, 333, 334, 400, 900, 901, 1500)
LATE = tuple(range(5000, 7000, 40))
FAST = {"movflags": "faststart"}

KINDS: dict[str, tuple[Sequence[int], Callable[[Path], Path]]] = {
    "plain": (STEADY, lambda d: write_film(d / "a.mp4")),
    "b_frames": (STEADY, lambda d: write_film(d / "a.mp4", options={"bf": "3"})),
    "unsteady": (UNSTEADY, lambda d: write_film(d / "a.mp4", UNSTEADY)),
    "unsteady_mkv": (UNSTEADY, lambda d: write_film(d / "a.mkv", UNSTEADY, options={"bf": "2"})),
    "late": (LATE, lambda d: write_film(d / "a.mp4", LATE, options={"bf": "2"})),
    "late_mkv": (LATE, lambda d: write_film(d / "a.mkv", LATE)),
    "sound": (STEADY, lambda d: write_film(d / "a.mp4", sound="aac")),
    "odd": (STEADY, lambda d: write_film(d / "a.mp4", hw=(121, 161), pix_fmt="yuv444p")),
    "odd_420": (
        STEADY,
        lambda d: write_film(d / "a.mkv", hw=(121, 161), codec="ffv1", pix_fmt="yuv420p"),
    ),
    "ten_bit": (STEADY, lambda d: write_film(d / "a.mp4", pix_fmt="yuv420p10le")),
    "fragments": (STEADY, lambda d: write_film(d / "a.mp4", options={"movflags": "frag_keyframe"})),
    "timeless": (
        STEADY,
        lambda d: write_film(d / "a.h264", range(50), time_base=Fraction(1, 25)),
    ),
}


@pytest.fixture(params=sorted(KINDS))
def film(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[int]]:
    """A file and the times of its frames in ns."""
    times_ms, make = KINDS[request.param]
    return make(tmp_path), [ms * 10**6 for ms in times_ms]


def read(path: Path, **options: object) -> list[Frame | Event]:
    source = VideoFile(str(path), **options)  # type: ignore[arg-type]
    source.open()
    records = list(source.read())
    source.close()
    return records


def frames(records: Sequence[Frame | Event]) -> list[Frame]:
    """All of them, and none may be an event."""
    assert [r for r in records if isinstance(r, Event)] == []
    return [r for r in records if isinstance(r, Frame)]


def split(records: Sequence[Frame | Event]) -> tuple[list[Frame], Event]:
    """Frames, and the one event behind them."""
    *before, last = records
    assert isinstance(last, Event)
    assert last.kind == "input_error"
    return frames(before), last


def probed_ns(path: Path) -> list[int]:
    if shutil.which("ffprobe") is None:
        pytest.skip("no ffprobe on the path")
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json"]
    command += ["-show_entries", "stream=time_base:frame=pts", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    time_base = Fraction(found["streams"][0]["time_base"])
    return [round(frame["pts"] * time_base * 10**9) for frame in found["frames"]]


def test_every_frame_comes_with_its_exact_time(film: tuple[Path, list[int]]) -> None:
    path, times_ns = film
    found = frames(check_source(lambda: VideoFile(str(path))))
    assert [f.time_ns for f in found] == times_ns
    assert [number_in(f.image) for f in found] == list(range(len(times_ns)))
    assert [f.index for f in found] == list(range(len(times_ns)))


def test_times_are_those_of_ffprobe(film: tuple[Path, list[int]]) -> None:
    path, _ = film
    if path.suffix == ".h264":
        pytest.skip("raw streams have no time stamps")
    assert [f.time_ns for f in frames(read(path))] == probed_ns(path)


@pytest.mark.parametrize(("start", "end"), [(0.3, None), (0.9, 0.95), (0.0, 0.4), (0.33, 1.5001)])
def test_a_part_has_the_frames_and_times_of_the_whole(
    film: tuple[Path, list[int]], start: float, end: float | None
) -> None:
    path, times_ns = film
    wanted = [
        (number, time_ns)
        for number, time_ns in enumerate(times_ns)
        if start * 1e9 <= time_ns - times_ns[0] < (end or 1e9) * 1e9
    ]
    found = frames(read(path, start=start, end=end))
    assert [(number_in(f.image), f.time_ns) for f in found] == wanted
    assert [f.index for f in found] == list(range(len(wanted)))


def test_seeking_jumps_over_what_lies_before(tmp_path: Path) -> None:
    numbers = range(250)
    path = write_film(tmp_path / "a.mp4", range(0, 10_000, 40), options={"bf": "3"})
    found = frames(read(path, start=8.02))
    assert [number_in(f.image) for f in found] == [n for n in numbers if n * 0.04 >= 8.02]
    cut_out = damage(path, 0.2, 0.5)  # not read, so not noticed
    assert len(frames(read(cut_out, start=8.02))) == len(found)


def test_sampling_takes_the_first_frame_in_each_slot(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4")
    found = frames(read(path, sample_fps=10))
    assert [f.time_ns // 10**6 for f in found][:6] == [0, 120, 200, 320, 400, 520]
    assert len(found) == 20
    sparse = write_film(tmp_path / "b.mp4", UNSTEADY)
    times_ms = [f.time_ns // 10**6 for f in frames(read(sparse, sample_fps=10))]
    assert times_ms == [0, 120, 200, 333, 400, 900, 1500]  # gaps are not filled
    assert len(frames(read(path, sample_fps=1000))) == 50


def test_slots_do_not_drift(tmp_path: Path) -> None:
    """29.97 frames a second, sampled at the decimal rate that is a little higher."""
    path = write_film(
        tmp_path / "a.mp4", range(0, 240 * 1001, 1001), time_base=Fraction(1, 30000), hw=(32, 32)
    )
    found = frames(read(path, sample_fps=29.97))
    wanted = [n for n in range(240) if n == 0 or slot(n) > slot(n - 1)]
    assert [f.time_ns for f in found] == [round(n * 1001 * 10**9 / Fraction(30000)) for n in wanted]


def slot(number: int) -> int:
    """By the definition, on the time in whole nanoseconds."""
    time_ns = round(number * Fraction(1001, 30000) * 10**9)
    return int(Fraction(time_ns, 10**9) * Fraction("29.97"))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_are_upright(tmp_path: Path, degrees: int) -> None:
    path = rotate(write_film(tmp_path / "a.mp4", STEADY[:3]), degrees)
    source = VideoFile(str(path))
    (info,) = source.open()
    (first, *_) = frames(list(source.read()))
    upright = np.rot90(picture_of(0), -degrees // 90)
    assert (info.height_px, info.width_px) == first.hw == upright.shape[:2]
    assert np.abs(first.image.astype(int) - upright).mean() < 12


def test_larger_pictures_are_scaled_down(tmp_path: Path) -> None:
    path = rotate(write_film(tmp_path / "a.mp4", STEADY[:3]), 90)
    source = VideoFile(str(path), max_height=80)
    (info,) = source.open()
    found = frames(list(source.read()))
    assert (info.height_px, info.width_px) == found[0].hw == (80, 60)
    assert frames(read(path, max_height=500))[0].hw == (160, 120)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 6])
def test_colours(tmp_path: Path, matrix: int, full: bool) -> None:
    """Flat colours, converted here by the formulas of BT.601 and BT.709."""
    import av

    colours = np.array([(200, 100, 50), (50, 120, 200), (255, 255, 255), (30, 160, 40)], np.float64)
    red, blue = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}[matrix]
    luma = colours @ np.array([red, 1 - red - blue, blue])
    chroma = (colours[:, [2, 0]] - luma[:, None]) / (2 * (1 - np.array([blue, red])))
    scale, low, chroma_scale = (1.0, 0, 1.0) if full else (219 / 255, 16, 224 / 255)
    planes = np.c_[luma * scale + low, chroma * chroma_scale + 128].round().astype(np.uint8)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "1"})
        stream.height, stream.width, stream.pix_fmt = 64, 128, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        image = np.repeat(np.repeat(planes.T[:, None, :], 64, axis=1), 32, axis=2)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="yuv444p")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (found,) = frames(read(path))
    assert np.abs(found.image[32, 16::32].astype(int) - colours).max() <= 3


def test_what_is_known_before(tmp_path: Path) -> None:
    path = write_film(tmp_path / "clip.mp4")
    (info,) = VideoFile(str(path)).open()
    assert (info.stream_id, info.fps, info.frames) == ("clip", 25.0, 50)
    assert info.duration_ns == 2 * 10**9
    (part,) = VideoFile(str(path), start=0.5, end=1.5, sample_fps=5, stream_id="x").open()
    assert (part.stream_id, part.fps, part.frames, part.duration_ns) == ("x", 5.0, 5, 10**9)
    late = write_film(tmp_path / "late.mkv", LATE)
    (info,) = VideoFile(str(late)).open()
    assert info.duration_ns == 2 * 10**9  # not counted from zero


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("b_frames", ["0", "2"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_cut_off_file_gives_what_is_left(
    tmp_path: Path, name: str, b_frames: str, share: float
) -> None:
    path = write_film(tmp_path / name, options={"bf": b_frames, **FAST})
    whole = [f.time_ns for f in frames(read(path))]
    found, event = split(read(cut_off(path, share)))
    assert 0.2 < len(found) / len(whole) < share + 0.1
    numbers = [number_in(f.image) for f in found]
    assert [f.time_ns for f in found] == [whole[number] for number in numbers]
    # with B-frames, the last that are there may follow some that are not
    assert numbers[:-2] == list(range(len(found) - 2))
    assert "are missing" in event.data["reason"]
    assert event.data["reason"].startswith(f"{name}: ")
    lost = event.data["frames_lost"]
    assert abs(lost - (len(whole) - len(found))) <= 2
    assert abs(event.time_ns - found[-1].time_ns) <= 3 * 40_000_000


def test_all_frames_before_a_broken_last_packet_come(tmp_path: Path) -> None:
    """Frame threads hold back some frames, and would lose them behind the error."""
    path = write_film(tmp_path / "a.mp4", options={"bf": "2", **FAST})
    path.write_bytes(path.read_bytes()[:-200])
    found, event = split(read(path))
    assert len(found) >= 48
    assert 1 <= event.data["frames_lost"] <= 50 - len(found)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_damage_in_the_middle_is_stepped_over(tmp_path: Path, name: str) -> None:
    path = write_film(tmp_path / name, options=dict(FAST) if name == "a.mp4" else None)
    whole = [f.time_ns for f in frames(read(path))]
    found, event = split(read(damage(path, 0.4, 0.45)))
    times_ns = [f.time_ns for f in found]
    assert set(times_ns) < set(whole) or times_ns == whole
    assert times_ns[-5:] == whole[-5:]
    assert [number_in(f.image) for f in found[-5:]] == [45, 46, 47, 48, 49]
    assert "damaged at 0:00:00." in event.data["reason"]
    assert 0.2 < (event.time_ns - whole[0]) / 2e9 < 0.6


def test_no_damage_makes_it_fail(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mkv", STEADY, options={"bf": "2"}, hw=(32, 48))
    data = path.read_bytes()
    for seed in range(40):
        random_ = random.Random(seed)
        broken = bytearray(data)
        for _ in range(random_.choice([1, 5, 40])):
            at = random_.randrange(len(data))
            broken[at : at + 4] = random_.randbytes(4)
        path.write_bytes(broken[: random_.randrange(len(data) // 2, len(data))])
        try:
            records = read(path)
        except InputError:
            continue
        times_ns = [r.time_ns for r in records if isinstance(r, Frame)]
        assert times_ns == sorted(set(times_ns))


def test_a_part_without_frames_is_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", UNSTEADY)
    (event,) = read(path, start=1.0, end=1.4)
    assert isinstance(event, Event)
    assert event.data["reason"] == "a.mp4: no frame between start and end"


def _unreadable(folder: Path) -> Path:
    path = write_film(folder / "a.mp4", STEADY[:2])
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    return path


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: d / "none.mp4", "no such file; check"),
        (lambda d: d, "is a folder; give a video file"),
        (lambda d: _written(d / "empty.mp4", b""), "is empty"),
        (lambda d: _written(d / "text.mp4", b"once upon a time\n" * 50), "is not a video"),
        (lambda d: write_sound_only(d / "sound.mp4"), "has no video, only audio"),
        (lambda d: cut_off(write_film(d / "a.mp4"), 0.8), "is not a video"),
        (_unreadable, "permissions"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    path = make(tmp_path)
    source = VideoFile(str(path))
    with pytest.raises(InputError) as caught:
        source.open()
    source.close()
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message


def test_start_behind_the_end(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4")
    with pytest.raises(
        InputError, match=r"start=2.5 s lies behind its end \(the last frame is at 1.960 s\)"
    ):
        VideoFile(str(path), start=2.5).open()
    timeless = write_film(tmp_path / "a.h264", range(50), time_base=Fraction(1, 25))
    with pytest.raises(
        InputError, match=r"start=2.5 s lies behind its end \(the last frame is at 1.960 s\)"
    ):
        VideoFile(str(timeless), start=2.5).open()


def test_start_behind_a_length_that_the_container_has_wrong(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", UNSTEADY, options={"bf": "3"})
    (info,) = VideoFile(str(path)).open()
    assert (info.duration_ns or 0) < 1.4e9
    (last,) = frames(read(path, start=1.4))
    assert (number_in(last.image), last.time_ns) == (10, 1_500_000_000)


@pytest.mark.parametrize(
    "wrong",
    [{"start": -1}, {"start": 2, "end": 2}, {"end": 0}, {"sample_fps": 0}, {"max_height": 0}],
)
def test_arguments_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"wanted"):
        VideoFile("a.mp4", **wrong)  # type: ignore[arg-type]


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", STEADY[:2])
    odd = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.mp4"))
    (found, *_) = frames(read(odd))
    assert found.stream_id == "\N{REPLACEMENT CHARACTER}"


def test_real_footage(media_dir: Path) -> None:
    path = media_dir / "skateboarder.mp4"
    found = frames(read(path, end=2.0, max_height=90))
    assert [f.time_ns for f in found] == [t for t in probed_ns(path) if t < 2 * 10**9]
    part = frames(read(path, start=1.0, end=2.0, max_height=90))
    same = [f for f in found if f.time_ns >= 10**9]
    assert [f.time_ns for f in part] == [f.time_ns for f in same]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, same, strict=True))
