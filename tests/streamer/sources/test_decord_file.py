from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import InputError
from streamer.records import Event, Frame
from streamer.sources.decord_file import DecordFile
from streamer.sources.video_file import VideoFile
from streamer.testing import check_source
from tests.media_factory import cut_off, damage, number_in, write_film

UNSTEADY = (0, 40, 95, 120, 200, 333, 334, 400, 900, 901, 1500)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("b_frames", ["0", "3"])
def test_the_same_as_reading_in_order(tmp_path: Path, name: str, b_frames: str) -> None:
    pytest.importorskip("decord")
    path = write_film(tmp_path / name, UNSTEADY, options={"bf": b_frames})
    other = VideoFile(str(path))
    (wanted_info,) = other.open()
    found = check_source(lambda: DecordFile(str(path)))
    for got, wanted in zip(found, other.read(), strict=True):
        assert isinstance(got, Frame)
        assert isinstance(wanted, Frame)
        assert (got.index, got.time_ns) == (wanted.index, wanted.time_ns)
        assert np.abs(got.image.astype(int) - wanted.image).max() <= 2
    source = DecordFile(str(path))
    (info,) = source.open()
    if b_frames == "0":  # the container's own sum goes by decoding times
        assert info.duration_ns == wanted_info.duration_ns
    source.close()


def test_any_frame_in_any_order(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write_film(tmp_path / "a.mp4", range(0, 4000, 40), options={"bf": "3"})
    source = DecordFile(str(path))
    source.open()
    for index in (99, 0, 50, 51, 7, 98, 13):
        frame = source.frame_at(index)
        assert (number_in(frame.image), frame.time_ns) == (index, index * 40_000_000)
    for wrong in (-1, 100):
        with pytest.raises(IndexError, match=r"has frames 0\.\.99"):
            source.frame_at(wrong)
    source.close()


def test_one_in_seven(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write_film(tmp_path / "a.mp4")
    source = DecordFile(str(path), every=7)
    (info,) = source.open()
    found = [r for r in source.read() if isinstance(r, Frame)]
    assert [f.index for f in found] == [number_in(f.image) for f in found] == [*range(0, 50, 7)]
    assert info.frames == len(found)
    with pytest.raises(ValueError, match="at least 1"):
        DecordFile(str(path), every=0)


def test_damage_ends_the_reading(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    path = write_film(tmp_path / "a.mp4", options={"movflags": "faststart"})
    source = DecordFile(str(damage(path, 0.4, 0.45)))
    source.open()
    *before, last = source.read()
    assert isinstance(last, Event)
    assert last.kind == "input_error"
    assert last.data["frames_lost"] == 50 - len(before)
    assert "use VideoFile" in last.data["reason"]


def test_what_decord_gets_wrong_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("decord")
    streamed = write_film(tmp_path / "a.ts")
    with pytest.raises(InputError, match="no index to jump by; use VideoFile"):
        DecordFile(str(streamed)).open()
    short = cut_off(write_film(tmp_path / "a.mp4", options={"movflags": "faststart"}), 0.5)
    with pytest.raises(InputError, match="use VideoFile") as caught:
        DecordFile(str(short)).open()
    assert "\n" not in str(caught.value)


def test_without_decord_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    path = write_film(tmp_path / "a.mp4", range(2))
    with pytest.raises(InputError, match=r"pip install 'osprey-streamer\[decord\]'"):
        DecordFile(str(path)).open()
