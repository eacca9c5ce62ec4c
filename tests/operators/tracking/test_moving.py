"""What moves on its own is cut out of a flow that reaches over its outline."""

from __future__ import annotations

import cv2
import numpy as np

from operators.tracking.appearance import BINS
from operators.tracking.candidate import Candidate, make_candidate, overlap, stale_share
from operators.tracking.following import tidy
from operators.tracking.moving import carved_candidates, changed_candidates, moving_candidates
from operators.tracking.proposals import edge_strength
from operators.tracking.track_state import Track

HW = (180, 240)
SHIRT, LEGS = (60, 20, 62, 60), (66, 60, 40, 80)  # x, y, width, height


def person(at: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of someone in two colours before a wall of many, `at` px to the right; and the mask
    (0/1)."""
    rng = np.random.default_rng(5)
    tiles = rng.integers(90, 150, (9, 12, 3), dtype=np.uint8)
    image = cv2.resize(tiles, HW[::-1], interpolation=cv2.INTER_NEAREST)
    mask = np.zeros(HW, np.uint8)
    for (x, y, w, h), colour in ((SHIRT, (230, 225, 240)), (LEGS, (30, 35, 90))):
        image[y : y + h, x + at : x + at + w] = colour
        mask[y : y + h, x + at : x + at + w] = 1
    noise = rng.normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def smeared(mask: np.ndarray, speed_px: float) -> np.ndarray:
    """The residual flow of what moves so fast, as optical flow gives it: too wide by 10 px."""
    wide = cv2.dilate(mask, np.ones((21, 21), np.uint8))
    return np.where(wide > 0, speed_px, 0.1).astype(np.float32)


def found_in(image: np.ndarray, residual: np.ndarray, *known: Candidate) -> list[Candidate]:
    return carved_candidates(residual, image, edge_strength(image), 60, known)


def test_a_person_is_cut_out_of_a_flow_that_reaches_over_the_outline() -> None:
    image, mask = person()
    (found,) = found_in(image, smeared(mask, 8.0))
    truth = make_candidate(mask, edge_strength(image))
    assert truth is not None
    assert overlap(found, truth) > 0.9
    assert not moving_candidates(smeared(mask, 8.0), image, edge_strength(image), 60)


def test_the_slow_and_the_known_are_not_cut_out() -> None:
    image, mask = person()
    truth = make_candidate(mask, edge_strength(image))
    assert truth is not None
    assert not found_in(image, smeared(mask, 2.0))
    assert not found_in(image, smeared(mask, 8.0), truth)


def test_what_goes_fast_has_to_end_at_edges_for_most() -> None:
    image = np.full((*HW, 3), 128, np.uint8)
    image[60:120, 60:120] = 250
    wide = np.zeros(HW, np.uint8)
    wide[60:120, 60:200] = 1  # more than half of its outline lies on nothing
    slow, fast = (
        moving_candidates(
            np.where(wide, px, 0.1).astype(np.float32), image, edge_strength(image), 60
        )
        for px in (2.0, 8.0)
    )
    assert slow
    assert not fast


def test_flow_that_goes_astray_on_plain_ground_is_no_thing() -> None:
    image = np.full((*HW, 3), 128, np.uint8)
    mask = person()[1]
    assert not found_in(image, smeared(mask, 8.0))
    assert not moving_candidates(smeared(mask, 8.0), image, edge_strength(image), 60)


def test_all_that_moves_and_next_to_nothing_are_both_looked_at() -> None:
    image = person()[0]
    assert not found_in(image, np.full(HW, 9.0, np.float32))  # then the camera's way is not known
    dot = np.zeros(HW, np.uint8)
    dot[60:64, 100:104] = 1
    assert not found_in(image, smeared(dot, 9.0))


def test_a_background_that_still_shows_someone_makes_no_double_of_him() -> None:
    rest = person()[0]
    image, mask = person(at=64)
    edges = edge_strength(image)
    truth = make_candidate(mask, edges)
    assert truth is not None
    (both,) = changed_candidates(image, rest, None, edges, 60)
    assert both.area_px > 1.6 * truth.area_px  # where he was, and where he is
    assert stale_share(both, edges, edge_strength(rest)) > 0.2
    (found,) = changed_candidates(image, rest, smeared(mask, 2.0), edges, 60)
    assert overlap(found, truth) > 0.9


def test_what_differs_from_a_background_without_it_is_taken_as_it_is() -> None:
    image, mask = person(at=64)
    empty = np.where(mask[..., None] > 0, person()[0], image)
    empty[mask > 0] = 150
    edges = edge_strength(image)
    (found,) = changed_candidates(image, empty, smeared(mask, 2.0), edges, 60)
    assert stale_share(found, edges, edge_strength(empty)) < 0.02
    truth = make_candidate(mask, edges)
    assert truth is not None
    assert overlap(found, truth) > 0.9


def test_what_the_flow_left_behind_is_dropped() -> None:
    soft = np.zeros(HW, np.uint8)
    soft[20:60, 20:60] = 255  # 1,600 px
    soft[100:120, 20:60] = 255  # 800: what something covers in its middle is in two pieces
    soft[20:24, 200:220] = 255  # 80

    def track(given: bool = False) -> Track:
        look = np.full(BINS, 1 / BINS, np.float32)
        return Track(soft=soft.copy(), left=0, top=0, hw=HW, look=look, strength=50.0,
                     first_ns=0, last_ns=0, given=given)  # fmt: skip

    own, given = track(), track(given=True)
    tidy([own, given])
    assert own.area_px == 2400
    assert own.box == (20, 20, 60, 120)
    assert given.area_px == 2480
