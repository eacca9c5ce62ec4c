"""A walk as an event, so that whoever reads the records of a picture knows the way."""

from __future__ import annotations

from typing import Any

from streamer.records import Event
from streamer.sources.paths import Stop, Walk


def walk_event(stream_id: str, walk: Walk) -> Event:
    """The event `walk` that a panned picture begins with."""
    stops = [
        [
            *(stop.index, stop.level, stop.zoom, *stop.box_xywh, stop.time_ns, stop.pause_ns),
            *(stop.turns, stop.returns),
        ]
        for stop in walk.stops
    ]
    data = {
        "canvas_hw": list(walk.canvas_hw),
        "kind": walk.kind,
        "speed_px_s": walk.speed_px_s,
        "opening_ns": walk.opening_ns,
        "duration_ns": walk.duration_ns,
        "stops": stops,
    }
    return Event(stream_id=stream_id, time_ns=0, kind="walk", data=data)


def walk_of_event(event: Event) -> Walk:
    """The inverse of `walk_event`."""
    data: dict[str, Any] = event.data
    stops = tuple(
        Stop(
            index=index, level=level, zoom=zoom, box_xywh=(x, y, width, height), time_ns=time_ns,
            pause_ns=pause_ns, turns=turns, returns=returns,
        )
        for index, level, zoom, x, y, width, height, time_ns, pause_ns, turns, returns in data[
            "stops"
        ]
    )  # fmt: skip
    return Walk(
        canvas_hw=(data["canvas_hw"][0], data["canvas_hw"][1]),
        kind=data["kind"],
        speed_px_s=data["speed_px_s"],
        stops=stops,
        opening_ns=data["opening_ns"],
        duration_ns=data["duration_ns"],
    )
