from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from streamer.geometry import BoxXYXY, box_area_px, box_intersection
from streamer.mask import Mask
from streamer.records import Region
from streamer.sinks import drawing
from streamer.sinks.drawing import draw_regions, track_colour
from tests.streamer.sinks.sink_records import region

HW = (360, 640)


def label_boxes(regions: list[Region], words: str, hw: tuple[int, int] = HW) -> list[BoxXYXY]:
    """Where labels were put."""
    taken: list[BoxXYXY] = []
    picture = np.full((*hw, 3), 128, np.uint8)
    for one in regions:
        text = f"#{one.track_id} {words}"
        drawing.draw_label(picture, one.box_xyxy, text, (255, 0, 0), taken)
    return taken


def test_colours_of_neighbours_differ() -> None:
    for first, second in itertools.pairwise(range(1, 60)):
        difference = np.subtract(track_colour(first), track_colour(second))
        assert np.abs(difference).sum() > 150


def test_the_outline_follows_the_mask() -> None:
    dense = np.zeros(HW, np.uint8)
    cv2.circle(dense, (300, 200), 60, 1, -1)
    mask = Mask.encode(dense)
    grey = np.full((*HW, 3), 128, np.uint8)
    one = Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=3)
    changed = (draw_regions(grey, [one], {}) != 128).any(axis=2)
    y, x = np.nonzero(changed[140:])  # the label is above
    radius = np.hypot(x - 300, y - 60)
    assert 54 < radius.min() <= radius.max() < 66
    assert len(np.unique(np.degrees(np.arctan2(y - 60, x - 300)) // 10)) >= 36
    assert (grey == 128).all()


@pytest.mark.parametrize("box", [(0, 0, 40, 40), (600, 320, 640, 360), (0, 100, 640, 360)])
def test_labels_keep_inside_the_picture(box: BoxXYXY) -> None:
    for words in ("a small red car", "a red car " * 40):
        ((x0, y0, x1, y1),) = label_boxes([region(box, hw=HW)], words)
        assert 0 <= x0 < x1 <= 640
        assert 0 <= y0 < y1 <= 360


def test_labels_do_not_cover_each_other() -> None:
    regions = [region((200 + 7 * n, 150 + 3 * n, 300, 250), n + 1, HW) for n in range(12)]
    boxes = label_boxes(regions, "a small red car")
    assert len(boxes) == 12
    crowd = [region((10, 10, 60, 60), n, (64, 300)) for n in range(1, 30)]
    few = label_boxes(crowd, "a car", (64, 300))
    assert 1 <= len(few) < 29  # left out rather than covered
    for placed in (boxes, few):
        for a, b in itertools.combinations(placed, 2):
            assert box_area_px(box_intersection(a, b)) == 0


def test_long_words_are_shortened() -> None:
    text, width, _, _ = drawing._fitting("#1 " + "a red car " * 40, 0.5, 1, 500)
    assert text.startswith("#1 a red car")
    assert text.endswith("...")
    assert 300 < width <= 500
    assert drawing._fitting("#1 a car", 0.5, 1, 500)[0] == "#1 a car"


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_labels_are_light_on_dark_and_large_enough(ground: int) -> None:
    picture = np.full((720, 1280, 3), ground, np.uint8)
    taken: list[BoxXYXY] = []
    drawing.draw_label(picture, (400, 300, 500, 400), "#3 a small red car", (0, 255, 0), taken)
    ((x0, y0, x1, y1),) = taken
    assert y1 - y0 >= 20
    label = picture[y0:y1, x0 + 8 : x1]
    assert label.max() >= 240
    assert np.median(label) <= 64


def test_an_empty_mask_and_a_tiny_picture() -> None:
    empty = Mask.encode(np.zeros((16, 16), bool))
    nowhere = Region(mask=empty, box_xyxy=(0, 0, 0, 0), score=0.0, track_id=1)
    tiny = np.zeros((16, 16, 3), np.uint8)
    assert draw_regions(tiny, [nowhere], {1: "a car"}).shape == (16, 16, 3)
