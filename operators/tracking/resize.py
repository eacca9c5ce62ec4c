"""Between a frame's own size and the size at which it is tracked."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.track_state import Track
from streamer.mask import Mask


def working_size(hw: tuple[int, int], work_height_px: int) -> tuple[int, int]:
    """(width, height) at which a frame of `hw` is tracked: never enlarged."""
    height, width = hw
    scale = min(1.0, work_height_px / height)
    return max(8, round(width * scale)), max(8, round(height * scale))


def shrunk(image: NDArray[np.uint8], work_height_px: int) -> NDArray[np.uint8]:
    """An image (HxWx3 uint8) at its working size."""
    size = working_size((image.shape[0], image.shape[1]), work_height_px)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def full_size(
    tracks: Sequence[Track], hw: tuple[int, int], parts: Sequence[Track] = ()
) -> list[Mask]:
    """The tracks' soft masks with those of their parts, at the frame's own size, each enlarged
    around its box only."""
    height, width = hw
    crops = []
    for track in tracks:
        work_h, work_w = track.hw
        own = [part for part in parts if part.part_of is track]
        x0, y0, x1, y1 = box = _around([track, *own]) if own else track.padded(2)
        left, right = round(x0 * width / work_w), round(x1 * width / work_w)
        top, bottom = round(y0 * height / work_h), round(y1 * height / work_h)
        size = (max(1, right - left), max(1, bottom - top))
        shown = track.window(box)
        for part in own:
            shown = np.maximum(shown, part.window(box))
        soft = cv2.resize(shown, size, interpolation=cv2.INTER_LINEAR)
        crops.append((soft > 127, left, top))
    return Mask.encode_boxes(crops, hw)


def _around(tracks: Sequence[Track]) -> tuple[int, int, int, int]:
    boxes = [track.padded(2) for track in tracks]
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
