"""J and F against shapes that can be counted by hand, and against a slow direct form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.evaluation.masks import boundary, boundary_f, jaccard


def rectangle(y0: int, x0: int, y1: int, x1: int, hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def slow_f(found: np.ndarray, truth: np.ndarray, reach_px: int) -> float:
    """F by the distance of every pair of boundary pixels."""
    a, b = (np.argwhere(boundary(m)).astype(float) for m in (found, truth))
    if not len(a) or not len(b):
        return float(len(a) == len(b))
    distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    precision = (distance.min(axis=1) <= reach_px).mean()
    recall = (distance.min(axis=0) <= reach_px).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_j_of_two_rectangles() -> None:
    # 10 x 20 each, 10 x 15 in common
    assert jaccard(rectangle(10, 10, 20, 30), rectangle(10, 15, 20, 35)) == 150 / 250
    assert jaccard(rectangle(0, 0, 5, 5), rectangle(20, 20, 25, 25)) == 0
    assert jaccard(np.zeros((4, 4)), np.zeros((4, 4))) == 1


def test_the_boundary_of_a_rectangle_lies_half_a_pixel_towards_the_origin() -> None:
    edge = boundary(rectangle(10, 20, 14, 25))
    # rows 9..13 and columns 19..24, without the inner ones
    expected = rectangle(9, 19, 14, 25).astype(int) - rectangle(10, 20, 13, 24)
    np.testing.assert_array_equal(edge, expected)
    assert not boundary(np.ones((8, 8))).any()


def test_f_within_the_tolerance_is_one_and_beyond_it_falls() -> None:
    # 60 x 80: a diagonal of 100 px, 0.008 of it rounded up is 1 px
    truth = rectangle(20, 20, 40, 50)
    assert boundary_f(truth, truth) == 1
    assert boundary_f(rectangle(20, 21, 40, 51), truth) == 1
    moved = rectangle(20, 23, 40, 53)
    # of the 100 boundary pixels of each, the sides (19 rows without the corners, 3 px off) are
    # away from the other's, and of top and bottom those more than 1 px beyond its corner
    assert boundary(truth).sum() == 100
    assert boundary_f(moved, truth) == pytest.approx(slow_f(moved, truth, 1))
    assert 0.5 < boundary_f(moved, truth) < 0.7
    assert boundary_f(np.zeros((60, 80)), truth) == 0
    assert boundary_f(np.zeros((60, 80)), np.zeros((60, 80))) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(30, 40), (90, 120), (61, 150)]))
def test_f_equals_the_slow_form(seed: int, hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[: hw[0], : hw[1]]
    masks = []
    for _ in range(2):
        (y, x), r = rng.uniform(0, hw), rng.uniform(2, 15)
        masks.append((ys - y) ** 2 + (xs - x) ** 2 < r**2)
    reach_px = math.ceil(0.008 * math.hypot(*hw))
    assert boundary_f(*masks) == pytest.approx(slow_f(*masks, reach_px))
    assert boundary_f(*masks) == pytest.approx(boundary_f(*masks[::-1]))


def test_sizes_have_to_agree() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        jaccard(np.zeros((4, 4)), np.zeros((4, 5)))
