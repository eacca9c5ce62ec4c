"""What a region looks like: a histogram of its colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 8 * 12 * 12
Codes = NDArray[np.uint16]
Histogram = NDArray[np.float32]


def colour_codes(image_rgb: NDArray[np.uint8]) -> Codes:
    """HxW index of each pixel's colour cell: 8 of lightness, 12 x 12 of CIELAB a and b."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image_rgb, (3, 3), 0), cv2.COLOR_RGB2LAB)
    light = lab[..., 0].astype(np.uint16) >> 5
    # a and b of real pictures keep near the middle: cells of 11, clipped
    a, b = (np.clip((lab[..., i].astype(np.int16) - 62) // 11, 0, 11) for i in (1, 2))
    return np.asarray(light * 144 + a * 12 + b, np.uint16)


def histogram(codes: Codes, inside: NDArray[np.bool_]) -> Histogram:
    """Share of each cell among the pixels inside; all 0 when there are none."""
    counts = np.bincount(codes[inside], minlength=BINS).astype(np.float32)
    return np.asarray(counts / max(1.0, float(counts.sum())), np.float32)


def likeness(a: Histogram, b: Histogram) -> float:
    """Bhattacharyya coefficient of two histograms, 0 (nothing shared) .. 1 (equal); neighbouring
    cells count as alike, so that a change of light is not a change of look."""
    return float(np.sqrt(_spread(a) * _spread(b)).sum())


def _spread(h: Histogram) -> Histogram:
    cube = h.reshape(8, 12, 12)
    out = 0.5 * cube
    for axis, weight in ((0, 0.1), (1, 0.075), (2, 0.075)):
        for step in (-1, 1):
            moved = np.roll(cube, step, axis)
            edge: list[slice | int] = [slice(None)] * 3
            edge[axis] = 0 if step == 1 else -1
            moved[tuple(edge)] = cube[tuple(edge)]
            out = out + weight * moved
    return np.asarray(out.ravel(), np.float32)
