"""The film of a walk: the window glides along, with outlines and words of what it passes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.clock import NS_PER_S
from streamer.geometry import BoxXYXY, box_area_px, box_intersection
from streamer.scroll.findings import Finding
from streamer.sinks.drawing import Colour, draw_tag, tag_size, track_colour
from streamer.sources.canvas import Canvas
from streamer.sources.paths import RectXYWH, Walk

U8 = NDArray[np.uint8]
_FIXED_BITS = 4  # sub-pixel bits of OpenCV's drawing


@dataclass(frozen=True, eq=False)
class _Label:
    """A caption and the box it takes up on the canvas at its level's zoom."""

    finding: Finding
    box_xyxy: BoxXYXY


class Painter:
    """Draws the film's pictures, each by its time alone."""

    def __init__(
        self, canvas: Canvas, walk: Walk, findings: Sequence[Finding], size_hw: tuple[int, int]
    ) -> None:
        self.canvas = canvas
        self.walk = walk
        self.size_hw = size_hw
        self.outlines = [
            (f.box_xyxy, [np.array(ring) for ring in f.outline()], track_colour(f.region_id))
            for f in findings
        ]
        self.labels = _labels(findings, walk, size_hw)

    def picture(self, time_ns: int) -> U8:
        """The film's picture at a media time, HxWx3 uint8 RGB."""
        if time_ns < self.walk.opening_ns:
            return self._opening(time_ns)
        rect = self.walk.rect_at(time_ns)
        image, zoom, left, top = self._window(rect)
        self._draw_outlines(image, rect, zoom, left, top)
        for label in self.labels:
            if box_area_px(box_intersection(label.box_xyxy, _box(rect))):
                x, y, w, h = _tag_spot(label.finding, zoom, left, top, self.size_hw)
                if x >= 0 and x + w <= self.size_hw[1] and y >= 0 and y + h <= self.size_hw[0]:
                    colour = track_colour(label.finding.region_id)
                    draw_tag(image, x, y, label.finding.text, colour)
        return image

    def _window(self, rect: RectXYWH) -> tuple[U8, float, float, float]:
        """The window filling the picture as far as its shape lets it; the zoom, and where on the
        canvas the picture's left and top lie."""
        height, width = self.size_hw
        x, y, w, h = rect
        zoom = min(width / w, height / h)
        left, top = x - (width / zoom - w) / 2, y - (height / zoom - h) / 2
        x0, y0 = max(0, math.floor(x) - 1), max(0, math.floor(y) - 1)
        x1 = min(self.canvas.width_px, math.ceil(x + w) + 1)
        y1 = min(self.canvas.height_px, math.ceil(y + h) + 1)
        share = min(1.0, zoom)
        hw = (max(1, round((y1 - y0) * share)), max(1, round((x1 - x0) * share)))
        part = self.canvas.shown(x0, y0, x1 - x0, y1 - y0, hw)
        fx, fy = zoom * (x1 - x0) / hw[1], zoom * (y1 - y0) / hw[0]
        to = np.array(
            [[fx, 0, (x0 - left) * zoom + fx / 2 - 0.5],
             [0, fy, (y0 - top) * zoom + fy / 2 - 0.5]]
        )  # fmt: skip
        image = cv2.warpAffine(part, to, (width, height), flags=cv2.INTER_LINEAR)
        return np.asarray(image, np.uint8), zoom, left, top

    def _draw_outlines(
        self, image: U8, rect: RectXYWH, zoom: float, left: float, top: float
    ) -> None:
        seen = _box(rect)
        width = max(1, round(self.size_hw[0] / 480))
        for box, rings, colour in self.outlines:
            if not box_area_px(box_intersection(box, seen)):
                continue
            # what is a dot at this zoom is not outlined
            if max(box[2] - box[0], box[3] - box[1]) * zoom < 10:
                continue
            for ring in rings:
                points = (ring - (left, top)) * zoom * (1 << _FIXED_BITS)
                drawn = [points.round().astype(np.int32)]
                cv2.polylines(image, drawn, True, (0, 0, 0), width + 2, cv2.LINE_AA, _FIXED_BITS)
                cv2.polylines(image, drawn, True, colour, width, cv2.LINE_AA, _FIXED_BITS)

    def _opening(self, time_ns: int) -> U8:
        """The whole picture, and the first window on it."""
        height, width = self.size_hw
        image, zoom, left, top = self._window(
            (0.0, 0.0, float(self.canvas.width_px), float(self.canvas.height_px))
        )
        x, y, w, h = self.walk.rect_at(self.walk.opening_ns)
        corners = [
            (max(0, round((x - left) * zoom) - 2), max(0, round((y - top) * zoom) - 2)),
            (
                min(width - 1, round((x + w - left) * zoom) + 1),
                min(height - 1, round((y + h - top) * zoom) + 1),
            ),
        ]
        cv2.rectangle(image, corners[0], corners[1], (255, 210, 60), 2)
        # the last second darkens towards the walk
        left_ns = self.walk.opening_ns - time_ns
        share = min(1.0, left_ns / (0.5 * NS_PER_S))
        return image if share >= 1 else np.asarray(image * share, np.uint8)


