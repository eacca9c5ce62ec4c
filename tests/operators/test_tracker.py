"""The tracker at the edges of what it may be given, and its pieces against slow forms."""

from __future__ import annotations

import pickle
from typing import Any

import cv2
import numpy as np
import pytest

from operators.tracking.appearance import BINS, colour_codes, likeness, spread
from operators.tracking.candidate import (
    Candidate,
    common_areas,
    make_candidate,
    meeting,
    overlap,
    paste,
)
from operators.tracking.given import follow_given
from operators.tracking.proposals import edge_strength, outermost, without_doubles
from operators.tracking.resize import full_size
from operators.tracking.track_state import Track
from operators.tracking.tracker import Tracker, TrackerConfig

HW = (120, 160)
RED, BLUE = (210, 30, 30), (30, 60, 210)


def picture(*boxes: tuple[int, int, int, int, tuple[int, int, int]], hw: tuple[int, int] = HW):
    rng = np.random.default_rng(3)
    coarse = rng.normal(120, 12, (5, 7, 3)).astype(np.float32)
    image = cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC)
    image += rng.normal(0, 2, image.shape)
    for x, y, w, h, colour in boxes:
        image[max(0, y) : y + h, max(0, x) : max(0, x + w)] = colour
        image[y + 5 : y + 9, max(0, x + 5) : max(0, x + 12)] = 20
    return np.clip(image, 0, 255).astype(np.uint8)


class Proposes:
    """An aid that only ever proposes the same."""

    def __init__(self, candidates: list[Candidate]) -> None:
        self.candidates = candidates

    def search(self, image_rgb: np.ndarray, time_ns: int, tracks: Any) -> list[Candidate]:
        return list(self.candidates)

    def wholes(self, image_rgb: np.ndarray, tracks: Any) -> list[tuple[Track, Candidate]]:
        return []

    def doubts(self, image_rgb: np.ndarray, tracks: Any) -> list[Track]:
        return []

    def refine(self, image_rgb: np.ndarray, tracks: Any, time_ns: int) -> int:
        return 0

    def forget(self) -> None:
        pass


