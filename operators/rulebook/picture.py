"""Zones and lines drawn on a still."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from operators.rulebook.book import Book
from streamer.sinks.drawing import draw_label, track_colour


def draw_book(image: NDArray[np.uint8], book: Book) -> NDArray[np.uint8]:
    """A copy of an HxWx3 uint8 RGB picture with every zone filled thinly, and every line with an
    arrow that points to its right side.

    Raises:
        ConfigError: when a shape does not fit the picture.
    """
    height, width = image.shape[:2]
    zones, lines = book.bind((height, width))
    picture = image.copy()
    thick = max(2, height // 270)
    taken: list[tuple[int, int, int, int]] = []
    for number, zone in enumerate(zones.values()):
        colour = track_colour(number)
        rings = [_corners(r) for p in shapely.get_parts(zone.polygon) for r in _rings(p)]
        tinted = picture.copy()
        cv2.fillPoly(tinted, rings, colour)
        picture = cv2.addWeighted(tinted, 0.25, picture, 0.75, 0)
        for closed, width_px in ((True, thick + 2), (True, thick)):
            shade = (0, 0, 0) if width_px > thick else colour
            cv2.polylines(picture, rings, closed, shade, width_px, cv2.LINE_AA)
    for number, line in enumerate(lines.values()):
        colour = track_colour(len(zones) + number)
        middle = line.path.interpolate(0.5, normalized=True)
        ahead = line.path.interpolate(0.51, normalized=True)
        along = np.array([ahead.x - middle.x, ahead.y - middle.y])
        along /= max(1e-9, float(np.linalg.norm(along)))
        start = np.array([middle.x, middle.y])
        tip = start + 0.09 * height * np.array([-along[1], along[0]])
        for shade, width_px in (((0, 0, 0), thick + 2), (colour, thick)):
            cv2.polylines(picture, [_corners(line.path)], False, shade, width_px, cv2.LINE_AA)
            cv2.arrowedLine(
                picture, _point(start), _point(tip), shade, width_px, cv2.LINE_AA, 0, 0.3
            )
        cv2.circle(picture, tuple(_corners(line.path)[0].tolist()), 2 * thick, colour, -1)
    shapes = [*zones.values(), *lines.values()]
    for number, shape in enumerate(shapes):
        spot = _label_spot(shape)
        kind = "zone" if shape.name in zones else "line"
        text = f"{kind} {shape.name}" if kind == "zone" else f"line {shape.name}, arrow: right"
        draw_label(picture, spot, text, track_colour(number), taken)
    return picture


def _label_spot(shape: Any) -> tuple[int, int, int, int]:
    geometry = shape.polygon if hasattr(shape, "polygon") else shape.path
    x0, y0, x1, y1 = (round(v) for v in geometry.bounds)
    return (x0, y0, x1, y1)


def _rings(polygon: Any) -> list[Any]:
    return [polygon.exterior, *polygon.interiors]


def _corners(line: Any) -> NDArray[np.int32]:
    return np.asarray(np.round(shapely.get_coordinates(line)), np.int32)


def _point(xy: NDArray[Any]) -> tuple[int, int]:
    return round(float(xy[0])), round(float(xy[1]))
