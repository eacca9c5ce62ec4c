"""Boxes and viewports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.geometry import Viewport, box_area_px, box_intersection, box_iou

SIDE = st.integers(-20, 20)
BOX = st.tuples(SIDE, SIDE, st.integers(0, 30), st.integers(0, 30)).map(
    lambda t: (t[0], t[1], t[0] + t[2], t[1] + t[3])
)


def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


@given(BOX, BOX)
def test_boxes_are_sets_of_pixels(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    common = pixels(a) & pixels(b)
    union = pixels(a) | pixels(b)
    assert box_area_px(a) == len(pixels(a))
    assert box_area_px(box_intersection(a, b)) == len(common)
    assert box_iou(a, b) == pytest.approx(len(common) / len(union) if union else 0.0)


@given(
    st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 3000), st.integers(1, 3000),
    st.integers(1, 2000), st.integers(1, 2000), st.floats(0, 2000), st.floats(0, 2000),
)  # fmt: skip
def test_to_canvas_and_back(
    x: int, y: int, w: int, h: int, frame_w: int, frame_h: int, px: float, py: float
) -> None:
    view = Viewport(
        x_px=x, y_px=y, width_px=w, height_px=h, canvas_width_px=9000, canvas_height_px=9000
    )
    canvas = view.to_canvas(px, py, (frame_h, frame_w))
    back = view.to_frame(*canvas, (frame_h, frame_w))
    assert back == pytest.approx((px, py), abs=1e-6, rel=1e-6)


def test_a_video_frame_is_its_own_canvas() -> None:
    assert Viewport.whole(720, 1280).to_canvas(13.5, 7, (720, 1280)) == (13.5, 7)
    with pytest.raises(ValueError, match="shows nothing"):
        Viewport.whole(0, 10)
