"""What a walk found: regions in canvas coordinates with their words, gathered from records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from streamer.canvas_mask import CanvasMask
from streamer.geometry import BoxXYXY
from streamer.mask import Mask
from streamer.records import SCHEMA_VERSION, Caption, Event, record_id


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A region of the canvas and its words; the evidence are the window in which it was found and
    the one that was shown when its words were asked for."""

    stream_id: str
    region_id: int
    shape: CanvasMask
    window_xyxy: BoxXYXY
    asked_xyxy: BoxXYXY | None
    first_ns: int
    last_ns: int
    sure: float
    windows: int
    joined: bool
    caption: Caption | None = None

    @property
    def text(self) -> str:
        """The words; "" where none were asked for."""
        return self.caption.text if self.caption else ""

    @property
    def box_xyxy(self) -> BoxXYXY:
        return self.shape.box_xyxy

    @property
    def centre_px(self) -> tuple[float, float]:
        """Middle of the box, in canvas pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x0 + x1) / 2, (y0 + y1) / 2

    def outline(self, tolerance: float = 0.75) -> list[list[tuple[float, float]]]:
        """Outer rings in canvas pixels, the largest first; simplified by mask pixels."""
        inside = self.shape.mask.decode().view(np.uint8)
        padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        # at twice the size, contours run along the outer rims of the pixels and not through them
        large = np.kron(padded, np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        x0, y0, x1, y1 = self.box_xyxy
        fx, fy = (x1 - x0) / inside.shape[1], (y1 - y0) / inside.shape[0]
        rings = []
        for contour in sorted(contours, key=cv2.contourArea, reverse=True):
            points = cv2.approxPolyDP(contour, 2 * tolerance, True).reshape(-1, 2)
            if len(points) >= 3:
                ring = [
                    (
                        min(float(x1), max(float(x0), x0 + ((x + 0.5) / 2 - 1) * fx)),
                        min(float(y1), max(float(y0), y0 + ((y + 0.5) / 2 - 1) * fy)),
                    )
                    for x, y in points.tolist()
                ]
                rings.append(ring)
        if not rings:  # a region of a pixel or two: its box
            xa, ya, xb, yb = (float(v) for v in self.box_xyxy)
            rings = [[(xa, ya), (xb, ya), (xb, yb), (xa, yb)]]
        return rings


@dataclass(eq=False)
class Findings:
    """Gathers the records of a walk; a record that comes twice counts once."""

    _regions: dict[int, Event] = field(default_factory=dict)
    _captions: dict[int, Caption] = field(default_factory=dict)

    def add(self, record: Caption | Event) -> None:
        """Take a record in; other events than `region` are passed over."""
        if isinstance(record, Caption):
            before = self._captions.get(record.track_id)
            if before is None or record.asked_ns >= before.asked_ns:
                self._captions[record.track_id] = record
        elif record.kind == "region" and record.track_id is not None:
            self._regions[record.track_id] = record

    def all(self) -> list[Finding]:
        """In the order of their ids, which is that of the walk."""
        return [
            _finding(event, self._captions.get(i)) for i, event in sorted(self._regions.items())
        ]


def _finding(event: Event, caption: Caption | None) -> Finding:
    data = event.data
    return Finding(
        stream_id=event.stream_id,
        region_id=int(event.track_id or 0),
        shape=CanvasMask(_box(data["box_xyxy"]), Mask.from_json(data["mask"])),
        window_xyxy=_box(data["window_xyxy"]),
        asked_xyxy=_box(data["asked_xyxy"]) if data["asked_xyxy"] else None,
        first_ns=int(data["first_ns"]),
        last_ns=int(data["last_ns"]),
        sure=float(data["sure"]),
        windows=int(data["windows"]),
        joined=bool(data["joined"]),
        caption=caption,
    )


def _box(values: Iterable[int]) -> BoxXYXY:
    x0, y0, x1, y1 = (int(value) for value in values)
    return x0, y0, x1, y1


def finding_json(finding: Finding) -> dict[str, Any]:
    """The published form of a region of the canvas."""
    caption = finding.caption
    logprob = caption.mean_logprob if caption else None
    return {
        "record": "canvas_region",
        "schema": SCHEMA_VERSION,
        "id": record_id("canvas_region", finding.stream_id, finding.region_id),
        "stream_id": finding.stream_id,
        "region_id": finding.region_id,
        "box_xyxy": list(finding.box_xyxy),
        "mask": finding.shape.mask.to_json(),
        "text": finding.text,
        "detail": caption.detail if caption else "",
        "start_ns": finding.first_ns,
        "end_ns": finding.last_ns,
        "sure": finding.sure,
        "windows": finding.windows,
        "joined": finding.joined,
        "evidence": {
            "window_xyxy": list(finding.window_xyxy),
            "asked_xyxy": list(finding.asked_xyxy) if finding.asked_xyxy else None,
            "caption_id": caption.id if caption else None,
            "mean_logprob": None if logprob is None else round(logprob, 4),
            "model": caption.model if caption else None,
            "weights_hash": caption.weights_hash if caption else None,
        },
    }
