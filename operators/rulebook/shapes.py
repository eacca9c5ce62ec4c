"""Zones and lines: drawn by people, checked with shapely, compared with masks without decoding.

Points are (x, y), x to the right and y down. A shape is bound to a picture's size once; after
that, a mask is compared with it by run-length codes, exactly and at the cost of the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pycocotools import mask as coco
from shapely.geometry import LineString, MultiPolygon, Polygon, box, shape
from shapely.ops import split

from streamer.mask import Mask

PointXY = tuple[float, float]
_FAR = 4.0  # picture sizes by which the ends of a line are drawn on


@dataclass(frozen=True, eq=False)
class PictureZone:
    """A zone in the pixels of a picture."""

    name: str
    polygon: Polygon | MultiPolygon
    area_px: int
    code: dict[str, Any]

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """HxW: the pixels inside."""
        return np.asarray(coco.decode(self.code)).astype(bool)

    def share(self, mask: Mask) -> float:
        """How much of a mask lies inside, 0..1."""
        return _share(mask, self.code)

    def covered(self, masks: list[Mask]) -> float:
        """How much of the zone the masks cover together, 0..1."""
        union = coco.merge([_code(mask) for mask in masks])
        common = coco.merge([union, self.code], intersect=True)
        return float(coco.area(common)) / max(1, self.area_px)


@dataclass(frozen=True, eq=False)
class PictureLine:
    """A line in the pixels of a picture, and the pixels to the right of it for who walks along
    it from its first point to its last."""

    name: str
    path: LineString
    right: dict[str, Any]
    near: dict[str, Any]

    def share_right(self, mask: Mask) -> float:
        """How much of a mask lies to the right, 0..1."""
        return _share(mask, self.right)

    def touches(self, mask: Mask) -> bool:
        """Whether a mask has a pixel on the line itself, not on what its ends are drawn on to."""
        return _share(mask, self.near) > 0


@dataclass(frozen=True, eq=False)
class Zone:
    """A polygon, with holes or of several parts.

    Args:
        geometry: in shares of the picture's width and height, or in pixels.
        in_pixels: which of the two.
    """

    name: str
    geometry: Polygon | MultiPolygon
    in_pixels: bool

    def bind(self, hw: tuple[int, int]) -> PictureZone:
        """The zone in a picture of (height, width) pixels.

        Raises:
            ValueError: when it leaves the picture or holds no pixel of it.
        """
        polygon = _scaled(self.geometry, self.in_pixels, hw)
        _check_inside(polygon, hw)
        inside = _raster(polygon, hw)
        if not inside.any():
            raise ValueError(f"holds no pixel of a picture of {hw[1]}x{hw[0]} px; draw it larger")
        return PictureZone(self.name, polygon, int(inside.sum()), _encode(inside))


@dataclass(frozen=True, eq=False)
class Line:
    """A directed line of two or more points; `geometry` as for zones."""

    name: str
    geometry: LineString
    in_pixels: bool

    def bind(self, hw: tuple[int, int]) -> PictureLine:
        """The line in a picture of (height, width) pixels.

        Raises:
            ValueError: when it leaves the picture or does not part it in two.
        """
        height, width = hw
        path = _scaled(self.geometry, self.in_pixels, hw)
        _check_inside(path, hw)
        points = np.asarray(path.coords)
        far = _FAR * max(height, width)
        longer = LineString([
            points[0] - far * _unit(points[1] - points[0]),
            *points[1:-1],
            points[-1] + far * _unit(points[-1] - points[-2]),
        ])  # fmt: skip
        if not longer.is_simple:
            raise ValueError("its ends, drawn on, cross it: it has no two sides; draw two lines")
        inside = np.zeros(hw, bool)
        for part in split(box(-1, -1, width + 1, height + 1), longer).geoms:
            if _is_right(longer, part):
                inside |= _raster(part, hw)
        near = _raster(path.buffer(1.0), hw)
        return PictureLine(self.name, path, _encode(inside), _encode(near))


def zone_of(name: str, points: Any, in_pixels: bool) -> Zone:
    """A zone from a list of points, or from a GeoJSON geometry.

    Raises:
        ValueError: for fewer than three points, an outline that crosses itself, or no area.
    """
    if isinstance(points, dict):
        geometry = _geojson(points, ("Polygon", "MultiPolygon"))
    else:
        corners = _points(points)
        if len(set(corners)) < 3:
            raise ValueError(f"a polygon of {len(set(corners))} different points; 3 at least")
        geometry = Polygon(corners)
    if geometry.convex_hull.area == 0:
        raise ValueError("all points lie on one line; a zone needs an area")
    if not geometry.is_valid:
        raise ValueError(f"the outline crosses or touches itself: {_reason(geometry)}")
    return Zone(name, geometry, in_pixels)


def line_of(name: str, points: Any, in_pixels: bool) -> Line:
    """A line from a list of points, or from a GeoJSON geometry.

    Raises:
        ValueError: for fewer than two different points or a line that crosses itself.
    """
    if isinstance(points, dict):
        geometry = _geojson(points, ("LineString",))
    else:
        corners = _points(points)
        if len(set(corners)) < 2:
            raise ValueError(f"a line of {len(set(corners))} different points; 2 at least")
        geometry = LineString(corners)
    if not geometry.is_simple or geometry.is_closed:
        raise ValueError("the line crosses itself or is closed; draw a zone, or two lines")
    return Line(name, geometry, in_pixels)


def check_unit_picture(geometry: Any) -> None:
    """Shares lie in 0..1.

    Raises:
        ValueError: naming the first point that does not.
    """
    _check_inside(geometry, (1, 1))


def _points(points: Any) -> list[PointXY]:
    if not isinstance(points, list):
        raise ValueError("a list of points [x, y] is wanted")
    for point in points:
        good = isinstance(point, list) and len(point) == 2
        if not good or not all(isinstance(v, (int, float)) and np.isfinite(v) for v in point):
            raise ValueError(f"{point!r} is not a point; write [x, y], two numbers")
    return [(float(x), float(y)) for x, y in points]


def _geojson(data: dict[str, Any], kinds: tuple[str, ...]) -> Any:
    if data.get("type") not in kinds:
        raise ValueError(f"a geometry of type {data.get('type')!r}; wanted {' or '.join(kinds)}")
    try:
        geometry = shapely.force_2d(shape(data))
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"coordinates that are no {data['type']}: {error}") from None
    if geometry.is_empty:
        raise ValueError(f"a {data['type']} without points")
    return geometry


def _reason(geometry: Any) -> str:
    return str(shapely.is_valid_reason(geometry)).replace("[", " at (").replace("]", ")")


def _scaled(geometry: Any, in_pixels: bool, hw: tuple[int, int]) -> Any:
    if in_pixels:
        return geometry
    return shapely.transform(geometry, lambda xy: xy * np.array([hw[1], hw[0]]))


def _check_inside(geometry: Any, hw: tuple[int, int]) -> None:
    height, width = hw
    points = shapely.get_coordinates(geometry)
    outside = ((points < -1e-9) | (points > np.array([width, height]) + 1e-9)).any(1)
    if outside.any():
        x, y = points[outside][0]
        whole = "shares, 0..1" if hw == (1, 1) else f"a picture of {width}x{height} px"
        raise ValueError(f"the point [{x:g}, {y:g}] lies outside the picture ({whole})")


def _raster(geometry: Any, hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose centres lie inside."""
    height, width = hw
    inside = np.zeros(hw, bool)
    x0, y0, x1, y1 = np.clip(geometry.bounds, 0, [width, height, width, height])
    left, top, right, bottom = int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1))
    if left < right and top < bottom:
        shapely.prepare(geometry)
        x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
        inside[top:bottom, left:right] = shapely.contains_xy(geometry, x, y)
    return inside


