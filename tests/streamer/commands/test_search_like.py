"""`streamer search --like`, and pictures in a terminal: a real catalog, a real pseudo-terminal."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model.synthetic.film import Film
from streamer.catalog import Catalog
from streamer.catalog_writer import Best, CatalogWriter, TrackRow
from streamer.cli import app
from streamer.commands.evaluate_rules import true_regions
from streamer.errors import ConfigError, InputError, StreamerError
from streamer.geometry import Viewport
from streamer.looks import N_DIMS
from streamer.mask import Mask
from streamer.records import Caption, Frame, Region, StreamInfo, TrackedFrame
from streamer.sinks.catalog import Catalog as Sink
from tests.streamer.commands.terminal import run_in_pty

FILMS = range(6000, 6004)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of films, seen early in stream "early" and, elsewhere and otherwise tilted, in
    "late"; their tracks have the same ids."""
    path = tmp_path_factory.mktemp("like") / "catalog.sqlite"
    sink = Sink(str(path))
    sink.open([
        StreamInfo(stream_id=name, uri=f"{name}.mp4", width_px=320, height_px=180)
        for name in ("early", "late")
    ])  # fmt: skip
    for n, seed in enumerate(FILMS):
        film = Film(seed, height_px=180, width_px=320, seconds=4.0)
        names = {a.object_id: a.sprite.category for shot in film.shots for a in shot.actors}
        for stream_id, indices in (("early", (12, 62)), ("late", (40, 90))):
            for index in indices:
                shown = film.frame(index)
                frame = Frame(
                    stream_id=stream_id, index=100 * n + index, image=shown.image,
                    time_ns=(100 * n + index) * 40_000_000, viewport=Viewport.whole(180, 320),
                )  # fmt: skip
                regions = tuple(
                    Region(mask=r.mask, box_xyxy=r.box_xyxy, score=1.0,
                           track_id=100 * n + r.track_id)
                    for r in true_regions(shown) if r.mask.area_px > 60
                )  # fmt: skip
                sink.write(TrackedFrame(frame=frame, regions=regions))
                for region in regions:
                    sink.write(said(frame, region, f"a {names[region.track_id % 100]}"))
    sink.close()
    return path


def said(frame: Frame, region: Region, text: str) -> Caption:
    return Caption(
        stream_id=frame.stream_id, track_id=region.track_id, start_ns=frame.time_ns,
        end_ns=frame.time_ns, text=text, asked_ns=frame.time_ns, frame_index=frame.index,
        frame_time_ns=frame.time_ns, mask=region.mask, mean_logprob=-0.1, model="test",
        weights_hash="0",
    )  # fmt: skip


