"""A mask on a canvas of any size: a box in canvas pixels, and the mask of that box."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.geometry import BoxXYXY, box_area_px
from streamer.mask import Mask

U8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CanvasMask:
    """A mask on the canvas: its box in canvas pixels, and the mask of that box at any size."""

    box_xyxy: BoxXYXY
    mask: Mask

    @property
    def scale(self) -> float:
        """Mask pixels per canvas pixel."""
        return self.mask.width_px / max(1, self.box_xyxy[2] - self.box_xyxy[0])

    @property
    def area_px(self) -> float:
        """In canvas pixels."""
        return (
            self.mask.area_px
            / self.mask.width_px
            / self.mask.height_px
            * box_area_px(self.box_xyxy)
        )

    def raster(self, box_xyxy: BoxXYXY, hw: tuple[int, int]) -> U8:
        """The part inside a box of the canvas, 0/1, drawn at a size."""
        inside = self.mask.decode().view(np.uint8)
        x0, y0, x1, y1 = self.box_xyxy
        fx, fy = hw[1] / (box_xyxy[2] - box_xyxy[0]), hw[0] / (box_xyxy[3] - box_xyxy[1])
        sx, sy = (x1 - x0) / inside.shape[1] * fx, (y1 - y0) / inside.shape[0] * fy
        # pixel centres onto pixel centres
        to = np.array(
            [[sx, 0, (x0 - box_xyxy[0]) * fx + sx / 2 - 0.5],
             [0, sy, (y0 - box_xyxy[1]) * fy + sy / 2 - 0.5]]
        )  # fmt: skip
        return np.asarray(cv2.warpAffine(inside, to, (hw[1], hw[0]), flags=cv2.INTER_NEAREST))
