from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from streamer.errors import InputError
from streamer.sources import picture_levels
from streamer.sources.canvas import Canvas

pyvips = pytest.importorskip("pyvips")
U8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def picture() -> U8:
    """Smooth, so that shrinking changes no value by much."""
    y, x = np.mgrid[0:700, 0:1300]
    planes = (x * 255 / 1300, y * 255 / 700, 127 + 100 * np.sin(x / 80 + y / 60))
    return np.stack(planes, 2).astype(np.uint8)


def vips(pixels: NDArray[np.generic], interpretation: str = "srgb") -> pyvips.Image:
    return pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(
        interpretation=interpretation
    )


def differs(a: U8, b: U8) -> float:
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize("kind", ["pages", "subifd", "dzi", "iiif2", "iiif3"])
def test_pyramids_give_the_picture_at_every_scale(tmp_path: Path, picture: U8, kind: str) -> None:
    image, path = vips(picture), tmp_path / "picture.tif"
    if kind in ("pages", "subifd"):
        image.tiffsave(
            str(path), tile=True, pyramid=True, compression="jpeg", Q=95, tile_width=256,
            tile_height=256, subifd=kind == "subifd",
        )  # fmt: skip
    elif kind == "dzi":
        image.dzsave(str(tmp_path / "picture"), suffix=".jpg[Q=95]", overlap=2)
        path = tmp_path / "picture.dzi"
    else:
        layout = "iiif" if kind == "iiif2" else "iiif3"
        image.dzsave(str(tmp_path / "picture"), layout=layout, suffix=".jpg[Q=95]")
        path = tmp_path / "picture"
    canvas = Canvas(str(path))
    assert canvas.hw == (700, 1300)
    assert len(canvas.level_widths_px) >= 3
    part = canvas.window(300, 150, 900, 500, (500, 900))
    assert differs(part, picture[150:650, 300:1200]) < 2
    small = canvas.window(0, 0, 1300, 700, (70, 130))
    assert differs(small, picture[5::10, 5::10]) < 6
    assert canvas.thumbnail(100).shape == (54, 100, 3)


def test_a_coarse_window_reads_a_coarse_level(tmp_path: Path, picture: U8) -> None:
    path = tmp_path / "a.tif"
    vips(picture).tiffsave(str(path), tile=True, pyramid=True, tile_width=128, tile_height=128)
    canvas = Canvas(str(path))
    assert canvas._level_for(1.0).width_px == 1300
    assert canvas._level_for(1.9).width_px == 1300
    assert canvas._level_for(2.0).width_px == 650
    assert canvas._level_for(1e9).width_px == canvas.level_widths_px[-1]


def test_large_sources_get_a_pyramid_once(
    tmp_path: Path, picture: U8, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_levels, "IN_MEMORY_PX", 10_000)
    path, cache = tmp_path / "a.png", tmp_path / "cache"
    vips(picture).write_to_file(str(path))
    seen: list[float] = []
    canvas = Canvas(str(path), str(cache), seen.append)
    (made,) = cache.iterdir()
    assert seen[-1] == 1.0
    assert differs(canvas.window(100, 100, 600, 500, (500, 600)), picture[100:600, 100:700]) < 3
    state = made.stat().st_mtime_ns
    again: list[float] = []
    assert Canvas(str(path), str(cache), again.append).level_widths_px == canvas.level_widths_px
    assert not again
    assert made.stat().st_mtime_ns == state


FLAT = np.full((40, 60, 3), (200, 100, 50), np.uint8)


@pytest.mark.parametrize(
    ("name", "make", "wanted"),
    [
        ("16.png", lambda: vips(FLAT.astype(np.uint16) * 257, "rgb16"), (200, 100, 50)),
        ("16.tif", lambda: vips(FLAT.astype(np.uint16) * 257, "rgb16"), (200, 100, 50)),
        ("g16.png", lambda: vips(FLAT[..., 0].astype(np.uint16) * 257, "grey16"), (200,) * 3),
        ("grey.jpg", lambda: vips(FLAT[..., 0], "b-w"), (200,) * 3),
        ("cmyk.tif", lambda: vips(FLAT).colourspace("cmyk"), (200, 100, 50)),
        ("cmyk.jpg", lambda: vips(FLAT).colourspace("cmyk"), (200, 100, 50)),
        ("alpha.png", lambda: vips(FLAT).bandjoin(0), (255, 255, 255)),
        ("half.tif", lambda: vips(FLAT).bandjoin(128), (227, 177, 152)),
        ("ga.png", lambda: vips(FLAT[..., 0], "b-w").bandjoin(0), (255,) * 3),
        ("palette.png", lambda: vips(FLAT), (200, 100, 50)),
    ],
)
def test_all_kinds_of_pixels_become_rgb(tmp_path, name, make, wanted) -> None:  # type: ignore[no-untyped-def]
    path = str(tmp_path / name)
    options = {"palette": True} if name == "palette.png" else {}
    make().write_to_file(path, **options)
    pixel = Canvas(path).window(10, 10, 8, 8, (8, 8))[4, 4]
    assert np.abs(pixel.astype(int) - wanted).max() <= 12, pixel


