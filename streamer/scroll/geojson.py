"""Regions of a canvas as GeoJSON: polygons in canvas pixels, y down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamer.scroll.findings import Finding
from streamer.scroll.narration import canvas_place, neighbours


def feature_collection(findings: Sequence[Finding], canvas_hw: tuple[int, int]) -> dict[str, Any]:
    """A FeatureCollection with a feature for every region.

    Coordinates are pixels of the picture from its top left corner, as image viewers and QGIS take
    them for pictures without a place on Earth; rings run counterclockwise as RFC 7946 wants it.
    """
    return {
        "type": "FeatureCollection",
        "canvas": {"width_px": canvas_hw[1], "height_px": canvas_hw[0], "y_axis": "down"},
        "features": [feature(finding, findings, canvas_hw) for finding in findings],
    }


def feature(
    finding: Finding, findings: Sequence[Finding], canvas_hw: tuple[int, int]
) -> dict[str, Any]:
    """A region as a feature; its neighbours are told from all `findings`."""
    rings = [_closed(ring) for ring in finding.outline()]
    geometry: dict[str, Any] = {"type": "Polygon", "coordinates": [rings[0]]}
    if len(rings) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    x0, y0, x1, y1 = finding.box_xyxy
    return {
        "type": "Feature",
        "id": finding.region_id,
        "bbox": [x0, y0, x1, y1],
        "geometry": geometry,
        "properties": {
            "text": finding.text,
            "detail": finding.caption.detail if finding.caption else "",
            "place": canvas_place(finding, canvas_hw),
            "neighbours": [
                {"relation": relation, "region_id": i}
                for relation, i in neighbours(finding, findings)
            ],
            "area_px": round(finding.shape.area_px),
            "sure": finding.sure,
            "first_ns": finding.first_ns,
            "last_ns": finding.last_ns,
        },
    }


def _closed(ring: list[tuple[float, float]]) -> list[list[float]]:
    points = [[round(x, 2), round(y, 2)] for x, y in ring]
    area = sum(
        a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True)
    )
    if area < 0:
        points.reverse()
    return [*points, points[0]]