def _is_right(line: LineString, part: Polygon) -> bool:
    """Whether a part of the picture lies to the right of a line, judged where it is near it."""
    spot = part.representative_point()
    at = np.asarray(spot.coords[0])
    points = np.asarray(line.coords)
    segments = [LineString(points[i : i + 2]) for i in range(len(points) - 1)]
    distances = [segment.distance(spot) for segment in segments]
    best = int(np.argmin(distances))
    # where two segments meet, the corner is nearest to both: the one seen from the side decides
    ties = [i for i, d in enumerate(distances) if d <= distances[best] + 1e-9]
    crosses = [_cross(points[i + 1] - points[i], at - points[i]) for i in ties]
    lengths = [np.linalg.norm(points[i + 1] - points[i]) for i in ties]
    return max(zip(crosses, lengths, strict=True), key=lambda c: abs(c[0]) / c[1])[0] > 0


def _cross(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Above 0 when b points to the right of a, with y down."""
    return float(a[0] * b[1] - a[1] * b[0])


def _unit(vector: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vector / np.linalg.norm(vector))


def _encode(dense: NDArray[np.bool_]) -> dict[str, Any]:
    return _code(Mask.encode(dense))


def _code(mask: Mask) -> dict[str, Any]:
    return {"size": [mask.height_px, mask.width_px], "counts": mask.counts.encode("ascii")}


def _share(mask: Mask, area: dict[str, Any]) -> float:
    # for a "crowd", COCO divides the common part by the mask's own area
    return float(coco.iou([_code(mask)], [area], [1])[0, 0])
