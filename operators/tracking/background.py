"""What a resting camera sees behind everything that moves."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import paste
from operators.tracking.flow import Motion
from operators.tracking.track_state import Track

U8 = NDArray[np.uint8]
_SETTLED_FRAMES = 12
_EDGE = 40.0  # Sobel steps at half the size; less may be noise


class RestingBackground:
    """A slow mean of the picture outside of tracks; starts anew when the camera moves."""

    def __init__(self) -> None:
        self._mean: NDArray[np.float32] | None = None
        self._seen = np.zeros((0, 0), np.uint8)
        self._frames = 0

    def update(self, image_rgb: U8, motion: Motion, tracks: Sequence[Track]) -> None:
        """Take the next picture in."""
        height, width = image_rgb.shape[:2]
        corners = np.array([[0, 0, 1], [width, height, 1]], np.float64).T
        drift = np.abs(motion.camera @ corners - corners[:2]).max()
        if self._mean is None or (drift > 0.35 and not self.is_seen_in(image_rgb)):
            self._mean, self._frames = image_rgb.astype(np.float32), 0
            self._seen = np.zeros((height, width), np.uint8)
            return
        self._frames += 1
        taken = np.zeros((height, width), np.uint8)
        for track in tracks:
            if track.visible:
                paste(taken, track)
        # with a rim: the tracks have moved on since their masks were made
        free = 1 - cv2.dilate(taken, np.ones((9, 9), np.uint8))
        fresh = (free > 0) & (self._seen == 0)
        self._mean[fresh] = image_rgb[fresh]
        self._seen = cv2.add(self._seen, free)
        weight = max(0.02, 1 / (self._frames + 1))
        cv2.accumulateWeighted(image_rgb, self._mean, weight, mask=free)

    def is_seen_in(self, image_rgb: U8) -> bool:
        """Whether most of its edges lie where they were. Flow says less about a resting camera:
        a large thing that moves before plain walls takes the fit of the camera's motion along."""
        if self._mean is None or self._frames == 0:
            return False
        ours, theirs = _slopes(np.clip(self._mean, 0, 255).astype(np.uint8)), _slopes(image_rgb)
        strength = np.hypot(*ours)
        clear = strength > max(_EDGE, float(np.quantile(strength, 0.9)))
        if np.count_nonzero(clear) < 50:
            return False
        a, b = ours[:, clear], theirs[:, clear]
        along = (a * b).sum(axis=0) / strength[clear]
        same = (along > 0.5 * strength[clear]) & (along > 0.85 * np.hypot(*b))
        return bool(same.mean() > 0.7)

    def picture(self, image_rgb: U8) -> U8 | None:
        """The background; None while the camera moves or has just stopped. Where it has not been
        seen for long enough, the present picture."""
        if self._mean is None or self._frames < _SETTLED_FRAMES:
            return None
        rest = np.clip(self._mean, 0, 255).astype(np.uint8)
        unknown = self._seen < _SETTLED_FRAMES
        rest[unknown] = image_rgb[unknown]
        return rest


def _slopes(image_rgb: U8) -> NDArray[np.float32]:
    """2xHxW at half the size: how the gray rises to the right and down."""
    size = (image_rgb.shape[1] // 2, image_rgb.shape[0] // 2)
    small = cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return np.array([cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)])