@pytest.mark.parametrize("pyramid", [False, True])
def test_exif_turns_the_picture(tmp_path: Path, pyramid: bool) -> None:
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[:, 300:] = 250
    path = tmp_path / "a.tif"
    image = vips(pixels).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.tiffsave(str(path), tile=True, pyramid=pyramid, tile_width=128, tile_height=128)
    canvas = Canvas(str(path))
    assert canvas.hw == (600, 300)
    assert int(canvas.window(0, 0, 300, 100, (1, 1)).max()) < 10
    assert int(canvas.window(0, 500, 300, 100, (1, 1)).min()) > 240


def test_a_picture_one_pixel_high(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (900, 1), (10, 20, 30)).save(path)
    canvas = Canvas(str(path))
    assert canvas.window(100, 0, 500, 1, (1, 250)).tolist()[0][0] == [10, 20, 30]
    assert canvas.thumbnail(90).shape == (1, 90, 3)


def test_windows_stay_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (90, 50)).save(path)
    with pytest.raises(ValueError, match="leaves"):
        Canvas(str(path)).window(50, 0, 50, 50, (50, 50))


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100_000)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "case", ["missing", "empty", "text", "cut jpeg", "cut tiff", "cut pyramid", "bomb", "hollow",
             "folder", "float", "bad dzi", "bad iiif", "no tiles"],
)  # fmt: skip
def test_bad_input_is_one_clear_error(tmp_path: Path, picture: U8, case: str) -> None:
    path = tmp_path / "a.tif"
    if case == "empty":
        path.write_bytes(b"")
    elif case == "text":
        path.write_text("no picture at all")
    elif case == "cut jpeg":
        path = tmp_path / "a.jpg"
        vips(picture).write_to_file(str(path))
        path.write_bytes(path.read_bytes()[:9000])
    elif case in ("cut tiff", "cut pyramid"):
        vips(picture).tiffsave(str(path), tile=True, pyramid=case == "cut pyramid")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif case in ("bomb", "hollow"):
        path = tmp_path / "a.png"
        path.write_bytes(_png(300_000, 300_000) if case == "bomb" else _png(3000, 3000))
    elif case == "folder":
        path = tmp_path
    elif case == "float":
        vips(picture.astype(np.float32), "multiband").tiffsave(str(path))
    elif case == "bad dzi":
        path = tmp_path / "a.dzi"
        path.write_text("<Image TileSize='256'/>")
    elif case == "bad iiif":
        path = tmp_path / "info.json"
        path.write_text('{"width": 10, "height": 10}')
    elif case == "no tiles":
        path = tmp_path / "info.json"
        path.write_text(
            '{"width": 10, "height": 10, "tiles": [{"width": 256, "scaleFactors": [1]}]}'
        )
    with pytest.raises(InputError) as error:
        Canvas(str(path), str(tmp_path / "cache"))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_damage_is_told_at_every_reading_and_shown_grey(tmp_path: Path) -> None:
    path = tmp_path / "hurt.tif"
    vips(np.full((200, 2000, 3), 200, np.uint8)).tiffsave(
        str(path), tile=True, tile_width=128, tile_height=128, pyramid=True, compression="jpeg"
    )
    with Image.open(path) as opened:
        start, length = opened.tag_v2[324][5], opened.tag_v2[325][5]  # of the tile at 640, 0
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes((37 * i) % 251 for i in range(length))
    path.write_bytes(data)
    canvas = Canvas(str(path))
    for _ in range(3):
        with pytest.raises(InputError, match=r"hurt\.tif"):
            canvas.window(600, 0, 300, 100, (100, 300))
        assert int(canvas.window(900, 0, 300, 100, (100, 300)).min()) > 190
    shown = canvas.shown(0, 0, 2000, 200, (200, 2000))
    assert shown.shape == (200, 2000, 3)
    assert np.abs(shown[10:110, 650:760].astype(int) - 128).max() < 3
    good = np.concatenate([shown[:, :380], shown[:, 1020:]], axis=1)
    assert int(good.min()) > 190