def rectangle(x: int, y: int, w: int, h: int, hw: tuple[int, int] = HW) -> np.ndarray:
    mask = np.zeros(hw, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def iou(track: Track, mask: np.ndarray) -> float:
    found = track.window((0, 0, mask.shape[1], mask.shape[0])) > 127
    return float((found & mask).sum() / (found | mask).sum())


def candidates(*masks: np.ndarray, edges: np.ndarray | None = None) -> list[Candidate]:
    edges = np.full(HW, 90, np.uint8) if edges is None else edges
    made = [make_candidate(mask.astype(np.uint8), edges) for mask in masks]
    assert all(made)
    return [c for c in made if c is not None]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_constant_pictures_hold_nothing_and_are_no_cuts(level: int) -> None:
    tracker = Tracker(TrackerConfig())
    for i in range(12):
        step = tracker.step(np.full((*HW, 3), level, np.uint8), i * 40_000_000)
        assert not step.cut
        assert not step.visible
    assert tracker.finish() == ()


def test_black_pictures_between_end_the_track_once() -> None:
    tracker = Tracker(TrackerConfig())
    ended = []
    for i in range(60):
        image = picture((40, 40, 40, 30, RED))
        step = tracker.step(np.zeros_like(image) if 20 <= i < 30 else image, i * 40_000_000)
        ended += [t.track_id for t in step.ended]
    assert len(ended) == len(set(ended))
    assert [iou(t, rectangle(40, 40, 40, 30)) > 0.8 for t in step.visible] == [True]


def test_a_change_of_size_ends_all_tracks_and_starts_anew() -> None:
    tracker = Tracker(TrackerConfig())
    for i in range(20):
        before = tracker.step(picture((40, 40, 40, 30, RED)), i * 40_000_000)
    for i in range(20, 40):
        image = picture((60, 40, 40, 30, RED), hw=(150, 230))
        step = tracker.step(image, i * 40_000_000)
        if i == 20:
            assert [t.track_id for t in step.ended] == [t.track_id for t in before.visible] == [1]
    assert [t.track_id for t in step.visible] == [2]
    assert iou(step.visible[0], rectangle(60, 40, 40, 30, (150, 230))) > 0.8


def test_a_mask_that_fills_the_frame_and_one_of_a_pixel() -> None:
    tracker = Tracker(TrackerConfig(discover=False))
    image = picture((40, 40, 40, 30, RED))
    tracker.step(image, 0)
    whole = tracker.add(np.ones(HW, bool), image, 0)
    for i in range(1, 6):
        step = tracker.step(image, i * 40_000_000)
        assert [t.track_id for t in step.visible] == [whole.track_id]
        assert whole.area_px > 0.98 * whole.hw[0] * whole.hw[1]
    pixel = tracker.add(rectangle(50, 50, 1, 1), image, 5 * 40_000_000)
    assert pixel.area_px == 1
    # its pixel is no longer the large one's
    assert whole.window((50, 50, 51, 51))[0, 0] == 0
    step = tracker.step(image, 6 * 40_000_000)
    # too small to be followed: hidden, and never an error
    assert pixel not in step.visible
    assert all(m.area_px for m in full_size(step.visible, (240, 320)))


def test_500_proposals_make_at_most_max_tracks() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)
    edges = edge_strength(image)
    masks = [rectangle(16 * (i % 20), 4 + 9 * (i // 20), 15, 8, (240, 320)) for i in range(500)]
    extra = candidates(*masks, edges=edges)
    tracker = Tracker(TrackerConfig(max_tracks=24, min_area_share=0.0001))
    for i in range(4):
        step = tracker.step(image, i * 200_000_000, Proposes(extra))
        assert len(step.candidates) >= 500
        assert len(tracker.tracks) <= 24
        assert step.left_out == (476 if i == 0 else 0)  # said once
    assert len(step.visible) == 24


def test_two_identical_masks_are_one_object() -> None:
    image = picture((40, 40, 40, 30, RED))
    same = candidates(rectangle(40, 40, 40, 30), rectangle(40, 40, 40, 30))
    tracker = Tracker(TrackerConfig())
    for i in range(4):
        step = tracker.step(image, i * 200_000_000, Proposes(same))
    assert len(step.visible) == 1
    # given by hand, the later one owns the pixels
    tracker = Tracker(TrackerConfig(discover=False))
    tracker.step(image, 0)
    first, second = (tracker.add(rectangle(40, 40, 40, 30), image, 0) for _ in range(2))
    step = tracker.step(image, 40_000_000)
    assert step.visible == (second,)
    assert not first.visible


def test_a_given_mask_has_to_fit() -> None:
    tracker = Tracker(TrackerConfig())
    image = picture()
    tracker.step(image, 0)
    with pytest.raises(ValueError, match="empty"):
        tracker.add(np.zeros(HW, bool), image, 0)
    with pytest.raises(ValueError, match="for a picture of"):
        tracker.add(np.ones((3, 3), bool), image, 0)


def test_what_passes_in_front_does_not_drag_the_mask_along() -> None:
    """The red one rests, the blue one crosses it; both are given in the first picture."""
    images = [picture((70, 40, 40, 40, RED), (2 * i + 5, 50, 24, 20, BLUE)) for i in range(50)]
    given = {0: {1: rectangle(70, 40, 40, 40), 2: rectangle(5, 50, 24, 20)}}
    followed = list(follow_given(images, given, work_height_px=HW[0]))
    for i, found in enumerate(followed):
        x = 2 * i + 5
        blue = rectangle(x, 50, 24, 20)
        red = rectangle(70, 40, 40, 40) & ~blue
        for key, truth in ((1, red), (2, blue)):
            mask = found[key].decode()
            assert (mask & truth).sum() / (mask | truth).sum() > 0.7, (i, key)


def test_state_goes_on_after_pickling() -> None:
    images = [picture((20 + 2 * i, 40, 40, 30, RED)) for i in range(24)]
    tracker = Tracker(TrackerConfig())
    for i, image in enumerate(images):
        if i == 12:
            tracker = pickle.loads(pickle.dumps(tracker))
        step = tracker.step(image, i * 40_000_000)
    straight = Tracker(TrackerConfig())
    for i, image in enumerate(images):
        other = straight.step(image, i * 40_000_000)
    assert [t.track_id for t in step.visible] == [t.track_id for t in other.visible] == [1]
    np.testing.assert_array_equal(step.visible[0].soft, other.visible[0].soft)


def test_pairs_and_common_pixels_equal_dense_masks() -> None:
    rng = np.random.default_rng(1)
    masks = [
        rectangle(
            *(int(v) for v in rng.integers(0, 90, 2)), *(int(v) for v in rng.integers(5, 30, 2))
        )
        & (rng.random(HW) < 0.7)
        for _ in range(30)
    ]
    shapes = candidates(*masks)
    dense = np.array([[int((a & b).sum()) for b in masks] for a in masks])
    np.testing.assert_array_equal(common_areas(shapes, shapes), dense)
    assert {(i, j) for i, j in np.argwhere(dense).tolist()} <= set(meeting(shapes, shapes))
    union = (masks[0] | masks[1]).sum()
    assert overlap(shapes[0], shapes[1]) == pytest.approx(dense[0, 1] / union)
    canvas = np.zeros((40, 50), np.uint8)
    for shape in shapes:
        paste(canvas, shape, 20, 30)
    np.testing.assert_array_equal(canvas > 0, np.any(masks, axis=0)[30:70, 20:70])


def test_doubles_and_parts_of_proposals_are_left_out() -> None:
    large, same, part, other = candidates(
        rectangle(20, 20, 40, 40), rectangle(21, 20, 40, 40), rectangle(30, 30, 10, 10),
        rectangle(100, 20, 20, 20),
    )  # fmt: skip
    assert without_doubles([large, same, part, other]) == [large, part, other]
    assert outermost([large, same, part, other]) == [large, other]


def test_spread_keeps_the_sum_and_makes_neighbours_alike() -> None:
    rng = np.random.default_rng(2)
    one, two = rng.random((2, BINS)).astype(np.float32)
    one, two = one / one.sum(), two / two.sum()
    assert spread(one).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(spread(np.stack([one, two]))[1], spread(two), rtol=1e-6)
    assert likeness(one, one) == pytest.approx(1, abs=1e-5)
    apart = np.zeros((3, BINS), np.float32)
    apart[0, 500] = apart[1, 501] = apart[2, 800] = 1
    assert likeness(apart[0], apart[2]) == 0
    assert 0.2 < likeness(apart[0], apart[1]) < 0.8


def test_codes_are_cells_of_lab() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_RGB2LAB).astype(int)
    a, b = (np.clip((lab[..., i] - 62) // 11, 0, 11) for i in (1, 2))
    np.testing.assert_array_equal(colour_codes(image), (lab[..., 0] >> 5) * 144 + a * 12 + b)
