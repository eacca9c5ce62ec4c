"""Masks as polygons that are short to send: a ring is [x, y, dx, dy, dx, dy, ...] in pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.mask import Mask

_TOLERANCE_PX = 0.8


def rings_of(mask: Mask) -> list[list[int]]:
    """The outlines of a mask, holes among them: to be filled by the even-odd rule."""
    (x0, y0, _, _), inside = mask.decode_box()
    return rings_of_pixels(inside, x0, y0)


def rings_of_pixels(inside: NDArray[np.uint8], x_px: int, y_px: int) -> list[list[int]]:
    """`rings_of` for the 0/1 pixels of a crop that lies at (x, y)."""
    if not inside.size:
        return []
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = []
    for contour in contours:
        ring = cv2.approxPolyDP(contour, _TOLERANCE_PX, True).reshape(-1, 2).astype(np.int64)
        first = ring[0] + (x_px, y_px)
        rings.append([*first.tolist(), *np.diff(ring, axis=0).ravel().tolist()])
    return rings
