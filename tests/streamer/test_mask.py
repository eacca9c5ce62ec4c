"""Masks: the run-length code against dense arrays, for any shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from streamer.mask import Mask

DENSE = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14))


@given(DENSE)
def test_encode_decode(dense: np.ndarray) -> None:
    mask = Mask.encode(dense)
    assert (mask.decode() == dense).all()
    assert mask.hw == dense.shape
    assert mask.area_px == dense.sum()
    assert Mask.from_json(mask.to_json()) == mask


@given(DENSE)
def test_the_code_is_cocos(dense: np.ndarray) -> None:
    code = coco.encode(np.asfortranarray(dense, np.uint8))
    assert Mask.encode(dense).counts.encode() == code["counts"]


@settings(deadline=None)
@given(DENSE)
def test_box_is_tight(dense: np.ndarray) -> None:
    mask = Mask.encode(dense)
    x0, y0, x1, y1 = mask.box_xyxy
    if dense.any():
        rows, columns = np.nonzero(dense)
        assert (x0, y0) == (columns.min(), rows.min())
        assert (x1, y1) == (columns.max() + 1, rows.max() + 1)
    else:
        assert mask.box_xyxy == (0, 0, 0, 0)
    box, crop = mask.decode_box()
    assert box == mask.box_xyxy
    assert (crop == dense[y0:y1, x0:x1]).all()


@settings(deadline=None)
@given(DENSE, *[st.integers(0, 5)] * 4)
def test_encode_box_equals_encode(
    crop: np.ndarray, left: int, top: int, right: int, bottom: int
) -> None:
    whole = np.pad(crop, ((top, bottom), (left, right)))
    assert Mask.encode_box(crop, left, top, whole.shape) == Mask.encode(whole)


@settings(deadline=None)
@given(st.lists(DENSE, max_size=4), st.integers(0, 5), st.integers(0, 5))
def test_many_at_once_equal_one_after_the_other(crops: list[np.ndarray], x: int, y: int) -> None:
    hw = (20, 21)
    made = Mask.encode_boxes([(crop, x, y) for crop in crops], hw)
    for crop, mask in zip(crops, made, strict=True):
        dense = np.zeros(hw, bool)
        dense[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
        assert mask == Mask.encode(dense)


@given(DENSE, st.data())
def test_iou(a: np.ndarray, data: st.DataObject) -> None:
    b = data.draw(arrays(bool, a.shape))
    union = (a | b).sum()
    expected = (a & b).sum() / union if union else 0.0
    assert Mask.encode(a).iou(Mask.encode(b)) == pytest.approx(expected)


@given(DENSE, st.integers(-15, 15), st.integers(-15, 15))
def test_shift(dense: np.ndarray, dx: int, dy: int) -> None:
    shifted = Mask.encode(dense).shift(dx, dy).decode()
    for y, x in np.ndindex(*dense.shape):
        inside = 0 <= y - dy < dense.shape[0] and 0 <= x - dx < dense.shape[1]
        assert shifted[y, x] == (inside and dense[y - dy, x - dx])


@given(DENSE, st.data())
def test_crop(dense: np.ndarray, data: st.DataObject) -> None:
    height, width = dense.shape
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    assert (Mask.encode(dense).crop((x0, y0, x1, y1)).decode() == dense[y0:y1, x0:x1]).all()


def test_errors_name_the_sizes() -> None:
    mask = Mask.encode(np.ones((4, 5), bool))
    with pytest.raises(ValueError, match="4, 5"):
        mask.iou(Mask.encode(np.ones((4, 6), bool)))
    with pytest.raises(ValueError, match="leaves the mask"):
        mask.crop((0, 0, 6, 4))
    with pytest.raises(ValueError, match="leaves"):
        Mask.encode_box(np.ones((3, 3), bool), 4, 0, (4, 5))
    with pytest.raises(ValueError, match="non-empty"):
        Mask.encode(np.ones((0, 3), bool))
