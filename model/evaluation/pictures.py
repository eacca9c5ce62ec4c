"""Pictures to measure with, made of nothing but a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ellipses(count_: int, hw: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Regions of any place and size: R x H x W."""
    height, width = hw
    y, x = np.ogrid[:height, :width]
    masks = np.empty((count_, height, width), bool)
    for mask in masks:
        cy, cx = rng.uniform(0.1, 0.9, 2) * (height, width)
        ry, rx = rng.uniform(0.05, 0.25, 2) * (height, width)
        np.less_equal(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2, 1, out=mask)
    return masks


def picture(
    hw: tuple[int, int], masks: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Soft noise with every region in a colour of its own."""
    coarse = rng.integers(0, 256, (hw[0] // 16 + 1, hw[1] // 16 + 1, 3))
    image = coarse.repeat(16, axis=0).repeat(16, axis=1)[: hw[0], : hw[1]].astype(np.uint8)
    for mask in masks:
        image[mask] = rng.integers(0, 256, 3)
    return image
