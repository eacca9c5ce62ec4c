"""What a region looks like: a histogram of its colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BINS = 8 * 12 * 12
Codes = NDArray[np.uint16]
Histogram = NDArray[np.float32]

_LEVEL = np.arange(256)
_LIGHT = np.asarray((_LEVEL >> 5) * 144, np.uint16)
# a and b of real pictures keep near the middle: cells of 11, clipped
_A = np.asarray(np.clip((_LEVEL - 62) // 11, 0, 11) * 12, np.uint16)
_B = np.asarray(np.clip((_LEVEL - 62) // 11, 0, 11), np.uint16)


def colour_codes(image_rgb: NDArray[np.uint8]) -> Codes:
    """HxW index of each pixel's colour cell: 8 of lightness, 12 x 12 of CIELAB a and b."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image_rgb, (3, 3), 0), cv2.COLOR_RGB2LAB)
    return np.asarray(_LIGHT[lab[..., 0]] + _A[lab[..., 1]] + _B[lab[..., 2]], np.uint16)


def histogram(codes: Codes, inside: NDArray[np.bool_]) -> Histogram:
    """Share of each cell among the pixels inside; all 0 when there are none."""
    counts = np.bincount(codes[inside], minlength=BINS).astype(np.float32)
    return np.asarray(counts / max(1.0, float(counts.sum())), np.float32)


def likeness(a: Histogram, b: Histogram) -> float:
    """Bhattacharyya coefficient of two histograms, 0 (nothing shared) .. 1 (equal); neighbouring
    cells count as alike, so that a change of light is not a change of look."""
    return float(np.sqrt(spread(a) * spread(b)).sum())


def spread(h: Histogram) -> Histogram:
    """Histograms (... x BINS) with half of every cell's share given to its neighbours."""
    cube = h.reshape(-1, 8, 12, 12)
    out = 0.5 * cube
    for axis, weight in ((1, 0.1), (2, 0.075), (3, 0.075)):
        one = [slice(None)] * 4
        low, high, first, last = one.copy(), one.copy(), one.copy(), one.copy()
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        first[axis], last[axis] = slice(0, 1), slice(-1, None)
        part = weight * cube
        out[tuple(high)] += part[tuple(low)]
        out[tuple(low)] += part[tuple(high)]
        # what would leave at the end of an axis stays
        out[tuple(first)] += part[tuple(first)]
        out[tuple(last)] += part[tuple(last)]
    return np.asarray(out.reshape(h.shape), np.float32)
