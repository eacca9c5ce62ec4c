"""Masks on their way: where a track was last seen, and which pixels that covers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.mask import Mask
from streamer.records import Region

Window = tuple[int, int, NDArray[np.uint8]]


@dataclass(eq=False)
class Kept:
    """Where a chosen track was last seen, and how it moved then (px a second; None: seen once)."""

    mask: Mask
    time_ns: int
    speed_px_s: tuple[float, float] | None = None


def moved(before: Kept | None, region: Region, now_ns: int) -> Kept:
    """Where a region is now, and how fast it moves, smoothed over a few frames."""
    if before is None or before.time_ns >= now_ns:
        return Kept(region.mask, now_ns)
    past_s = (now_ns - before.time_ns) / 1e9
    edges = [
        (a - b) / past_s for a, b in zip(region.mask.box_xyxy, before.mask.box_xyxy, strict=True)
    ]
    # of something that comes in at the picture's border, only the inner edge moves
    fastest = (max(edges[0::2], key=abs), max(edges[1::2], key=abs))
    if before.speed_px_s is None:
        return Kept(region.mask, now_ns, fastest)
    vx, vy = (0.5 * old + 0.5 * new for old, new in zip(before.speed_px_s, fastest, strict=True))
    return Kept(region.mask, now_ns, (vx, vy))


def around(kept: Kept, missed_s: float, margin_px: float) -> Window:
    """Left, top and the pixels of a mask with a margin; while it is missed, all the way that it
    may have gone."""
    (x0, y0, x1, y1), dense = kept.mask.decode_box()
    by_px = int(np.ceil(margin_px))
    dx, dy = (round(v * missed_s) for v in kept.speed_px_s or (0.0, 0.0))
    left, top = min(0, dx) - by_px, min(0, dy) - by_px
    right, bottom = max(0, dx) + by_px, max(0, dy) + by_px
    window = np.zeros((y1 - y0 + bottom - top, x1 - x0 + right - left), np.uint8)
    steps = max(1, max(abs(dx), abs(dy)) // max(1, by_px) + 1) if missed_s else 1
    for step in range(steps + 1):
        x, y = dx * step // steps - left, dy * step // steps - top
        window[y : y + y1 - y0, x : x + x1 - x0] |= dense
    away_px = cv2.distanceTransform(1 - window, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return x0 + left, y0 + top, (away_px <= by_px).view(np.uint8)


def clipped(window: Window, hw: tuple[int, int]) -> Window:
    """The part of a window that lies in a picture of (height, width)."""
    x, y, pixels = window
    pixels = pixels[max(0, -y) : max(0, hw[0] - y), max(0, -x) : max(0, hw[1] - x)]
    return max(0, x), max(0, y), pixels


def mark(inside: NDArray[np.uint8], window: Window) -> None:
    """Set the pixels of a window, which may reach beyond the picture."""
    x, y, pixels = clipped(window, (inside.shape[0], inside.shape[1]))
    inside[y : y + pixels.shape[0], x : x + pixels.shape[1]] |= pixels
