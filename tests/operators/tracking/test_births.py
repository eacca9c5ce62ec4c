"""What becomes a track: things, and no patches of the ground."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.synthetic.film import Film
from operators.tracking.appearance import colour_codes, histogram
from operators.tracking.births import is_thing, is_veil
from operators.tracking.track_state import Began, Track
from operators.tracking.tracker import Tracker, TrackerConfig

Image = NDArray[np.uint8]
H, W, PAN_PX = 240, 320, 120
GROUND = (118, 130, 112)
FAINT, MIDDLING, CLEAR = (148, 160, 142), (178, 190, 172), (30, 40, 200)


def ground(shade: float = 7.0) -> Image:
    """Grass, as it were, wider than a picture: colours that change slowly from place to place."""
    noise = np.random.default_rng(3).normal(0, 1, (12, 22, 3)).astype(np.float32)
    soft = cv2.resize(noise, (W + PAN_PX, H), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.array(GROUND) + shade * soft, 0, 255).astype(np.uint8)


def patch(image: Image, x: int, y: int, colour: tuple[int, int, int]) -> Image:
    corners = np.add([(0, 0), (70, 8), (62, 60), (10, 48)], (x, y))
    cv2.fillPoly(image, [corners.astype(np.int32)], colour)
    return image


def ids(draw: Callable[[int], Image], frames: int = 50) -> set[int]:
    """The ids of all tracks in a film of 25 pictures a second."""
    tracker = Tracker(TrackerConfig())
    noise = np.random.default_rng(4)
    seen: set[int] = set()
    for index in range(frames):
        grain = noise.normal(0, 1.5, (H, W, 3))
        image = np.clip(draw(index)[:, :W] + grain, 0, 255).astype(np.uint8)
        seen |= {t.track_id for t in tracker.step(image, index * 40_000_000).visible}
    return seen


def test_a_faint_plain_patch_that_rests_is_ground() -> None:
    assert not ids(lambda _: patch(ground(), 120, 90, FAINT))


def test_it_is_a_thing_once_it_moves() -> None:
    still = 15
    film = lambda i: patch(ground(), 120 + max(0, i - still), 90, FAINT)  # noqa: E731
    assert not ids(film, still)
    assert len(ids(film)) == 1


def test_what_has_a_clear_outline_or_a_pattern_is_a_thing_at_rest() -> None:
    assert len(ids(lambda _: patch(ground(), 120, 90, CLEAR), 12)) == 1

    def patterned(_: int) -> Image:
        image = patch(ground(), 120, 90, FAINT)
        for x in range(134, 180, 9):
            cv2.line(image, (x, 102), (x, 134), (122, 134, 116), 3)
        return image

    assert len(ids(patterned, 12)) == 1


def test_what_passes_over_a_patch_makes_no_thing_of_it() -> None:
    def film(index: int) -> Image:
        image = patch(ground(), 120, 90, FAINT)
        cv2.circle(image, (20 + 5 * index, 120), 14, CLEAR, -1)
        return image

    assert len(ids(film)) == 1


def test_a_patch_that_the_border_cuts_does_not_move_because_the_camera_does() -> None:
    def film(index: int) -> Image:
        wide = patch(ground(12.0), 300, 140, MIDDLING)
        cv2.circle(wide, (150, 60), 18, CLEAR, -1)  # for the camera's motion to be seen
        return wide[:, index // 2 : index // 2 + W]

    assert len(ids(film, 40)) == 1


def test_what_lies_on_a_patch_is_a_thing_of_its_own() -> None:
    """A bus, a fish and a truck on two patches that reach to the border."""
    film, tracker = Film(8005, height_px=360, width_px=640, seconds=10.0), Tracker(TrackerConfig())
    for index in range(60):
        frame = film.frame(index)
        step = tracker.step(frame.image, frame.time_ns)
    masks = [t.window((0, 0, 640, 360)) > 127 for t in step.visible]
    for wanted in (frame.masks[key] for key in (2, 3, 4)):
        assert max(float((m & wanted).sum() / (m | wanted).sum()) for m in masks) > 0.7


def test_a_shadow_is_ground_even_when_it_wanders() -> None:
    ground_ = ground(30.0)  # much varies, and shows through a shadow

    def shadow(x: int) -> Image:
        lit, mask = ground_.copy(), np.zeros(ground_.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.add([(0, 0), (70, 8), (62, 60), (10, 48)], (x, 90)).astype(int)], 1)
        lit[mask > 0] = lit[mask > 0] * 0.35
        return lit

    still = 15
    film = lambda i: shadow(120 + max(0, i - still))  # noqa: E731
    assert not ids(film)
    # as dark, but with a face of its own
    assert len(ids(lambda _: patch(ground_.copy(), 120, 90, (41, 45, 39)), 12)) == 1
    assert len(ids(lambda _: patch(ground_.copy(), 120, 90, CLEAR), 12)) == 1


@pytest.mark.parametrize(("gain", "offset"), [(0.6, 60), (0.4, 0), (0.8, 40)])
def test_a_veil_is_told_from_things_by_what_goes_on_inside(gain: float, offset: float) -> None:
    image = ground(30.0)
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[90:150, 120:200] = 1
    veiled, noise = image.copy(), np.random.default_rng(1).permutation(image.reshape(-1, 3))
    veiled[mask > 0] = np.clip(veiled[mask > 0] * gain + offset, 0, 255)
    own = image.copy()
    own[mask > 0] = noise[: mask.sum()]  # as varied as the ground, but not the ground's
    edge = image.copy()
    edge[mask > 0] = 40
    flat = np.full_like(image, 120)
    flat[mask > 0] = 60  # nothing can be seen to go on
    seen = [is_veil(outlined(mask), picture) for picture in (veiled, own, edge, flat)]
    assert seen == [True, False, False, False]
    assert not is_veil(outlined(np.eye(1, dtype=np.uint8)), image)  # a pixel


def outlined(mask: Image) -> Track:
    look = histogram(colour_codes(np.zeros((*mask.shape, 3), np.uint8)), mask > 0)
    return Track(
        soft=mask * np.uint8(255), left=0, top=0, hw=mask.shape, look=look, strength=50.0,
        first_ns=0, last_ns=0,
    )  # fmt: skip


def test_a_mask_that_gains_a_little_has_not_gone() -> None:
    mask = np.zeros((H, W), np.uint8)
    mask[90:110, 60:260] = 1
    for gained, gone in ((16, False), (60, True)):
        track = outlined(mask)
        track.plain, track.strength, edges = True, 40.0, np.full((H, W), 90, np.uint8)
        track.began = Began(np.zeros(2), np.zeros(2), np.zeros(2))
        track.place = track.flowed = np.array([gained, 0.0])
        assert is_thing(track, ground(0.0), edges, np.zeros(2)) == gone
