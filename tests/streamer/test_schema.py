from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from streamer.records import SCHEMA_VERSION, tracked_frame_json
from streamer.schema import json_schema
from tests.streamer.sinks.sink_records import caption, event, numbered_frames, region, tracked

VALIDATOR = jsonschema.Draft202012Validator(json_schema())

LINES: dict[str, dict[str, Any]] = {
    "open caption": caption(1.0).to_json(),
    "closed caption": caption(1.0, 2.5, why="changed", detail="It is red.").to_json(),
    "event": event(1.0, "cut").to_json(),
    "track event": event(1.0, "track_end", 4, start_ns=0, end_ns=9, frames=2).to_json(),
    "regions": tracked_frame_json(tracked(numbered_frames(1)[0], region((1, 2, 30, 40), 7))),
    "no regions": tracked_frame_json(tracked(numbered_frames(1)[0])),
}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$id"].endswith(f":{SCHEMA_VERSION}")


@pytest.mark.parametrize("name", LINES)
def test_what_is_written_fits_and_nothing_may_be_missing_or_added(name: str) -> None:
    line = LINES[name]
    VALIDATOR.validate(line)
    for key in line:
        assert not VALIDATOR.is_valid({k: v for k, v in line.items() if k != key}), key
    assert not VALIDATOR.is_valid({**line, "colour": "red"})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("open caption", {"record": "event"}),
        ("open caption", {"schema": SCHEMA_VERSION + 1}),
        ("open caption", {"id": "1234"}),
        ("open caption", {"start_ns": 1.5}),
        ("open caption", {"end_ns": "later"}),
        ("open caption", {"why": "because"}),
        ("open caption", {"mean_logprob": 0.5}),
        ("open caption", {"track_id": 0}),
        ("open caption", {"box_xyxy": [1, 2, 3]}),
        ("open caption", {"mask": {"size": [10, 10], "counts": [1, 2]}}),
        ("open caption", {"mask": {"size": [10], "counts": "0"}}),
        ("event", {"kind": ""}),
        ("event", {"data": []}),
        ("event", {"track_id": "1"}),
        ("regions", {"frame_index": -1}),
        ("regions", {"regions": {}}),
    ],
)
def test_what_is_wrong_does_not_fit(name: str, wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid({**LINES[name], **wrong})


def test_a_wrong_region_does_not_fit() -> None:
    line = LINES["regions"]
    (found,) = line["regions"]
    for wrong in ({"score": 1.2}, {"track_id": None}, {"name": "car"}):
        assert not VALIDATOR.is_valid({**line, "regions": [{**found, **wrong}]})
