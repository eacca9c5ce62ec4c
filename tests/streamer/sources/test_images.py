from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamer.errors import InputError
from streamer.records import Event, Frame
from streamer.sources.images import Images
from streamer.testing import check_source

RED = (200, 30, 40)


def save(path: Path, size: tuple[int, int] = (20, 10), colour: object = RED) -> Path:
    Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
    return path


def test_natural_order_at_a_steady_rate(tmp_path: Path) -> None:
    for number, name in enumerate(["a1.png", "a2.png", "a10.png", "b1.png"]):
        save(tmp_path / name, colour=(number * 50, 0, 0))
    (tmp_path / "notes.txt").write_text("not a picture")
    found = check_source(lambda: Images(str(tmp_path), fps=3))
    assert [int(f.image[0, 0, 0]) for f in found if isinstance(f, Frame)] == [0, 50, 100, 150]
    assert [f.time_ns for f in found] == [0, 333333333, 666666667, 1000000000]
    (info,) = Images(str(tmp_path), fps=3).open()
    assert (info.frames, info.fps, info.duration_ns) == (4, 3.0, 1333333333)
    assert info.stream_id == tmp_path.name


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "tif"])
def test_formats(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"a.{ending}")
    (frame,) = check_source(lambda: Images(str(path)))
    assert isinstance(frame, Frame)
    assert frame.stream_id == "a"
    assert np.abs(frame.image.astype(int) - RED).max() <= 4


def test_modes(tmp_path: Path) -> None:
    """Grey of 8 and 16 bits, a palette and transparency show the same picture."""
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(grey).save(tmp_path / "1.png")
    Image.fromarray((grey.astype(np.uint16) << 8) + 99).save(tmp_path / "2.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "3.png")
    Image.fromarray(np.dstack([grey] * 3 + [np.full_like(grey, 255)])).save(tmp_path / "4.png")
    found = check_source(lambda: Images(str(tmp_path)))
    assert len(found) == 4
    for frame in found:
        assert isinstance(frame, Frame)
        assert np.array_equal(frame.image, np.dstack([grey] * 3))


def test_camera_orientation_is_applied(tmp_path: Path) -> None:
    stored = np.zeros((10, 20, 3), np.uint8)
    stored[:, :10] = 255  # the left half, which becomes the upper one
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    (frame,) = check_source(lambda: Images(str(tmp_path)))
    assert isinstance(frame, Frame)
    assert frame.hw == (20, 10)
    assert frame.image[:10].min() == 255
    assert frame.image[10:].max() == 0


def test_sizes_may_differ_and_are_bounded(tmp_path: Path) -> None:
    save(tmp_path / "1.png", (40, 100))
    save(tmp_path / "2.png", (60, 30))
    (info,) = Images(str(tmp_path), max_height=50).open()
    found = check_source(lambda: Images(str(tmp_path), max_height=50))
    assert [f.hw for f in found if isinstance(f, Frame)] == [(50, 20), (30, 60)]
    assert (info.height_px, info.width_px) == (50, 20)


def test_broken_pictures_are_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(tmp_path / "2.jpg")
    half = (tmp_path / "2.jpg").read_bytes()[:2000]
    (tmp_path / "2.jpg").write_bytes(half)
    (tmp_path / "1.png").write_text("not a picture")
    (tmp_path / "3.tif").write_bytes(b"")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    Image.new("1", (200, 200)).save(tmp_path / "4.png")
    save(tmp_path / "5.png")
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "6.tif")
    found = check_source(lambda: Images(str(tmp_path)))
    assert [isinstance(r, Frame) for r in found] == [False] * 4 + [True, False]
    for number, record in enumerate(found):
        assert record.time_ns == number * 10**9
        if isinstance(record, Event):
            assert record.kind == "input_error"
            assert record.data["reason"].startswith(f"{number + 1}.")
            assert "\n" not in record.data["reason"]


def test_patterns_and_names_that_look_like_one(tmp_path: Path) -> None:
    folder = tmp_path / "shots [2020]"
    folder.mkdir()
    for name in ("a1.png", "a2.png", "b1.png"):
        save(folder / name)
    save(tmp_path / "a[1].png")
    assert len(check_source(lambda: Images(str(folder)))) == 3
    assert len(check_source(lambda: Images(str(tmp_path / "a[1].png")))) == 1
    assert len(check_source(lambda: Images(str(tmp_path / "shots*" / "a?.png")))) == 2


def test_the_folder_it_is_run_in_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "1.png")
    monkeypatch.chdir(tmp_path)
    assert Images(".").open()[0].stream_id == tmp_path.name
    assert Images("*.png").open()[0].stream_id == tmp_path.name


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder or picture"):
        Images(str(tmp_path / "none")).open()
    with pytest.raises(InputError, match="has no pictures"):
        Images(str(tmp_path)).open()
    with pytest.raises(InputError, match="has no pictures"):
        Images(str(tmp_path / "*.png")).open()
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(InputError, match="none of its pictures can be read"):
        Images(str(tmp_path)).open()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    if not os.access(closed, os.R_OK):
        with pytest.raises(InputError, match="permissions"):
            Images(str(closed)).open()


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"max_height": 3}])
def test_arguments_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        Images("shots", **wrong)


def test_real_frames(media_dir: Path) -> None:
    found = check_source(lambda: Images(str(media_dir / "annotated" / "judo"), fps=25))
    assert {f.hw[0] for f in found if isinstance(f, Frame)} == {480}
