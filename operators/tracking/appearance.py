"""What a region looks like: a histogram of its colours."""

from __future__ import annotations

from collections.abc import Sequence

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


def masked_histograms(crops: Sequence[Codes], inside: Sequence[NDArray[np.bool_]]) -> Histogram:
    """`histogram` of many crops at once, N x BINS."""
    if not crops:
        return np.zeros((0, BINS), np.float32)
    # what is not inside is counted in a cell of its own
    flat = np.concatenate([crop.ravel() for crop in crops])
    flat[~np.concatenate([mask.ravel() for mask in inside])] = BINS
    of_crop = np.repeat(np.arange(len(crops)) * (BINS + 1), [crop.size for crop in crops])
    counts = np.bincount(flat + of_crop, minlength=len(crops) * (BINS + 1))
    counts = counts.reshape(len(crops), BINS + 1)[:, :BINS].astype(np.float32)
    return np.asarray(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), np.float32)


def likeness(a: Histogram, b: Histogram) -> float:
    """Bhattacharyya coefficient of two histograms, 0 (nothing shared) .. 1 (equal); neighbouring
    cells count as alike, so that a change of light is not a change of look."""
    return float(np.sqrt(spread(a) * spread(b)).sum())


def spread(h: Histogram) -> Histogram:
    """Histograms (... x BINS) with half of every cell's share given to its neighbours; what would
    leave at the end of an axis stays."""
    flat = h.reshape(-1)
    filled = np.flatnonzero(flat)  # few are
    into = (filled - filled % BINS)[:, None] + _NEIGHBOURS[filled % BINS]
    shares = flat[filled, None] * _SHARES
    out = np.bincount(into.ravel(), shares.ravel(), minlength=flat.size)
    return np.asarray(out.reshape(h.shape), np.float32)


def _neighbours() -> NDArray[np.intp]:
    """BINS x 7: of every cell the cell itself, and those below and above it on the three axes."""
    cells = np.arange(BINS).reshape(8, 12, 12)
    columns = [cells]
    for axis in range(3):
        ends = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        padded = np.pad(cells, ends, mode="edge")
        n = cells.shape[axis]
        columns += [padded.take(range(n), axis), padded.take(range(2, n + 2), axis)]
    return np.stack(columns, axis=-1).reshape(BINS, 7)


_NEIGHBOURS = _neighbours()
_SHARES = np.array([0.5, 0.1, 0.1, 0.075, 0.075, 0.075, 0.075])
