"""Cuts against everything else that changes a whole picture at once."""

from __future__ import annotations

import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from model.synthetic.film import Film
from operators.tracking.cuts import CutDetector
from operators.tracking.flow import measure_motion

HW = (180, 320)
# uneven on purpose: seconds are not counted in frames
TIMES_NS = [40_000_000 * i + (i % 3) * 9_000_000 for i in range(100)]
CLIPS = ("surveillance_cars", "conveyor_bottles", "pingpong", "cyclist", "dog", "skateboarder",
         "birdcartoon")  # fmt: skip


def cuts(images: list[np.ndarray], detector: CutDetector | None = None) -> list[int]:
    """The indices at which a new shot begins."""
    detector = detector or CutDetector()
    found = []
    grays = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    for i, image in enumerate(images):
        motion = measure_motion(grays[i - 1], grays[i]) if i else None
        if detector.is_cut(image, TIMES_NS[i], motion):
            found.append(i)
    return found


def scene(seed: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """Soft ground with a few things on it."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.uniform(40, 200, (5, 8, 3)).astype(np.float32), hw[::-1])
    for _ in range(14):
        x, y = (int(rng.integers(0, side)) for side in hw[::-1])
        cv2.circle(ground, (x, y), int(rng.integers(8, 30)), rng.uniform(0, 255, 3).tolist(), -1)
    return np.clip(ground + rng.normal(0, 3, ground.shape), 0, 255).astype(np.uint8)


def lit(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return np.clip(image.astype(float) * gain + offset, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_cuts_of_films_are_found_at_their_frame(seed: int) -> None:
    film = Film(seed, height_px=HW[0], width_px=HW[1], seconds=4)
    around = range(film.cut_index - 3, film.cut_index + 3)
    assert cuts([film.frame(i).image for i in around]) == [3]


@pytest.mark.parametrize(("gain", "offset"), [(1.8, 40), (1, 90), (3, 120), (0.3, 0)])
def test_a_flash_is_no_cut_and_does_not_hide_one(gain: float, offset: float) -> None:
    still, other = scene(0), scene(1)
    flashed = [still, still, lit(still, gain, offset), lit(still, gain / 2 + 0.5, offset / 2)]
    assert cuts([*flashed, still]) == []
    assert cuts([*flashed, other, lit(other, gain, offset), other]) == [4]


def test_fades_and_steps_of_exposure_are_no_cuts() -> None:
    images = [lit(scene(2), level, 0) for level in (1, 0.8, 0.6, 0.4, 0.2, 0.1, 0, 0)]
    assert cuts(images) == []
    assert cuts([*images[::-1], *[lit(scene(2), 1.4, 10)] * 3]) == []


def test_a_shot_after_black_begins_with_a_cut() -> None:
    black = [np.zeros((*HW, 3), np.uint8)] * 12
    assert cuts([scene(5), *black, scene(6)]) == [13]


@pytest.mark.parametrize("speed_px", [6, 15, 40])
def test_a_fast_pan_is_no_cut(speed_px: int) -> None:
    wide = scene(3, (HW[0], HW[1] + 8 * speed_px))
    smeared = cv2.blur(wide, (speed_px, 1))
    pan = [smeared[:, speed_px * i : speed_px * i + HW[1]].copy() for i in range(9)]
    assert cuts(pan) == []


def test_grain_in_the_dark_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    dark = lit(scene(4), 0.25, 0).astype(float)
    grainy = [np.clip(dark + rng.normal(0, 12, dark.shape), 0, 255) for _ in range(6)]
    assert cuts([image.astype(np.uint8) for image in grainy]) == []


def test_short_shots_are_all_told() -> None:
    images = [scene(i // 2) for i in range(10)]
    assert cuts(images) == [2, 4, 6, 8]
    # back and forth: what was cut away from is a new shot when it returns
    assert cuts([images[0], images[0], images[2], images[0], images[0]]) == [2, 3]


def test_the_state_can_move() -> None:
    images = [scene(i // 2) for i in range(10)]
    first = CutDetector()
    assert cuts(images[:3], first) == [2]
    moved = pickle.loads(pickle.dumps(first))
    before, now = (cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY) for i in (2, 4))
    for detector in (first, moved):
        assert detector.is_cut(images[4], TIMES_NS[4], measure_motion(before, now))


def test_cuts_between_real_clips(media_dir: Path) -> None:
    shots = []
    for name in CLIPS:
        with av.open(str(media_dir / f"{name}.mp4")) as container:
            frames = container.decode(video=0)
            pair = [next(frames).to_ndarray(format="rgb24") for _ in range(2)]
        shots += [cv2.resize(image, HW[::-1], interpolation=cv2.INTER_AREA) for image in pair]
    assert cuts(shots) == list(range(2, len(shots), 2))
