"""Close-ups: every region whole in one, at one size, shared by neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.tracking.close_ups import CloseUps

SCREEN = (720, 1280)


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    height, width = draw(st.integers(1, 5000)), draw(st.integers(1, 90_000))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return (height, width), (x0, y0, x1, y1)


@given(cases(), st.floats(0.05, 1))
def test_a_region_is_whole_in_its_window_and_that_on_the_canvas(
    case: tuple[tuple[int, int], tuple[int, int, int, int]], share: float
) -> None:
    (height, width), (x0, y0, x1, y1) = case
    close_ups = CloseUps(share=share, screen_hw=SCREEN, canvas_hw=(height, width))
    view = close_ups.view((x0, y0, x1, y1))
    assert 0 <= view.x_px <= x0 < x1 <= view.x_px + view.width_px <= width
    assert 0 <= view.y_px <= y0 < y1 <= view.y_px + view.height_px <= height
    shown_height, shown_width = close_ups.hw(view)
    assert shown_height <= SCREEN[0] + 1
    assert shown_width <= SCREEN[1] + 1
    assert shown_height <= view.height_px
    assert shown_width <= view.width_px


@pytest.mark.parametrize("side_px", [40, 75, 150, 300])
def test_a_region_takes_its_share(side_px: int) -> None:
    close_ups = CloseUps(share=0.15, screen_hw=SCREEN, canvas_hw=(6000, 60_000))
    for x in range(9000, 13_000, 177):
        view = close_ups.view((x, 3000, x + side_px, 3000 + side_px))
        # sizes are half octaves apart
        assert 0.15 / 1.2 < side_px / view.height_px < 0.15 * 1.2
        middle = (x + side_px / 2 - view.x_px) / view.width_px
        assert 0.37 <= middle <= 0.63


def test_like_neighbours_share_a_window() -> None:
    close_ups = CloseUps(share=0.15, screen_hw=SCREEN, canvas_hw=(2000, 60_000))
    row = [close_ups.view((x, 900, x + 100, 1000)) for x in range(10_000, 14_000, 110)]
    assert len(set(row)) < 0.5 * len(row)
