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
_UNCERTAINTY = {
    "type": "integer",
    "minimum": 0,
    "description": "by how much its times may be off, in nanoseconds; 0 for media time",
}
_BOX = {
    "type": "array",
    "items": {"type": "integer"},
    "minItems": 4,
    "maxItems": 4,
    "description": "x0, y0, x1, y1 in pixels, half open",
}


def json_schema() -> dict[str, Any]:
    """Draft 2020-12 schema of one line: a caption, an event, the regions of a frame, or a
    region of a large picture."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:osprey-streamer:records:{SCHEMA_VERSION}",
        "title": "streamer records",
        "oneOf": [_caption(), _event(), _regions(), _canvas_region()],
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
            "uncertainty_ns": _UNCERTAINTY,
        },
    )


def _event() -> dict[str, Any]:
    return _record(
        "event",
        "Something that happened: cut, track_start, track_end, track_merge, track_split, ...",
        {
            "time_ns": _TIME,
            "kind": {"type": "string", "minLength": 1},
            "track_id": {"anyOf": [_TRACK, {"type": "null"}]},
            "data": {"type": "object"},
            "uncertainty_ns": _UNCERTAINTY,
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
            "part_of": {**_TRACK, "description": "of a part: the track_id of its whole"},
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
            "uncertainty_ns": _UNCERTAINTY,
            "regions": {"type": "array", "items": region},
        },
    )


def _canvas_region() -> dict[str, Any]:
    absent = {"type": "null"}
    neighbour = {
        "type": "object",
        "properties": {"relation": {"type": "string"}, "region_id": _TRACK},
        "required": ["relation", "region_id"],
        "additionalProperties": False,
    }
    evidence = {
        "window_xyxy": {**_BOX, "description": "the window it was found in, canvas pixels"},
        "asked_xyxy": {
            "anyOf": [_BOX, absent],
            "description": "the window shown when its words were asked for, canvas pixels",
        },
        "caption_id": {"anyOf": [_ID, absent]},
        "mean_logprob": {"anyOf": [{"type": "number", "maximum": 0}, absent]},
        "model": {"type": ["string", "null"]},
        "weights_hash": {"type": ["string", "null"]},
    }
    return _record(
        "canvas_region",
        "A region of a large picture, in canvas pixels, with its words and their evidence.",
        {
            "region_id": _TRACK,
            "box_xyxy": _BOX,
            "mask": {**_MASK, "description": "COCO run-length code of the box, at any scale"},
            "text": {"type": "string", "description": "the short form, or empty"},
            "detail": {"type": "string", "description": "the long form, or empty"},
            "start_ns": {**_TIME, "description": "of the first window that showed it"},
            "end_ns": {**_TIME, "description": "of the last window that showed it"},
            "sure": {"type": "number", "minimum": 0, "maximum": 1},
            "windows": {"type": "integer", "minimum": 0},
            "joined": {"type": "boolean", "description": "no window shows it whole"},
            "place": {"type": "string", "description": "in thirds of the picture"},
            "neighbours": {"type": "array", "items": neighbour},
            "evidence": {
                "type": "object",
                "properties": evidence,
                "required": list(evidence),
                "additionalProperties": False,
            },
        },
    )
