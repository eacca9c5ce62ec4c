"""Pictures of `streamer search` as a terminal shows them: the right ones, beside their words."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from streamer.catalog import Catalog
from streamer.catalog_writer import Best, CatalogWriter, TrackRow
from streamer.records import StreamInfo
from tests.streamer.commands.terminal import MOST_CHUNK, Terminal
from tests.streamer.sinks.sink_records import caption, region

pytest.importorskip("textual_image")
COLUMNS, ROWS = 14, 5  # cells that a picture may take
SIZES = [(160, 90), (60, 160), (120, 120), (160, 40)]  # width, height


def picture(n: int) -> NDArray[np.uint8]:
    """Not two are alike, and none is like its mirror image."""
    width, height = SIZES[n]
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // width, y * 255 // height, np.full_like(x, 60 * n + 20)]
    image = np.stack(channels[n % 3 :] + channels[: n % 3], -1).astype(np.uint8)
    image[: height // 3, : width // 3] = (255, 255, 255) if n % 2 else (0, 0, 0)
    return image


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thumbnails") / "catalog.sqlite"
    writer = CatalogWriter(path, [StreamInfo(stream_id="test", uri="", width_px=9, height_px=9)])
    for n in range(len(SIZES)):
        file = io.BytesIO()
        Image.fromarray(picture(n)).save(file, "JPEG", quality=95)
        best = Best(frame_index=0, time_ns=0, region=region((0, 0, 9, 9), n), jpeg=file.getvalue())
        writer.track(TrackRow(
            stream_id="test", track_id=n, first_ns=0, last_ns=0, frames=1, best=best
        ))  # fmt: skip
        writer.caption(caption(n, n + 1, track_id=n, text=f"thing number {n}"))
    writer.close()
    return path


def shown(catalog: Path, **terminal: bool) -> Terminal:
    """What a terminal shows of a search. Its question is answered within a tenth of a second, or
    the pictures are drawn as half blocks: on a busy machine that may take a second attempt."""
    for _ in range(4):
        made = Terminal(**terminal)
        made.run([sys.executable, "-m", "streamer", "search", catalog])
        if made.pictures or made.drawn or not any(terminal.values()):
            break
    assert "4 found" in "".join(made.line(row) for row in range(made.rows))
    return made


def lines_of_words(terminal: Terminal, n: int) -> tuple[int, int]:
    """In which line the words of a picture begin and at which column."""
    for row in range(terminal.rows):
        if f"thing number {n}" in (line := terminal.line(row)):
            return row - 1, line.index("thing")
    raise AssertionError(f"no words of {n}")


def assert_is(found: NDArray[np.uint8], n: int, most: float) -> None:
    """The picture of track n, and no other: compared at a small size."""

    def small(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX), np.float64)

    off = [float(np.abs(small(found) - small(picture(k))).mean()) for k in range(len(SIZES))]
    assert off[n] < most, off
    assert min(off[:n] + off[n + 1 :]) > 2 * most, off
    ratio = found.shape[1] / found.shape[0] / (SIZES[n][0] / SIZES[n][1])
    assert 0.8 < ratio < 1.25


def test_kittys_graphics(catalog: Path) -> None:
    terminal = shown(catalog, kitty=True)
    assert len(terminal.pictures) == len(SIZES)
    assert set(terminal.placed) == set(terminal.pictures)
    assert not terminal.drawn
    assert terminal.chunks.count(MOST_CHUNK) >= 2  # some came in parts
    for n in range(len(SIZES)):
        top, words = lines_of_words(terminal, n)
        corner = terminal.image_at(top, 0)
        assert corner is not None
        number = corner[0]
        columns, rows = terminal.placed[number]
        assert columns <= COLUMNS < words
        assert rows <= ROWS
        # the whole of it is there, every part once, in its place
        for row in range(rows):
            for column in range(columns):
                assert terminal.image_at(top + row, column) == (number, row, column)
        assert terminal.image_at(top, columns) is None
        below = terminal.image_at(top + rows, 0)
        assert below is None or below[0] != number
        width, height = terminal.cell_wh
        found = terminal.pictures[number]
        # sharp: as many pixels as its cells have
        assert abs(found.shape[1] - columns * width) <= width
        assert abs(found.shape[0] - rows * height) <= height
        assert_is(found, n, 4)


def test_sixels(catalog: Path) -> None:
    terminal = shown(catalog, sixels=True)
    assert len(terminal.drawn) == len(SIZES)
    assert not terminal.pictures
    for n, (row, column, found) in enumerate(terminal.drawn):
        top, words = lines_of_words(terminal, n)
        assert (row, column) == (top, 0)
        width, height = terminal.cell_wh
        assert found.shape[1] <= COLUMNS * width < words * width
        assert found.shape[0] <= ROWS * height
        assert_is(found, n, 10)  # in 256 colours


def test_half_blocks(catalog: Path) -> None:
    terminal = shown(catalog)
    assert not terminal.pictures
    assert not terminal.drawn
    for n in range(len(SIZES)):
        top, _ = lines_of_words(terminal, n)
        next_top = lines_of_words(terminal, n + 1)[0] if n + 1 < len(SIZES) else terminal.rows
        rows = []
        for row in range(top, min(top + ROWS, next_top)):
            halves: tuple[list[object], list[object]] = ([], [])
            for column in range(COLUMNS):
                cell = terminal.cells.get((row, column))
                if cell is None or cell.char not in "▀▄":
                    break
                upper, lower = (cell.front, cell.back)[:: 1 if cell.char == "▀" else -1]
                halves[0].append(upper)
                halves[1].append(lower)
            rows += [half for half in halves if half and None not in half]
        found = np.array(rows, np.uint8)
        assert_is(found, n, 30)  # of ten pixels at most


def test_there_is_nothing_to_see_without_pictures(catalog: Path) -> None:
    with Catalog(catalog) as opened:
        assert opened.best_jpeg("test", 0) is not None
    terminal = Terminal(kitty=True)
    terminal.run([sys.executable, "-m", "streamer", "search", catalog, "--no-pictures"])
    assert not terminal.pictures
    assert lines_of_words(terminal, 0)
