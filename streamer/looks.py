"""How a track looks, as a vector, and which others look like it: colours and outline of its best
view. No model is asked.

The scalar product of two looks is 0 (nothing alike) .. 1 (the same): three quarters of it the
Bhattacharyya coefficient of the colours, a quarter the correlation of the outlines.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.mask import Mask

_L, _AB, _SIDE = 4, 8, 7  # cells of lightness, of CIELAB a and b each, of the outline's side
_COLOUR_SHARE = 0.75
_SPAN = 9  # of a and b in a cell; real pictures keep near the middle
N_DIMS = _L * _AB * _AB + _SIDE * _SIDE


def look_of(image_rgb: NDArray[np.uint8], mask: Mask) -> bytes:
    """The look of a region as N_DIMS float16, for `alike`; b"" for an empty mask."""
    (x0, y0, x1, y1), inside = mask.decode_box()
    if x0 == x1:
        return b""
    colours = _colours(image_rgb[y0:y1, x0:x1], inside > 0) * _COLOUR_SHARE**0.5
    outline = _outline(inside) * (1 - _COLOUR_SHARE) ** 0.5
    return np.concatenate([colours, outline]).astype(np.float16).tobytes()


def alike(wanted: bytes, looks: Sequence[bytes]) -> NDArray[np.float32]:
    """How much each of N looks is like one, 0..1."""
    one = np.frombuffer(wanted, np.float16).astype(np.float32)
    many = np.frombuffer(b"".join(looks), np.float16).reshape(-1, N_DIMS).astype(np.float32)
    return np.asarray(np.clip(many @ one, 0.0, 1.0), np.float32)


def _colours(crop_rgb: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Root of the share of each colour cell, each pixel shared between neighbouring cells, so
    that a change of light changes little."""
    lab = cv2.cvtColor(np.ascontiguousarray(crop_rgb), cv2.COLOR_RGB2LAB)[inside].astype(float)
    at = np.stack([lab[:, 0] / 256 * _L, *((lab[:, i] - 128) / _SPAN + _AB / 2 for i in (1, 2))])
    at = np.clip(at.T - 0.5, 0, [_L - 1, _AB - 1, _AB - 1])
    low = np.floor(at).astype(int)
    share = at - low
    counts = np.zeros((_L + 1, _AB + 1, _AB + 1))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, share, 1 - share).prod(1)
        np.add.at(counts, tuple((low + corner).T), weight)
    return np.sqrt(counts[:_L, :_AB, :_AB].ravel() / len(lab))


def _outline(inside: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mask in a square, small, with mean 0 and length 1."""
    height, width = inside.shape
    side = max(height, width)
    square = np.zeros((side, side), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = inside
    small = cv2.resize(square, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel().astype(float)
    small -= small.mean()
    return np.asarray(small / max(1e-9, float(np.linalg.norm(small))))
