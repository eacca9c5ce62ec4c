"""JSON Schema of the lines that the JSON Lines sinks write; printed by `streamer schema`."""

from __future__ import annotations

from typing import Any

from streamer.records import SCHEMA_VERSION

_TIME = {"type": "integer", "description": "media time in nanoseconds"}
_ID = {"type": "string", "pattern": "^[0-9a-f]{16}$", "description": "the same in every run"}
_TRACK = {"type": "integer", "minimum": 1, "description": "unique within its stream"}
_MASK = {
    "type": "object",
    "description": "COCO run-length code",
    "properties": {
        "size": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "integer"}],
            "minItems": 2,
            "maxItems": 2,
            "description": "height, width in pixels",
        },
        "counts": {"type": "string"},
    },
    "required": ["size", "counts"],
    "additionalProperties": False,
}
_BOX = {
    "type": "array",
    "items": {"type": "integer"},
    "minItems": 4,
    "maxItems": 4,
    "description": "x0, y0, x1, y1 in pixels, half open",
}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12 schema of one line: a caption, an event, or the regions of a frame."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:osprey-streamer:records:{SCHEMA_VERSION}",
        "title": "streamer records",
        "oneOf": [_caption(), _event(), _regions()],
    }


def _record(kind: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    every = {
        "record": {"const": kind},
        "schema": {"const": SCHEMA_VERSION},
        "id": _ID,
        "stream_id": {"type": "string"},
        **properties,
    }
    return {
        "title": kind,
        "description": description,
        "type": "object",
        "properties": every,
        "required": list(every),
        "additionalProperties": False,
    }


def _caption() -> dict[str, Any]:
    return _record(
        "caption",
        "Words about a track that hold from start_ns to end_ns, with their evidence.",
        {
            "track_id": _TRACK,
            "start_ns": _TIME,
            "end_ns": {"type": ["integer", "null"], "description": "null: still holds"},
            "text": {"type": "string", "description": "the short form"},
            "detail": {"type": "string", "description": "the long form, or empty"},
            "why": {"enum": ["new", "changed", "better_view", "old", "asked"]},
            "asked_ns": {**_TIME, "description": "media time at which words were asked for"},
            "frame_index": {"type": "integer", "minimum": 0},
            "frame_time_ns": {**_TIME, "description": "media time of the frame looked at"},
            "mask": _MASK,
            "box_xyxy": _BOX,
            "mean_logprob": {
                "type": ["number", "null"],
                "maximum": 0,
                "description": "mean natural-log probability of the tokens of text; null: unknown",
            },
            "model": {"type": "string"},
            "weights_hash": {"type": "string"},
        },
    )


def _event() -> dict[str, Any]:
    return _record(
        "event",
        "Something that happened: cut, track_start, track_end, stream_end, input_error, ...",
        {
            "time_ns": _TIME,
            "kind": {"type": "string", "minLength": 1},
            "track_id": {"anyOf": [_TRACK, {"type": "null"}]},
            "data": {"type": "object"},
        },
    )


def _regions() -> dict[str, Any]:
    region = {
        "type": "object",
        "properties": {
            "track_id": _TRACK,
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "box_xyxy": _BOX,
            "mask": _MASK,
        },
        "required": ["track_id", "score", "box_xyxy", "mask"],
        "additionalProperties": False,
    }
    return _record(
        "regions",
        "The regions that are visible in a frame.",
        {
            "frame_index": {"type": "integer", "minimum": 0},
            "time_ns": _TIME,
            "regions": {"type": "array", "items": region},
        },
    )
