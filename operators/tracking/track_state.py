"""What is known of one object."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import Histogram

U8 = NDArray[np.uint8]


@dataclass(eq=False)
class Track:
    """An object on its way. `track_id` is 0 until it is confirmed.

    `soft` is HxW uint8, 255 inside and between at the edge, so that being moved again and again
    does not wear the mask down; `inside` is its 0/1 form. `velocity` is in pixels a frame against
    the resting world. `hits` and `misses` count rounds of proposals. What is
    `sure` is confirmed by one proposal. `refined_ns` is when a
    segmenter was last asked about it.
    """

    soft: U8
    look: Histogram
    strength: float
    first_ns: int
    last_ns: int
    track_id: int = 0
    frames: int = 1
    hits: int = 1
    misses: int = 0
    grown: int = 0
    shrunk: int = 0
    unlike: int = 0
    score: float = 1.0
    visible: bool = True
    usual_area_px: float = 0.0
    sure: bool = False
    refined_ns: int | None = None
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    inside: U8 = field(init=False)
    box: tuple[int, int, int, int] = field(init=False)
    area_px: int = field(init=False)
    centre: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        self.set_mask(self.soft)
        self.usual_area_px = self.usual_area_px or float(self.area_px)

    def set_mask(self, soft: U8) -> None:
        """Take a new mask; the centre stays where it was when nothing is left of it."""
        self.soft = soft
        self.inside = (soft > 127).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(self.inside)
        self.box = (x, y, x + w, y + h)
        crop = self.inside[y : y + h, x : x + w]
        moments = cv2.moments(crop, binaryImage=True)
        self.area_px = int(moments["m00"])
        if self.area_px:
            self.centre = (x + moments["m10"] / moments["m00"], y + moments["m01"] / moments["m00"])

    def touches_border(self) -> bool:
        """Whether a part of it may lie outside the picture."""
        height, width = self.soft.shape
        x0, y0, x1, y1 = self.box
        return x0 <= 1 or y0 <= 1 or x1 >= width - 1 or y1 >= height - 1

    def hide(self, time_ns: int) -> None:
        """It cannot be seen any more; it is remembered for a while."""
        self.visible = False
        self.unlike = 0
