"""Sources on real files: every frame at its exact time, and one clear line for a bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from streamer.clock import pts_to_ns
from streamer.errors import InputError
from streamer.interfaces import Source
from streamer.records import Event, Frame
from streamer.sources.decord_file import DecordFile
from streamer.sources.images import Images
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

MS = 10**6


def frames(source: Source) -> list[Frame]:
    return [r for r in check_source(lambda: source) if isinstance(r, Frame)]


def errors(records: list[Frame | Event]) -> list[str]:
    return [r.data["reason"] for r in records if isinstance(r, Event)]


@pytest.mark.parametrize(
    ("pts", "base", "options"),
    [
        (range(0, 2000, 40), Fraction(1, 1000), {}),
        ([0, 40, 50, 130, 400, 401, 900], Fraction(1, 1000), {}),
        (range(5000, 7000, 40), Fraction(1, 1000), {}),
        (range(0, 40 * 512, 512), Fraction(1, 12_800), {"bf": "2", "g": "10"}),
        (range(0, 60 * 1001, 1001), Fraction(1, 30_000), {"bf": "3"}),
    ],
    ids=["even", "variable rate", "first not 0", "B-frames", "ntsc"],
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_times_are_pts_times_time_base(
    tmp_path: Path, pts: Any, base: Fraction, options: dict[str, str], ending: str
) -> None:
    film = write_film(tmp_path / f"a.{ending}", list(pts), time_base=base, options=options)
    got = frames(VideoFile(str(film)))
    assert [number_in(f.image) for f in got] == [n % 256 for n in range(len(list(pts)))]
    assert [f.index for f in got] == list(range(len(got)))
    with av.open(str(film)) as container:
        expected = sorted(
            pts_to_ns(p.pts, p.time_base)
            for p in container.demux(video=0)
            if p.pts is not None and p.size
        )
    assert [f.time_ns for f in got] == expected
    first, last = min(pts), max(pts)
    assert abs((expected[-1] - expected[0]) - pts_to_ns(last - first, base)) <= 2 * MS


def test_real_clips_agree_with_ffprobe(media_dir: Path) -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("no ffprobe on the path")
    clip = media_dir / "birdcartoon.mp4"
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json"]
    shown = subprocess.run(
        [*command, "-show_entries", "stream=time_base:frame=pts", str(clip)],
        capture_output=True, check=True,
    )  # fmt: skip
    probe = json.loads(shown.stdout)
    base = Fraction(probe["streams"][0]["time_base"])
    expected = [pts_to_ns(frame["pts"], base) for frame in probe["frames"]]
    assert [f.time_ns for f in frames(VideoFile(str(clip)))] == expected


def test_start_and_end_cut_the_same_frames_out(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", range(1000, 6000, 40), options={"bf": "2"})
    whole = frames(VideoFile(str(film)))
    t0 = whole[0].time_ns
    part = frames(VideoFile(str(film), start=2.5, end=4.0))
    wanted = [f for f in whole if 2500 * MS <= f.time_ns - t0 < 4000 * MS]
    assert [f.time_ns for f in part] == [f.time_ns for f in wanted]
    assert [number_in(f.image) for f in part] == [number_in(f.image) for f in wanted]


def test_sample_fps_takes_the_first_frame_at_or_after_each_multiple(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", range(0, 2000, 40))
    got = [f.time_ns // MS for f in frames(VideoFile(str(film), sample_fps=10))]
    assert got == [next(t for t in range(0, 2000, 40) if t >= k) for k in range(0, 2000, 100)]


@pytest.mark.parametrize(
    ("pix_fmt", "hw"),
    [("yuv420p10le", (120, 160)), ("yuv444p", (121, 161)), ("yuv444p", (120, 160))],
)
def test_depth_subsampling_and_odd_sizes(tmp_path: Path, pix_fmt: str, hw: tuple[int, int]) -> None:
    film = write_film(tmp_path / "a.mp4", range(0, 400, 40), pix_fmt=pix_fmt, hw=hw)
    got = frames(VideoFile(str(film)))
    assert [f.hw for f in got] == [hw] * 10
    assert [number_in(f.image) for f in got] == list(range(10))
    assert abs(got[3].image.astype(int) - picture_of(3, hw)).mean() < 6


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_films_are_given_upright(tmp_path: Path, degrees: int) -> None:
    film = rotate(write_film(tmp_path / "a.mp4", range(0, 200, 40)), degrees)
    source = VideoFile(str(film))
    info = source.open()[0]
    source.close()
    got = frames(VideoFile(str(film)))[2].image
    upright = Image.fromarray(picture_of(2)).rotate(-degrees, expand=True)
    assert got.shape[:2] == (info.height_px, info.width_px) == upright.size[::-1]
    assert abs(got.astype(int) - np.array(upright)).mean() < 8


def test_max_height(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", range(0, 200, 40))
    got = frames(VideoFile(str(film), max_height=60))
    assert {f.hw for f in got} == {(60, 80)}
    assert [number_in(f.image) for f in got] == list(range(5))


def test_a_film_cut_off_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", range(0, 6000, 40), options={"movflags": "+faststart"})
    cut_off(film, 0.5)
    records = check_source(lambda: VideoFile(str(film)))
    got = [r for r in records if isinstance(r, Frame)]
    assert 30 < len(got) < 130
    (reason,) = errors(records)
    assert "of 150 frames are missing" in reason or "damaged" in reason
    assert film.stem in reason


def test_a_damaged_film_gives_what_can_be_decoded(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", range(0, 8000, 40))
    damage(film, 0.4, 0.5)
    records = check_source(lambda: VideoFile(str(film)))
    got = [r for r in records if isinstance(r, Frame)]
    assert got[-1].time_ns > 7000 * MS
    assert any("damaged" in reason or "cut off" in reason for reason in errors(records))


def bad_inputs(folder: Path) -> dict[str, Path]:
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is not a film\n" * 50)
    return {
        "no such file": folder / "missing.mp4",
        "is empty": folder / "empty.mp4",
        "is not a video": folder / "text.mp4",
        "has no video, only audio": write_sound_only(folder / "sound.m4a"),
        "is a folder": folder,
    }


@pytest.mark.parametrize("kind", [VideoFile, DecordFile])
def test_bad_inputs_are_named_in_one_line(tmp_path: Path, kind: Any) -> None:
    for message, path in bad_inputs(tmp_path).items():
        source = kind(str(path))
        with pytest.raises(InputError) as caught:
            source.open()
        source.close()
        assert message in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_start_behind_the_end(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="lies behind its end"):
        VideoFile(str(film), start=60).open()
    with pytest.raises(ValueError, match="start"):
        VideoFile(str(film), start=2, end=1)


def test_decord_has_the_same_frames_at_any_place(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    film = write_film(tmp_path / "a.mp4", [0, 40, 50, 130, 400, 401, 900], options={"bf": "2"})
    expected = frames(VideoFile(str(film)))
    assert [f.time_ns for f in frames(DecordFile(str(film)))] == [f.time_ns for f in expected]
    source = DecordFile(str(film))
    source.open()
    for i in (5, 0, 3):
        assert number_in(source.frame_at(i).image) == i
        assert source.frame_at(i).time_ns == expected[i].time_ns
    with pytest.raises(IndexError, match=r"0\.\.6"):
        source.frame_at(7)
    source.close()
    assert [f.index for f in frames(DecordFile(str(film), every=3))] == [0, 3, 6]


def test_images_in_natural_order(tmp_path: Path) -> None:
    for n in (10, 2, 1):
        Image.fromarray(picture_of(n)).save(tmp_path / f"shot{n}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    got = frames(Images(str(tmp_path), fps=2))
    assert [number_in(f.image) for f in got] == [1, 2, 10]
    assert [f.time_ns for f in got] == [0, 500 * MS, 1000 * MS]


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    for n in range(3):
        Image.fromarray(picture_of(n)).save(tmp_path / f"{n}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    records = check_source(lambda: Images(str(tmp_path)))
    assert [number_in(r.image) for r in records if isinstance(r, Frame)] == [0, 2]
    (reason,) = errors(records)
    assert reason.startswith("1.png cannot be read")


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no pictures"):
        Images(str(tmp_path)).open()
    with pytest.raises(InputError, match="no such folder"):
        Images(str(tmp_path / "nowhere")).open()
