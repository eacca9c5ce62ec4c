"""Where the windows of a walk stand: grids in the order of reading, and waypoints from a file."""

from __future__ import annotations

import math
from pathlib import Path

import yaml

from streamer.errors import InputError


def window_cells(
    canvas_hw: tuple[int, int], size_hw: tuple[int, int], kind: str, overlap: float
) -> list[tuple[int, int, bool]]:
    """Left, top and "the way there is a return" of every window, in the order of the walk."""
    xs = _spaced(canvas_hw[1], size_hw[1], overlap)
    ys = _spaced(canvas_hw[0], size_hw[0], overlap)
    if kind == "spiral":
        return [(xs[i], ys[j], False) for i, j in _spiral(len(xs), len(ys))]
    if kind in ("down", "up"):
        along = ys if kind == "down" else ys[::-1]
        return [(x, y, k == 0 and x != xs[0]) for x in xs for k, y in enumerate(along)]
    rows = []
    for j, y in enumerate(ys):
        backwards = kind == "right_to_left" or (kind == "rows" and j % 2 == 1)
        for k, x in enumerate(xs[::-1] if backwards else xs):
            rows.append((x, y, k == 0 and j > 0 and kind != "rows"))
    return rows


def _spaced(whole_px: int, window_px: int, overlap: float) -> list[int]:
    """Starts of windows that cover a length evenly."""
    rest = whole_px - window_px
    steps = math.ceil(rest / max(1.0, window_px * (1 - overlap)))
    return [round(i * rest / steps) for i in range(steps + 1)] if steps else [0]


def _spiral(columns: int, rows: int) -> list[tuple[int, int]]:
    """All cells of a grid from the top left inwards, clockwise."""
    left, top, right, bottom = 0, 0, columns - 1, rows - 1
    cells: list[tuple[int, int]] = []
    while left <= right and top <= bottom:
        cells += [(i, top) for i in range(left, right + 1)]
        cells += [(right, j) for j in range(top + 1, bottom + 1)]
        if top < bottom:
            cells += [(i, bottom) for i in range(right - 1, left - 1, -1)]
        if left < right:
            cells += [(left, j) for j in range(bottom - 1, top, -1)]
        left, top, right, bottom = left + 1, top + 1, right - 1, bottom - 1
    return cells


def read_waypoints(
    file: Path, canvas_hw: tuple[int, int], usual_zoom: float
) -> list[tuple[float, float, float, float]]:
    """x, y (canvas pixels), zoom and pause in seconds of every waypoint.

    Raises:
        InputError: when the file cannot be understood or a waypoint leaves the picture.
    """
    try:
        items = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"{file} cannot be read as waypoints ({why}); give a YAML list") from None
    if not isinstance(items, list) or not items:
        raise InputError(f"{file}: waypoints are a YAML list of {{x: ..., y: ...}}, at least one")
    points = []
    for n, item in enumerate(items, 1):
        try:
            x, y = float(item["x"]), float(item["y"])
            zoom, pause_s = float(item.get("zoom", usual_zoom)), float(item.get("pause_s", 0))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(
                f"{file}: waypoint {n} is {item!r}; write {{x: 100, y: 50}} in canvas pixels, "
                "with zoom and pause_s where wanted"
            ) from None
        if not (0 <= x <= canvas_hw[1] and 0 <= y <= canvas_hw[0]):
            raise InputError(
                f"{file}: waypoint {n} at ({x:g}, {y:g}) leaves the picture of "
                f"{canvas_hw[1]}x{canvas_hw[0]} px; move it inside"
            )
        if not (zoom > 0 and pause_s >= 0 and math.isfinite(zoom + pause_s)):
            raise InputError(f"{file}: waypoint {n}: zoom is more than 0 and pause_s at least 0")
        points.append((x, y, zoom, pause_s))
    return points
