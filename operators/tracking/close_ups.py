"""The windows in which regions of a canvas are shown when words are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamer.geometry import BoxXYXY, Viewport

_CLOSEST = -4  # rungs below the screen's own size: a quarter of it
_RIM = 10  # a tenth of a region is left free around it
_STEPS = 4  # in a window's length, from one place of a window to the next


@dataclass(frozen=True, kw_only=True)
class CloseUps:
    """Windows of fixed sizes at fixed places, so that like regions side by side share one.

    A model of regions reads those best that are as large in their picture as those it was trained
    on; a walk's windows show a shed and a street at the same scale. Sizes are a ladder of half
    octaves around the screen's, which is one canvas pixel per pixel.

    Args:
        share: how much of the window's width or height a region is to take, the larger of both.
        screen_hw: height and width of the pictures, in pixels; finer windows give smaller ones.
        canvas_hw: of the whole picture, in pixels.
    """

    share: float
    screen_hw: tuple[int, int]
    canvas_hw: tuple[int, int]

    def view(self, box_xyxy: BoxXYXY) -> Viewport:
        """The window for a region with this box: it holds it with a rim, where the canvas does."""
        x0, y0, x1, y1 = box_xyxy
        height, width = self.screen_hw
        canvas_height, canvas_width = self.canvas_hw
        wide, tall = _with_rim(x1 - x0), _with_rim(y1 - y0)
        scale = max((x1 - x0) / width, (y1 - y0) / height) / self.share
        rung = max(_CLOSEST, round(2 * math.log2(scale)))
        least = max(min(wide, canvas_width) / width, min(tall, canvas_height) / height)
        while 2 ** (rung / 2) < least:
            rung += 1
        shown_height = min(canvas_height, round(height * 2 ** (rung / 2)))
        # a low picture is not shown longer than it is high on the screen, unless the region is
        shown_width = round(shown_height * width / height)
        shown_width = min(canvas_width, max(shown_width, wide))
        return Viewport(
            x_px=_place(x0, x1, shown_width, canvas_width),
            y_px=_place(y0, y1, shown_height, canvas_height),
            width_px=shown_width,
            height_px=shown_height,
            canvas_width_px=canvas_width,
            canvas_height_px=canvas_height,
        )

    def hw(self, view: Viewport) -> tuple[int, int]:
        """Height and width of the picture of a window: the screen's, or less."""
        height, width = self.screen_hw
        scale = min(1.0, height / view.height_px, width / view.width_px)
        return max(1, round(view.height_px * scale)), max(1, round(view.width_px * scale))


def _with_rim(length_px: int) -> int:
    return length_px + 2 * (length_px // _RIM)


def _place(start: int, end: int, length: int, most: int) -> int:
    """Where a window of this length begins: at a fixed place, moved only as far as it has to."""
    step = max(1, length // _STEPS)
    begin = step * round((start + end - length) / 2 / step)
    rim = (end - start) // _RIM
    if end - start + 2 * rim <= length:
        begin = min(max(begin, end + rim - length), start - rim)
    return min(max(0, begin), most - length)
