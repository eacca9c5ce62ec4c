"""A very large picture as a stream: a window walks along it, a frame for every stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.errors import InputError
from streamer.interfaces import Source
from streamer.records import Event, Frame, StreamInfo
from streamer.sources.canvas import Canvas
from streamer.sources.paths import KINDS, Stop, Walk, plan_walk, with_pauses
from streamer.sources.walk_record import walk_event

_SKETCH_PX = 8192  # on its longer side
_SKETCH_AREA_PX = 4_000_000


class PanImage(Source):
    """Windows of a picture in the order of a walk, with their media times.

    The first record is an event `walk`: the whole way with its times. After a window comes an event
    `passed` when the walk leaves places for good: data has `cell_px` and `cells`, squares of the
    canvas (column, row) that no later window shows.

    A window that cannot be read is left out and named in an `input_error` event at its time.

    Args:
        path: a picture in any format of libvips, a `.dzi` file, or a IIIF Image API folder.
        walk: right_to_left, left_to_right, down, up, rows, spiral, waypoints, or auto.
        window_width, window_height: of the screen, in pixels.
        overlap: share of a window that the next one shows again.
        speed_px_s: canvas pixels a second; 0: a window's length in eight seconds.
        zooms: screen pixels per canvas pixel, a level each; none: chosen from the picture's size.
        pause_s: seconds of rest where there is much more to see than elsewhere.
        opening_s: seconds of media time before the first stop; a film shows the whole picture.
        waypoints: a YAML file, a list of `{x, y, zoom, pause_s}` in canvas pixels.
        cache: folder for the pyramids of large pictures; the user's cache folder when empty.
        stream_id: the name in all records; the picture's name when empty.
    """

    def __init__(
        self,
        path: str,
        walk: str = "auto",
        window_width: int = 1280,
        window_height: int = 720,
        overlap: float = 0.5,
        speed_px_s: float = 0.0,
        zooms: list[float] | None = None,
        pause_s: float = 2.0,
        opening_s: float = 3.0,
        waypoints: str = "",
        cache: str = "",
        stream_id: str = "",
    ) -> None:
        if walk not in KINDS:
            raise ValueError(f"walk is {walk!r}; one of {', '.join(KINDS)}")
        if walk == "waypoints" and not waypoints:
            raise ValueError("a walk along waypoints needs their file: waypoints")
        if min(window_width, window_height) < 64:
            raise ValueError("window_width and window_height are at least 64 px")
        if not 0 <= overlap <= 0.9:
            raise ValueError(f"overlap is {overlap}; wanted 0 .. 0.9")
        if min(speed_px_s, pause_s, opening_s) < 0:
            raise ValueError("speed_px_s, pause_s and opening_s are at least 0")
        if any(zoom <= 0 for zoom in zooms or ()):
            raise ValueError(f"zooms are {zooms}; each is more than 0")
        self.path = path
        self.kind = walk
        self.window_hw = (window_height, window_width)
        self.overlap = overlap
        self.speed_px_s = speed_px_s
        self.zooms = tuple(zooms or ())
        self.pause_s = pause_s
        self.opening_s = opening_s
        self.waypoints = waypoints
        self.cache = cache
        self.stream_id = stream_id or _name(path)
        self.first_index = 0
        self.on_progress: Callable[[float], None] | None = None
        self.canvas: Canvas | None = None
        self.walk: Walk | None = None

    def open(self) -> list[StreamInfo]:
        canvas = Canvas(self.path, self.cache, self.on_progress)
        walk = plan_walk(
            canvas.hw,
            window_hw=self.window_hw,
            kind=self.kind,
            overlap=self.overlap,
            speed_px_s=self.speed_px_s,
            zooms=self.zooms,
            opening_s=self.opening_s,
            waypoints=self.waypoints,
        )
        walk = with_pauses(walk, busyness(canvas, walk.stops), self.pause_s)
        self.canvas, self.walk = canvas, walk
        return [
            StreamInfo(
                stream_id=self.stream_id,
                uri=self.path,
                width_px=canvas.width_px,
                height_px=canvas.height_px,
                duration_ns=walk.duration_ns,
                frames=len(walk.stops),
            )
        ]

    def read(self) -> Iterator[Frame | Event]:
        if self.canvas is None or self.walk is None:
            raise RuntimeError("open() comes before read()")
        if not self.first_index:
            yield walk_event(self.stream_id, self.walk)
        side, passed = last_seen(self.walk)
        for stop in self.walk.stops[self.first_index :]:
            try:
                image = self.canvas.window(*stop.box_xywh, stop.frame_hw)
            except InputError as error:
                yield Event(
                    stream_id=self.stream_id,
                    time_ns=stop.time_ns,
                    kind="input_error",
                    data={"reason": f"{error} (window {stop.index})", "frames_lost": 1},
                )
            else:
                yield Frame(
                    stream_id=self.stream_id,
                    index=stop.index,
                    time_ns=stop.time_ns,
                    image=image,
                    viewport=stop.viewport(self.canvas.hw),
                )
            if stop.index in passed:
                yield Event(
                    stream_id=self.stream_id,
                    time_ns=stop.time_ns,
                    kind="passed",
                    data={
                        "window": stop.index,
                        "cell_px": side,
                        "cells": passed[stop.index].tolist(),
                    },
                )

    def close(self) -> None:
        self.canvas = None


def last_seen(walk: Walk) -> tuple[int, dict[int, NDArray[np.int32]]]:
    """The side of square cells of the canvas, and which of them (Nx2: column, row) each stop shows
    for the last time. A cell that is shown in part counts as shown."""
    height, width = walk.canvas_hw
    least = min(min(stop.box_xywh[2:]) for stop in walk.stops)
    side = max(32, least // 8)
    last = np.full((-(-height // side), -(-width // side)), -1, np.int32)
    for stop in walk.stops:
        x, y, w, h = stop.box_xywh
        last[y // side : (y + h - 1) // side + 1, x // side : (x + w - 1) // side + 1] = stop.index
    order = np.argsort(last, axis=None, kind="stable")
    rows, columns = np.unravel_index(order, last.shape)
    cells_N2 = np.stack([columns, rows], axis=1).astype(np.int32)
    indices, starts = np.unique(last.ravel()[order], return_index=True)
    parts = np.split(cells_N2, starts[1:])
    found = dict(zip(indices.tolist(), parts, strict=True))
    found.pop(-1, None)
    return side, found


def busyness(canvas: Canvas, stops: tuple[Stop, ...]) -> list[float]:
    """How much there is to see at every stop: mean strength of edges in a small copy."""
    longest_px = math.sqrt(_SKETCH_AREA_PX * max(canvas.hw) / min(canvas.hw))
    sketch = canvas.thumbnail(max(1, min(_SKETCH_PX, int(longest_px))))
    grey = cv2.cvtColor(sketch, cv2.COLOR_RGB2GRAY)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    sums: NDArray[np.float64] = cv2.integral(edges, sdepth=cv2.CV_64F)
    fy, fx = sketch.shape[0] / canvas.height_px, sketch.shape[1] / canvas.width_px
    found = []
    for stop in stops:
        x, y, width, height = stop.box_xywh
        x0, y0 = int(x * fx), int(y * fy)
        x1 = min(sketch.shape[1], max(x0 + 1, round((x + width) * fx)))
        y1 = min(sketch.shape[0], max(y0 + 1, round((y + height) * fy)))
        x0, y0 = min(x0, x1 - 1), min(y0, y1 - 1)
        total = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        found.append(float(total) / ((x1 - x0) * (y1 - y0)))
    return found


def _name(path: str) -> str:
    from pathlib import Path

    from streamer.sources.names import stream_name

    place = Path(path)
    # a IIIF picture is called like its folder
    return stream_name("", place.parent if place.name == "info.json" else place)
