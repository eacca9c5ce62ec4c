"""Regions that stand out against plain ground, whatever their outline: painted figures, whose
lines leave gaps and whose insides are full of edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import Candidate, make_candidate, outlined_share

U8 = NDArray[np.uint8]
_GROUND_SHARE = 0.12  # of the picture's short side: what is as wide all over is ground
_SHRUNK = 4  # the ground is smooth
_LEAST_STEP = 12.0  # in CIELAB's 8-bit units; paper and noise differ by less
_NECK_PX = 7  # what hangs together by less falls apart
_RING_PX = 6
_PLAIN_SHARE = 0.8
_OUTLINED_SHARE = 0.85


def standing_out(image_rgb: U8, edges: U8, least_area_px: int, largest_px: int) -> list[Candidate]:
    """Regions whose colour differs from that of the ground around them, by more than the picture
    usually does (Otsu's threshold), and around which there is ground.

    Args:
        image_rgb: HxWx3.
        edges: HxW, `edge_strength` of it.
        least_area_px, largest_px: smallest and largest area.
    """
    step = _from_ground(image_rgb)
    usual, _ = cv2.threshold(step, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    least = max(usual, _LEAST_STEP)
    neck = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_NECK_PX, _NECK_PX))
    apart = cv2.morphologyEx((step > least).astype(np.uint8), cv2.MORPH_OPEN, neck)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(apart, connectivity=4)
    found = []
    for label in range(1, count):
        x, y, w, h, area_px = (int(value) for value in stats[label])
        if least_area_px <= area_px <= largest_px:
            inside = (labels[y : y + h, x : x + w] == label).view(np.uint8)
            made = make_candidate(inside, edges, x, y)
            if made is None or outlined_share(made, edges) < _OUTLINED_SHARE:
                continue  # a corner of something large, for which its middle passes for the ground
            if _ground_around(made, step, least) >= _PLAIN_SHARE:
                found.append(made)
    return found


def _from_ground(image_rgb: U8) -> U8:
    """HxW: how far the colour of a pixel is from the usual one around it."""
    height, width = image_rgb.shape[:2]
    lab = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2LAB)
    small_size = max(1, width // _SHRUNK), max(1, height // _SHRUNK)  # as OpenCV counts: x, y
    small = cv2.resize(lab, small_size, interpolation=cv2.INTER_AREA)
    side = int(_GROUND_SHARE * min(small_size)) | 1
    ground = cv2.resize(cv2.medianBlur(small, side), (width, height))
    away = cv2.absdiff(cv2.GaussianBlur(lab, (0, 0), 1.5), ground).astype(np.float32)
    return np.asarray(np.clip(np.sqrt((away**2).sum(axis=2)), 0, 255), np.uint8)


def _ground_around(candidate: Candidate, step: U8, least: float) -> float:
    """How much of a ring around a region is ground."""
    height, width = step.shape
    x0, y0, x1, y1 = candidate.box
    left, top = max(0, x0 - _RING_PX), max(0, y0 - _RING_PX)
    right, bottom = min(width, x1 + _RING_PX), min(height, y1 + _RING_PX)
    inside = np.zeros((bottom - top, right - left), np.uint8)
    inside[y0 - top : y1 - top, x0 - left : x1 - left] = candidate.inside
    wide = cv2.dilate(inside, np.ones((2 * _RING_PX + 1, 2 * _RING_PX + 1), np.uint8))
    ring = (wide - cv2.dilate(inside, np.ones((5, 5), np.uint8))) > 0
    around = step[top:bottom, left:right][ring]
    return float((around < least).mean()) if around.size else 0.0