def _labels(findings: Sequence[Finding], walk: Walk, size_hw: tuple[int, int]) -> list[_Label]:
    """Captions that have room on the canvas at the first level, the largest regions first; chosen
    once, so that no label comes and goes."""
    _, _, width, height = walk.stops[0].box_xywh
    zoom = min(size_hw[1] / width, size_hw[0] / height)
    chosen: list[_Label] = []
    for finding in sorted(findings, key=lambda f: -f.shape.area_px * f.sure):
        if not finding.text:
            continue
        x, y, w, h = _tag_spot(finding, zoom, 0.0, 0.0, size_hw)
        box = (
            math.floor(x / zoom), math.floor(y / zoom),
            math.ceil((x + w) / zoom), math.ceil((y + h) / zoom),
        )  # fmt: skip
        if box[1] < 0 and y < 0:
            continue
        if all(not box_area_px(box_intersection(box, other.box_xyxy)) for other in chosen):
            chosen.append(_Label(finding, box))
    return chosen


def _tag_spot(
    finding: Finding, zoom: float, left: float, top: float, size_hw: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Left, top, width and height of a label on the screen: above its region, or in it when the
    region reaches the canvas's top."""
    w, h = tag_size(finding.text, size_hw[0])
    x0, y0, x1, _ = finding.box_xyxy
    x = round(((x0 + x1) / 2 - left) * zoom - w / 2)
    y = round((y0 - top) * zoom) - h - 3
    return x, y if y0 * zoom > h + 3 else y + h + 6, w, h


def _box(rect: RectXYWH) -> BoxXYXY:
    x, y, w, h = rect
    return math.floor(x), math.floor(y), math.ceil(x + w), math.ceil(y + h)


def draw_plan(canvas: Canvas, walk: Walk, longest_px: int = 2400) -> U8:
    """The path on a small copy of the picture: the way of the window's centre from green to red,
    rests as discs, the first and the last window as frames."""
    image = canvas.thumbnail(longest_px)
    if image.shape[0] < 240:  # long pictures are shown on a stand, so that the path has room
        rim = (240 - image.shape[0]) // 2
        image = cv2.copyMakeBorder(image, rim, rim, 0, 0, cv2.BORDER_CONSTANT, value=(32, 32, 32))
    else:
        rim = 0
    image = np.ascontiguousarray(image)
    scale = min(1.0, longest_px / max(canvas.hw))
    centres = []
    for stop in walk.stops:
        x, y, w, h = stop.box_xywh
        centres.append((round((x + w / 2) * scale), round((y + h / 2) * scale) + rim))
    for i, (a, b) in enumerate(itertools.pairwise(centres)):
        share = i / max(1, len(centres) - 2)
        colour: Colour = (round(255 * share), round(200 * (1 - share)), 60)
        cv2.line(image, a, b, (0, 0, 0), 5, cv2.LINE_AA)
        cv2.line(image, a, b, colour, 3, cv2.LINE_AA)
    for stop, centre in zip(walk.stops, centres, strict=True):
        if stop.pause_ns:
            cv2.circle(image, centre, 6, (0, 0, 0), -1, cv2.LINE_AA)
            cv2.circle(image, centre, 4, (255, 255, 255), -1, cv2.LINE_AA)
    for stop, colour in ((walk.stops[0], (0, 200, 60)), (walk.stops[-1], (255, 60, 60))):
        x, y, w, h = stop.box_xywh
        cv2.rectangle(
            image,
            (round(x * scale), round(y * scale) + rim),
            (round((x + w) * scale) - 1, round((y + h) * scale) - 1 + rim),
            colour,
            2,
        )
    return np.asarray(image, np.uint8)
