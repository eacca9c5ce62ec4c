"""Boxes and viewports. Pixel coordinates: x to the right, y down, origin at the top left.

Boxes are half open: `(x0, y0, x1, y1)` covers columns x0..x1-1 and rows y0..y1-1.
"""

from __future__ import annotations

from dataclasses import dataclass

BoxXYXY = tuple[int, int, int, int]


def box_area_px(box_xyxy: BoxXYXY) -> int:
    """Number of pixels in a half-open box; 0 when it is empty."""
    x0, y0, x1, y1 = box_xyxy
    return max(0, x1 - x0) * max(0, y1 - y0)


def box_intersection(a_xyxy: BoxXYXY, b_xyxy: BoxXYXY) -> BoxXYXY:
    """The common part of two boxes; may be empty (area 0)."""
    return (
        max(a_xyxy[0], b_xyxy[0]),
        max(a_xyxy[1], b_xyxy[1]),
        min(a_xyxy[2], b_xyxy[2]),
        min(a_xyxy[3], b_xyxy[3]),
    )


def box_iou(a_xyxy: BoxXYXY, b_xyxy: BoxXYXY) -> float:
    """Intersection over union in 0..1; 0 when both boxes are empty."""
    common = box_area_px(box_intersection(a_xyxy, b_xyxy))
    union = box_area_px(a_xyxy) + box_area_px(b_xyxy) - common
    return common / union if union else 0.0


@dataclass(frozen=True, kw_only=True)
class Viewport:
    """Which rectangle of the canvas a frame shows.

    For video the canvas is the frame itself. For a panned image the canvas is the whole image
    and `x_px, y_px, width_px, height_px` is the window in canvas pixels; the frame's own pixels
    may be fewer (a zoomed-out window), so `scale = frame width / window width`.
    """

    x_px: int = 0
    y_px: int = 0
    width_px: int
    height_px: int
    canvas_width_px: int
    canvas_height_px: int

    def __post_init__(self) -> None:
        if self.width_px <= 0 or self.height_px <= 0:
            raise ValueError(f"viewport of {self.width_px}x{self.height_px} px shows nothing")
        if self.canvas_width_px <= 0 or self.canvas_height_px <= 0:
            raise ValueError("the canvas of a viewport needs a size above zero")

    @classmethod
    def whole(cls, height_px: int, width_px: int) -> Viewport:
        """The viewport of a video frame: the frame is the canvas."""
        return cls(
            width_px=width_px,
            height_px=height_px,
            canvas_width_px=width_px,
            canvas_height_px=height_px,
        )

    def to_canvas(self, x_px: float, y_px: float, frame_hw: tuple[int, int]) -> tuple[float, float]:
        """Frame pixel -> canvas pixel, for a frame of `frame_hw` = (height, width) pixels."""
        height, width = frame_hw
        return (
            self.x_px + x_px * self.width_px / width,
            self.y_px + y_px * self.height_px / height,
        )

    def to_frame(self, x_px: float, y_px: float, frame_hw: tuple[int, int]) -> tuple[float, float]:
        """Canvas pixel -> frame pixel; the inverse of `to_canvas`."""
        height, width = frame_hw
        return (
            (x_px - self.x_px) * width / self.width_px,
            (y_px - self.y_px) * height / self.height_px,
        )