def search(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["search", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_same_thing_is_found_among_others(catalog: Path) -> None:
    with Catalog(catalog) as opened:
        early = {h.track_id for h in opened.search("", stream_id="early", limit=-1)}
        late = {h.track_id for h in opened.search("", stream_id="late", limit=-1)}
        both = sorted(early & late)
        ranks = []
        for track_id in both:
            ranked = [t for s, t, _ in opened.like("early", track_id) if s == "late"]
            ranks.append(ranked.index(track_id))
        likeness = [value for *_, value in opened.like("early", both[0])]
    assert len(both) >= 20
    assert np.mean([rank == 0 for rank in ranks]) >= 0.8
    assert np.mean([rank < 3 for rank in ranks]) >= 0.9
    assert likeness == sorted(likeness, reverse=True)
    assert 0 <= min(likeness) <= max(likeness) <= 1


def test_the_command(catalog: Path, tmp_path: Path) -> None:
    with Catalog(catalog) as opened:
        hit = opened.search("", stream_id="late")[0]
        ranked = list(opened.like("late", hit.track_id))
    result = tmp_path / "found.json"
    like = f"late#{hit.track_id}"
    shown = search(catalog, "--like", like, "--limit", 4, "--json", result)
    found = json.loads(result.read_text())
    assert [(f["stream_id"], f["track_id"]) for f in found] == [r[:2] for r in ranked[:4]]
    assert [f["likeness"] for f in found] == [round(r[2], 3) for r in ranked[:4]]
    assert "like" in shown.splitlines()[0]
    # with words, the same order among those that fit
    word = hit.text.split()[-1]
    search(catalog, word, "--like", like, "--stream", "early", "--json", result)
    found = json.loads(result.read_text())
    assert found
    assert all(f["stream_id"] == "early" and word in f["text"] for f in found)
    for arguments, kind, match in (
        (["--like", "late#77777"], InputError, "no look of track 77777 of 'late'"),
        (["--like", "17"], InputError, "2 streams; write STREAM#ID"),
        (["--like", "car"], ConfigError, "write STREAM#ID"),
        (["--like", "nigth#1"], InputError, "no stream 'nigth'"),
    ):
        with pytest.raises(StreamerError, match=match) as caught:
            search(catalog, *arguments)
        assert isinstance(caught.value, kind)


def test_a_catalog_of_before(catalog: Path, tmp_path: Path) -> None:
    """It has no table of looks."""
    path = tmp_path / "catalog.sqlite"
    Sink(str(path), looks=False).open(
        [StreamInfo(stream_id="a", uri="a.mp4", width_px=32, height_px=18)]
    )
    with pytest.raises(InputError, match="run again with looks: true"):
        search(path, "--like", "1")


@pytest.mark.slow
def test_among_a_hundred_thousand_tracks(tmp_path: Path) -> None:
    n = 100_000
    rng = np.random.default_rng(1)
    looks = rng.random((n, N_DIMS), np.float32) ** 8
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    path = tmp_path / "catalog.sqlite"
    info = StreamInfo(stream_id="a", uri="a.mp4", width_px=32, height_px=18)
    writer = CatalogWriter(path, [info])
    mask = Mask.encode(np.ones((18, 32), bool))
    region = Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=0)
    for i in range(n):
        best = Best(frame_index=0, time_ns=0, region=region, jpeg=None,
                    look=looks[i].astype(np.float16).tobytes())  # fmt: skip
        writer.track(TrackRow(stream_id="a", track_id=i, first_ns=0, last_ns=0, frames=1,
                              best=best))  # fmt: skip
    writer.close()
    times_s = []
    with Catalog(path) as opened:
        for track_id in range(0, n, n // 9):
            begun_s = time.process_time()
            _, _, most = next(opened.like("a", track_id))
            times_s.append(time.process_time() - begun_s)
            assert 0.1 < most <= 1.0
    print(f"among {n} tracks: median {1000 * statistics.median(times_s):.0f} ms, "
          f"{path.stat().st_size >> 20} MiB")  # fmt: skip
    assert statistics.median(times_s) < 3.0


def in_terminal(arguments: list[object], rows: int = 40, sixels: bool = False) -> str:
    """What a command writes into a pseudo-terminal, which answers no question, or says that it
    can show sixels."""
    taken = b""

    def take(more: bytes, answer: Callable[[str], object]) -> None:
        nonlocal taken
        taken += more
        if sixels and more.endswith(b"\x1b[c"):
            answer("\x1b[?62;4c")

    size = (rows, 100 if rows else 0, 0, 0)
    run_in_pty([sys.executable, "-m", "streamer", *arguments], size, take)
    return taken.decode()


def test_pictures_in_a_terminal_and_nowhere_else(catalog: Path, tmp_path: Path) -> None:
    pytest.importorskip("textual_image")
    arguments: list[object] = ["search", catalog, "--limit", 3]
    shown = in_terminal(arguments)
    assert shown.count("\N{UPPER HALF BLOCK}") > 3 * 20 or shown.count("\N{LOWER HALF BLOCK}") > 60
    assert re.search(r"\x1b\[[\d;]*38;2;\d+;\d+;\d+", shown)  # in the colours of the film
    assert "3 found" in shown
    with Catalog(catalog) as opened:
        assert opened.search("")[0].text in shown
    for plain in (
        in_terminal([*arguments, "--json", tmp_path / "found.json"]),
        in_terminal(arguments, rows=0),
    ):
        assert "\N{UPPER HALF BLOCK}" not in plain
        assert "\N{LOWER HALF BLOCK}" not in plain
        assert "caption" in plain
    assert "\x1b" not in search(*arguments[1:])
    with pytest.raises(ConfigError, match="no terminal in colour"):
        search(*arguments[1:], "--pictures")


def test_sixels_where_the_terminal_can_show_them(catalog: Path) -> None:
    pytest.importorskip("textual_image")
    shown = in_terminal(["search", catalog, "--limit", 3], sixels=True)
    assert len(re.findall(r"\x1bP[\d;]*q.*?\x1b\\", shown, re.DOTALL)) == 3
    assert "3 found" in shown
