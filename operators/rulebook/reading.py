"""Reads zones and lines out of a rule file and the GeoJSON files that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.rulebook.shapes import Line, Zone, check_unit_picture, line_of, zone_of
from streamer.errors import ConfigError
from streamer.yaml_places import Document

BUNDLED = Path(__file__).resolve().parents[2] / "configs" / "rules"


class Reader:
    """A rule file, read piece by piece; a mistake becomes a ConfigError with its place."""

    def __init__(self, document: Document, path: Path) -> None:
        self.document = document
        self.data = document.data
        self.path = path

    def shapes(self) -> tuple[dict[str, Zone], dict[str, Line]]:
        """Zones and lines by name."""
        in_pixels, scale = self._units()
        self._in_pixels, self._scale = in_pixels, scale
        zones: dict[str, Zone] = dict(self._shapes("zones", zone_of))
        lines: dict[str, Line] = dict(self._shapes("lines", line_of))
        for name, shape in self._geojson():
            if name in zones or name in lines:
                raise self.error(("geojson",), f"the name {name!r} is given twice")
            if isinstance(shape, Zone):
                zones[name] = shape
            else:
                lines[name] = shape
        return zones, lines

    def _units(self) -> tuple[bool, tuple[float, float] | None]:
        units = self.data.get("units", "share")
        if units not in ("share", "px"):
            raise self.error(("units",), f"units is {units!r}; share (0..1) or px")
        size = self.data.get("picture_wh")
        if size is None:
            return units == "px", None
        good = isinstance(size, list) and len(size) == 2
        if not good or not all(isinstance(v, int) and v > 0 for v in size) or units != "px":
            raise self.error(("picture_wh",), "picture_wh is [width, height] for units: px")
        return False, (float(size[0]), float(size[1]))

    def _shapes(self, key: str, make: Any) -> Iterator[tuple[str, Any]]:
        for name, points in self.mapping(key).items():
            yield str(name), self._shape((key, name), make, str(name), points)

    def _shape(self, at: tuple[Any, ...], make: Any, name: str, points: Any) -> Any:
        if self._scale is not None:
            points = self.checked(at, _divided, points, self._scale)
        shape = self.checked(at, make, name, points, self._in_pixels)
        if not self._in_pixels:
            self.checked(at, check_unit_picture, shape.geometry)
        return shape

    def _geojson(self) -> Iterator[tuple[str, Zone | Line]]:
        """Features of GeoJSON files: polygons are zones, line strings are lines."""
        given = self.data.get("geojson")
        files = given if isinstance(given, list) else [given] if given else []
        for file in files:
            path = self.path.parent / str(file)
            try:
                data = json.loads(read_text(path, "GeoJSON file"))
                features = data["features"]
                named = [
                    (f["properties"].get("name", f.get("id")), f["geometry"]) for f in features
                ]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigError(
                    f"{path} is not a GeoJSON FeatureCollection whose features have properties "
                    "with a name"
                ) from None
            for name, geometry in named:
                make = line_of if geometry.get("type") == "LineString" else zone_of
                try:
                    shape = self._shape(("geojson",), make, str(name), geometry)
                except ConfigError as error:
                    raise ConfigError(f"{error} ({name!r} in {path})") from None
                yield str(name), shape

    def mapping(self, key: str) -> dict[Any, Any]:
        value = self.data.get(key) or {}
        if not isinstance(value, dict):
            raise self.error((key,), f"{key} maps names to what they mean")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key) or []
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.error((key,), f"{key} is a list of words")
        return tuple("-".join(v.lower().split()) for v in value)

    def entries(self, at: tuple[Any, ...], value: Any) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise self.error(at, f"{at[-1]} is a list with at least one entry")
        return value

    def checked(self, at: tuple[Any, ...], make: Any, *arguments: Any) -> Any:
        try:
            return make(*arguments)
        except ValueError as error:
            name = " ".join(str(part) for part in at if isinstance(part, str))
            raise self.error(at, f"{name}: {error}") from None

    def error(self, at: tuple[Any, ...], text: str) -> ConfigError:
        return ConfigError(f"{self.document.place(at)}: {text}")


def read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        names = ", ".join(sorted(p.stem for p in BUNDLED.glob("*.yaml")))
        raise ConfigError(f"{path}: no such {what}; give a file (bundled rules: {names})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _divided(points: Any, scale: tuple[float, float]) -> Any:
    """Pixels of the picture they were drawn on, as shares."""
    if isinstance(points, dict):
        return {**points, "coordinates": _divided(points.get("coordinates"), scale)}
    if isinstance(points, list) and points and isinstance(points[0], list):
        return [_divided(point, scale) for point in points]
    if not isinstance(points, list) or not all(isinstance(v, (int, float)) for v in points):
        raise ValueError(f"{points!r} is not a point; write [x, y], two numbers")
    return [value / size for value, size in zip(points, scale, strict=False)]
