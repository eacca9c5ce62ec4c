"""The catalog: what is written is found, whatever is typed."""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from streamer.catalog import Catalog, Hit, fts_query
from streamer.catalog_writer import CatalogWriter
from streamer.cli import app
from streamer.errors import ConfigError, InputError, OutputError, StreamerError
from streamer.records import Caption, Event, StreamInfo, TrackedFrame
from streamer.sinks.catalog import Catalog as Sink
from streamer.testing import check_sink
from tests.streamer.sinks.sink_records import STREAM, caption, event, region, tracked
from tests.streamer.sinks.sink_records import numbered_frames as frames

NASTY = [
    "'; DROP TABLE caption; --", '"', "'", '" OR text:*', "NEAR(red car)", "red AND", "NOT", "*",
    "red*car", "text : red", "{text}: red", "(", "^red", "-red", "red + car", "\0", "%", "_", "a:b",
    "caption_fts", "\ud83d\ude97".encode("utf-16", "surrogatepass").decode("utf-16"), "red\ncar",
]  # fmt: skip


def records() -> list[TrackedFrame | Caption | Event]:
    first, second, third = frames(3)
    return [
        tracked(first, region((40, 30, 60, 50), 1), region((0, 0, 30, 30), 2)),
        caption(0.0, text="a red car", detail="a red car with a roof rack"),
        tracked(second, region((40, 30, 90, 80), 1)),
        caption(0.04, text="a small blue dog", track_id=2),
        caption(0.0, 0.08, text="a red car", detail="a red car with a roof rack"),
        event(0.04, "track_end", 2, start_ns=0),
        event(0.04, "line_cross", 1, rule="gate", note="größer"),
        tracked(third, region((40, 30, 95, 80), 1)),
    ]


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(statement).fetchall()
    finally:
        db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "catalog.sqlite"
    tables = ("stream_id, uri, width_px FROM stream", "* FROM track", "* FROM track_mask",
              "* FROM caption", "* FROM event", "rowid, text FROM caption_fts")  # fmt: skip
    check_sink(
        lambda: Sink(str(path)), [STREAM], records(),
        lambda: [rows(path, f"SELECT {what}") for what in tables],
    )  # fmt: skip
    return path


def found(path: Path, words: str, **limits: Any) -> list[Hit]:
    with Catalog(path) as catalog:
        return catalog.search(words, **limits)


def test_everything_of_a_run_is_there(path: Path) -> None:
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "SELECT stream_id, width_px, height_px, fps FROM stream") == [
        ("test", 160, 120, 25.0)
    ]
    tracks = rows(path, "SELECT track_id, first_ns, last_ns, frames, best_ns FROM track")
    assert tracks == [(1, 0, 80_000_000, 3, 40_000_000), (2, 0, 0, 1, 0)]
    assert len(rows(path, "SELECT * FROM track_mask")) == 4
    mask = json.loads(rows(path, "SELECT mask FROM track_mask WHERE track_id = 2")[0][0])
    assert mask == region((0, 0, 30, 30)).mask.to_json()
    said = rows(path, "SELECT text, category, colour, end_ns FROM caption ORDER BY row")
    assert said == [
        ("a red car", "car", "red", 80_000_000),
        ("a small blue dog", "dog", "blue", None),
    ]
    events = rows(path, "SELECT kind, track_id, rule, data FROM event ORDER BY kind")
    assert events[0][:3] == ("line_cross", 1, "gate")
    assert json.loads(events[0][3]) == {"rule": "gate", "note": "größer"}
    (jpeg,) = rows(path, "SELECT best_jpeg FROM track WHERE track_id = 1")[0]
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (50 + 10, 50 + 10)
    with Catalog(path.parent) as catalog:
        assert catalog.best_jpeg("test", 1) == jpeg
        assert catalog.best_jpeg("test", 9) is None


def test_without_masks_and_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    sink = Sink(str(path), masks=False, pictures=False)
    sink.open([STREAM])
    for record in records():
        sink.write(record)
    sink.close()
    assert rows(path, "SELECT count(*) FROM track_mask") == [(0,)]
    assert rows(path, "SELECT best_jpeg FROM track") == [(None,), (None,)]


def test_words_times_and_streams(path: Path) -> None:
    assert [h.text for h in found(path, "red car")] == ["a red car"]
    assert [h.text for h in found(path, "CAR, red!")] == ["a red car"]
    assert [h.track_id for h in found(path, "roof")] == [1]  # the detail counts too
    assert [h.track_id for h in found(path, "do*")] == [2]
    assert found(path, "re") == []
    assert [h.track_id for h in found(path, "")] == [1, 2]
    assert [h.track_id for h in found(path, "", limit=1)] == [1]
    assert [h.track_id for h in found(path, "", from_ns=90_000_000)] == [2]  # it still holds
    assert [h.track_id for h in found(path, "", to_ns=30_000_000)] == [1]
    assert found(path, "car", stream_id="other") == []


