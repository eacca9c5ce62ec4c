"""How the picture moves: dense optical flow, and the part of it that is the camera's."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Flow = NDArray[np.float32]
Box = tuple[int, int, int, int]
_GRID_PX = 12


@dataclass(frozen=True, eq=False)
class Motion:
    """From the frame before to this one.

    `back` is HxWx2: pixel (x, y) of this frame was at (x, y) + back[y, x] in the one before.
    `camera` is the 2x3 similarity that takes a resting point from the one before to this one.
    """

    back: Flow
    camera: NDArray[np.float64]

    @property
    def residual(self) -> Flow:
        """HxW: how far, in pixels, each point moved against the resting world."""
        height, width = self.back.shape[:2]
        inverse = cv2.invertAffineTransform(self.camera)
        x = np.arange(width, dtype=np.float32)[None]
        y = np.arange(height, dtype=np.float32)[:, None]
        a, b, c, d = (np.float32(v) for v in inverse[:, :2].ravel())
        rest_x = (a - 1) * x + b * y + np.float32(inverse[0, 2])
        rest_y = c * x + (d - 1) * y + np.float32(inverse[1, 2])
        return np.asarray(
            cv2.magnitude(self.back[..., 0] - rest_x, self.back[..., 1] - rest_y), np.float32
        )


def measure_motion(before: Gray, now: Gray) -> Motion:
    """Dense inverse search (Kroeger et al. 2016) and a robust similarity fit for the camera."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    back = np.asarray(dis.calc(now, before, None), np.float32)
    return Motion(back, _camera(back))


def _camera(back: Flow) -> NDArray[np.float64]:
    height, width = back.shape[:2]
    half = _GRID_PX // 2
    sampled = back[half::_GRID_PX, half::_GRID_PX].reshape(-1, 2)
    ys, xs = np.mgrid[half:height:_GRID_PX, half:width:_GRID_PX]
    now = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float32)
    cv2.setRNGSeed(0)
    fitted, _ = cv2.estimateAffinePartial2D(
        now + sampled, now, method=cv2.RANSAC, ransacReprojThreshold=1.0, maxIters=300
    )
    if fitted is None or abs(np.hypot(fitted[0, 0], fitted[1, 0]) - 1) > 0.2:
        return np.array([[1.0, 0, 0], [0, 1, 0]])
    return np.asarray(fitted, np.float64)


def carry(soft: Gray, left: int, top: int, box: Box, back: Flow) -> tuple[Gray, int, int]:
    """Move a soft mask (uint8 crop at (left, top); `box` holds its inside) with the flow.

    Returns:
        The moved crop, its left and its top.
    """
    height, width = back.shape[:2]
    x0, y0, x1, y1 = box
    reach = int(cv2.norm(back[y0:y1, x0:x1], cv2.NORM_INF)) + 4 if x0 < x1 else 4
    x0, y0 = max(0, x0 - reach), max(0, y0 - reach)
    x1, y1 = min(width, x1 + reach), min(height, y1 + reach)
    where = back[y0:y1, x0:x1].copy()
    where[..., 0] += np.arange(x0 - left, x1 - left, dtype=np.float32)
    where[..., 1] += np.arange(y0 - top, y1 - top, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(soft, where, None, cv2.INTER_LINEAR), np.uint8), x0, y0
