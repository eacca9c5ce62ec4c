"""A part's relation to its whole, from the record to every place that keeps it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from streamer.catalog_writer import CatalogWriter
from streamer.records import TrackedFrame, tracked_frame_json
from streamer.schema import json_schema
from streamer.sinks.catalog import Catalog
from streamer.sinks.jsonl import Tracks
from streamer.split import _moved
from streamer.stored import read_tracks
from streamer.viewer.records import Records
from tests.streamer.sinks.sink_records import STREAM, event, numbered_frames, region, tracked


def umbrella() -> TrackedFrame:
    whole, handle = region((40, 30, 100, 90), 1), region((65, 60, 72, 90), 2)
    return tracked(numbered_frames(1)[0], whole, replace(handle, part_of=1))


def test_a_part_of_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="part of itself"):
        replace(region((0, 0, 9, 9), 3), part_of=3)


def test_json_lines_hold_it_and_are_read_back(tmp_path: Path) -> None:
    data = tracked_frame_json(umbrella())
    jsonschema.Draft202012Validator(json_schema()).validate(data)
    assert [r.get("part_of") for r in data["regions"]] == [None, 1]
    assert "part_of" not in data["regions"][0]  # nothing is said of what is no part
    sink = Tracks(str(tmp_path / "t.tracks.jsonl"))
    sink.open([STREAM])
    sink.write(umbrella())
    sink.close()
    (read,) = read_tracks(tmp_path / "t.tracks.jsonl")
    assert [r.part_of for r in read.regions] == [None, 1]


def test_the_catalog_and_the_viewers_lanes_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    sink = Catalog(str(path))
    sink.open([STREAM])
    sink.write(umbrella())
    sink.close()
    lanes = Records(path).lanes("test", 0, 10**9, 10)
    assert [(t["track_id"], t["part_of"]) for t in lanes["tracks"]] == [(1, None), (2, 1)]


def test_a_catalog_of_an_earlier_version_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    CatalogWriter(path, [STREAM]).close()
    db = sqlite3.connect(path)
    db.execute("ALTER TABLE track DROP COLUMN part_of")
    db.execute("INSERT INTO track VALUES ('test', 1, 0, 9, 1, 0, 0, '{}', 0.5, NULL)")
    db.commit()
    db.close()
    lanes = Records(path).lanes("test", 0, 10**9, 10)
    assert [(t["track_id"], t["part_of"]) for t in lanes["tracks"]] == [(1, None)]
    sink = Catalog(str(path))
    sink.open([STREAM])
    sink.write(umbrella())
    sink.close()
    assert Records(path).lanes("test", 0, 10**9, 10)["tracks"][1]["part_of"] == 1


def test_numbers_run_on_where_pieces_are_joined() -> None:
    moved = _moved(umbrella(), 10, 0)
    assert isinstance(moved, TrackedFrame)
    assert [(r.track_id, r.part_of) for r in moved.regions] == [(11, None), (12, 11)]
    merge = _moved(event(1.0, "track_merge", 2, other_track_id=1), 10, 0)
    assert json.loads(json.dumps(merge.to_json()))["data"] == {"other_track_id": 11}  # type: ignore[union-attr]