@pytest.mark.parametrize("words", NASTY)
def test_what_is_typed_is_only_words(path: Path, words: str) -> None:
    for hit in found(path, words):
        assert "red" in hit.text
    assert len(found(path, "")) == 2


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_query(words: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE t USING fts5(text)")
    query = fts_query(words)
    if query:
        db.execute("SELECT * FROM t WHERE t MATCH ?", (query,)).fetchall()
    db.close()


def test_a_stream_that_runs_again_replaces_its_rows(path: Path) -> None:
    other = StreamInfo(stream_id="other", uri="o:", width_px=160, height_px=120)
    for stream_id, info, text in (("other", other, "a red bus"), ("test", STREAM, "a green boat")):
        sink = Sink(str(path))
        sink.open([info])
        sink.write(caption(0.0, text=text, stream_id=stream_id))
        sink.close()
    assert [h.text for h in found(path, "")] == ["a red bus", "a green boat"]
    assert [h.text for h in found(path, "red")] == ["a red bus"]
    assert rows(path, "SELECT count(*) FROM track_mask") == [(0,)]
    assert rows(path, "INSERT INTO caption_fts (caption_fts) VALUES ('integrity-check')") == []


def test_it_is_searched_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    sink = Sink(str(path))
    sink.open([STREAM])
    sink.write(caption(0.0))
    sink.flush()
    assert len(found(path, "car")) == 1
    second = Sink(str(path))  # another run into the same file
    second.open([StreamInfo(stream_id="b", uri="b:", width_px=9, height_px=9)])
    second.write(caption(0.0, stream_id="b"))
    second.close()
    sink.write(caption(1.0))
    sink.close()
    assert [h.stream_id for h in found(path, "car")] == ["test", "b", "test"]


def test_the_command(path: Path, tmp_path: Path) -> None:
    def search(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["search", *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    text = search(path.parent, "red car", "--json", tmp_path / "hits.json")
    assert "a red car with a roof rack" in text
    assert "1 found" in text
    (hit,) = json.loads((tmp_path / "hits.json").read_text())
    assert (hit["track_id"], hit["start_ns"], hit["end_ns"]) == (1, 0, 80_000_000)
    assert "0 found" in search(path, "red car", "--from", "0:02")
    assert "1 found" in search(path, "", "--stream", "test", "--limit", 1)
    for error, match, arguments in (
        (InputError, "no such catalog", [tmp_path, "car"]),
        (InputError, "no stream 'tset'; did you mean 'test'", [path, "car", "--stream", "tset"]),
        (ConfigError, "--from: 'noon' is not a time", [path, "car", "--from", "noon"]),
        (ConfigError, "lies behind", [path, "car", "--from", "9", "--to", "3"]),
    ):
        with pytest.raises(error, match=match):
            search(*arguments)


def test_markup_and_control_characters_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    sink = Sink(str(path))
    sink.open([STREAM])
    sink.write(caption(0.0, text="a [red]car[/red] \x1b[2J"))
    sink.close()
    done = CliRunner().invoke(app, ["search", str(path), "car"])
    assert "a [red]car[/red] \N{REPLACEMENT CHARACTER}[2J" in done.stdout


def test_files_that_are_no_catalog(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"words" * 999)
    with pytest.raises(InputError, match="cannot be searched"):
        Catalog(path)
    with pytest.raises(OutputError, match="cannot be written as a catalog"):
        Sink(str(path)).open([STREAM])
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (a)").connection.close()
    with pytest.raises(StreamerError, match="no such table"):
        Catalog(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written as a catalog"):
        Sink(str(tmp_path / "file" / "catalog.sqlite")).open([STREAM])


@pytest.mark.slow
def test_a_million_captions(tmp_path: Path) -> None:
    """Median of many kinds of searches: under 50 ms."""
    from model.synthetic.captions import CATEGORIES, COLOURS, PLACES, SIZES

    path = tmp_path / "catalog.sqlite"
    writer = CatalogWriter(path, [STREAM])
    writer.close()
    rng = np.random.default_rng(1)
    picks = [rng.integers(len(w), size=10**6) for w in (CATEGORIES, COLOURS, SIZES, PLACES)]

    def row(n: int) -> tuple[Any, ...]:
        category, colour, size, place = (
            words[pick[n]]
            for words, pick in zip((CATEGORIES, COLOURS, SIZES, PLACES), picks, strict=True)
        )
        at_ns = n * 250_000_000
        text, detail = f"a {size} {colour} {category}", f"a {colour} {category}, at the {place}"
        return (f"{n:016x}", f"camera-{n % 8}", n // 4, at_ns, at_ns + 8 * 10**9, text, detail,
                category, colour, "new", at_ns, n, at_ns, "{}", -0.1, "test", "0")  # fmt: skip

    db = sqlite3.connect(path)
    db.executemany(
        "INSERT INTO caption (id, stream_id, track_id, start_ns, end_ns, text, detail, category,"
        " colour, why, asked_ns, frame_index, frame_time_ns, mask, mean_logprob, model,"
        f" weights_hash) VALUES ({','.join('?' * 17)})",
        map(row, range(10**6)),
    )
    db.commit()
    db.close()
    hour_ns = 3600 * 10**9
    searches: list[dict[str, Any]] = [
        {"words": f"{colour} {category}"} for colour in COLOURS for category in CATEGORIES[:5]
    ]
    searches += [{"words": category} for category in CATEGORIES]
    searches += [{"words": "small red c*"}, {"words": "nothing"}, {"words": ""}]
    searches += [{"words": "red car", "stream_id": f"camera-{n}"} for n in range(8)]
    searches += [
        {"words": "red car", "from_ns": n * hour_ns, "to_ns": (n + 1) * hour_ns}
        for n in range(0, 69, 4)
    ]
    times_ms = []
    with Catalog(path) as catalog:
        for search in searches:
            start_s = time.perf_counter()
            catalog.search(**search)
            times_ms.append((time.perf_counter() - start_s) * 1e3)
    print(
        f"{len(searches)} searches in a million captions: median {statistics.median(times_ms):.1f} "
        f"ms, slowest {max(times_ms):.1f} ms"
    )
    assert len(found(path, "red car", limit=10**6)) > 3000
    assert statistics.median(times_ms) < 50
