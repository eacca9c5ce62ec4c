"""Outlines and labels on a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.geometry import BoxXYXY, box_area_px, box_intersection
from streamer.records import Region

_FONT = cv2.FONT_HERSHEY_SIMPLEX

Colour = tuple[int, int, int]


def track_colour(track_id: int) -> Colour:
    """A bright RGB colour, far from those of the ids before and after it."""
    r, g, b = colorsys.hsv_to_rgb((track_id * 0.61803398875) % 1.0, 0.75, 1.0)
    return round(r * 255), round(g * 255), round(b * 255)


def draw_regions(
    image: NDArray[np.uint8], regions: Sequence[Region], words: Mapping[int, str]
) -> NDArray[np.uint8]:
    """A copy of an HxWx3 uint8 RGB picture with every region's outline, id and words.

    Text is sized by the picture's height; labels keep inside the picture and off each other.
    """
    picture = image.copy()
    width = max(2, round(image.shape[0] / 360))
    for region in regions:
        _outline(picture, region, track_colour(region.track_id), width)
    taken: list[BoxXYXY] = []
    for region in regions:
        text = f"#{region.track_id} {words.get(region.track_id, '')}".rstrip()
        draw_label(picture, region.box_xyxy, text, track_colour(region.track_id), taken)
    return picture


def _outline(picture: NDArray[np.uint8], region: Region, colour: Colour, width: int) -> None:
    (x0, y0, _x1, _y1), inside = region.mask.decode_box()
    if not inside.size:
        return
    contours, _ = cv2.findContours(
        inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x0, y0)
    )
    cv2.drawContours(picture, contours, -1, (0, 0, 0), width + 2, cv2.LINE_8)
    cv2.drawContours(picture, contours, -1, colour, width, cv2.LINE_8)


def draw_label(
    picture: NDArray[np.uint8], box: BoxXYXY, text: str, colour: Colour, taken: list[BoxXYXY]
) -> None:
    """Write words beside a box, in place: above it, else below, else at the nearest free height;
    left out when there is none. `taken` are the boxes of the labels so far, and gets this one."""
    height, width = picture.shape[:2]
    scale = max(0.4, height / 1200)
    thick = max(1, round(height / 600))
    text, text_w, text_h, base = _fitting(text, scale, thick, width * 9 // 10)
    pad = max(2, text_h // 4)
    w, h = text_w + 2 * pad, text_h + base + 2 * pad
    if w > width or h > height:
        return
    x = max(0, min(box[0], width - w))
    rows = sorted(range(0, height - h + 1, max(1, h // 2)), key=lambda y: abs(y + h - box[1]))
    for y in (box[1] - h, box[3], *rows):
        spot = (x, y, x + w, y + h)
        free = all(box_area_px(box_intersection(spot, other)) == 0 for other in taken)
        if y >= 0 and y + h <= height and free:
            break
    else:
        return
    taken.append(spot)
    window = picture[y : y + h, x : x + w]
    window //= 4  # dark, but what lies behind can still be made out
    cv2.rectangle(picture, (x, y), (x + max(2, pad // 2), y + h - 1), colour, -1)
    at = (x + pad + 1, y + pad + text_h)
    cv2.putText(picture, text, at, _FONT, scale, (255, 255, 255), thick, cv2.LINE_AA)


def _fitting(text: str, scale: float, thick: int, width_px: int) -> tuple[str, int, int, int]:
    """The text, shortened where it is too long, with its width, height and depth in pixels."""
    full = text
    while True:
        (text_w, text_h), base = cv2.getTextSize(text, _FONT, scale, thick)
        if text_w <= width_px or len(full) < 2:
            return text, text_w, text_h, base
        full = full[: min(len(full) - 1, len(full) * width_px // text_w)]
        text = full.rstrip() + "..."


def tag_size(text: str, height_px: int) -> tuple[int, int]:
    """Width and height in pixels of a tag in a picture of a height."""
    scale, thick = _tag_scale(height_px)
    (text_w, text_h), base = cv2.getTextSize(text, _FONT, scale, thick)
    pad = max(2, text_h // 4)
    return text_w + 2 * pad + 2, text_h + base + 2 * pad


def draw_tag(picture: NDArray[np.uint8], x_px: int, y_px: int, text: str, colour: Colour) -> None:
    """Draw a label whose box, of `tag_size`, lies inside the picture at (x, y); in place."""
    w, h = tag_size(text, picture.shape[0])
    scale, thick = _tag_scale(picture.shape[0])
    (_, text_h), _ = cv2.getTextSize(text, _FONT, scale, thick)
    pad = max(2, text_h // 4)
    window = picture[y_px : y_px + h, x_px : x_px + w]
    window //= 4
    cv2.rectangle(picture, (x_px, y_px), (x_px + max(2, pad // 2), y_px + h - 1), colour, -1)
    at = (x_px + pad + 2, y_px + pad + text_h)
    cv2.putText(picture, text, at, _FONT, scale, (255, 255, 255), thick, cv2.LINE_AA)


def _tag_scale(height_px: int) -> tuple[float, int]:
    return max(0.4, height_px / 1300), max(1, round(height_px / 700))
