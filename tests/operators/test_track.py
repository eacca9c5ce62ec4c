"""Tracking against exact truth: ids, masks, cuts, occlusion."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from operators.track import Track
from streamer.errors import WeightsError
from streamer.records import Event, Frame, TrackedFrame
from streamer.testing import check_operator, frames_of

HW = (240, 426)
RED, BLUE = (200, 30, 30), (30, 60, 210)
Box = tuple[int, int, int, int, tuple[int, int, int]]


def picture(seed: int, boxes: list[Box]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(120, 18, (6, 10, 3)).astype(np.float32)
    image = cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_CUBIC)
    for x, y, w, h, colour in boxes:
        cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), colour, -1)
        cv2.rectangle(image, (x + 6, y + 6), (x + w // 3, y + h // 3), (20, 20, 20), -1)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def run(images: list[np.ndarray]) -> tuple[list[TrackedFrame], list[Event]]:
    operator = Track(work_height_px=240)
    operator.setup()
    made = [r for frame in frames_of(images) for r in operator.process([frame])]
    made += operator.flush("test")
    events = [r for r in made if isinstance(r, Event)]
    return [r for r in made if isinstance(r, TrackedFrame)], events


def moving(n: int = 50) -> list[np.ndarray]:
    return [
        picture(1, [(20 + 4 * i, 60, 50, 36, RED), (330 - i, 150, 44, 50, BLUE)]) for i in range(n)
    ]


def test_masks_and_ids_follow_the_objects() -> None:
    tracked, events = run(moving())
    assert Counter(e.kind for e in events) == {"track_start": 2, "track_end": 2, "stream_end": 1}
    for item in tracked[15:]:
        i = item.frame.index
        for x, y, w, h in ((20 + 4 * i, 60, 50, 36), (330 - i, 150, 44, 50)):
            truth = np.zeros(HW, bool)
            truth[y : y + h, x : x + w] = True
            masks = [r.mask.decode() for r in item.regions]
            assert max((m & truth).sum() / (m | truth).sum() for m in masks) > 0.8
    assert {tuple(r.track_id for r in item.regions) for item in tracked[15:]} == {(1, 2)}
    end = next(e for e in events if e.kind == "track_end" and e.track_id == 1)
    assert (end.data["start_ns"], end.data["end_ns"]) == (0, 49 * 40_000_000)


def test_an_object_that_enters_is_found_and_one_that_leaves_ends() -> None:
    tracked, events = run([picture(2, [(-60 + 7 * i, 90, 50, 40, RED)]) for i in range(120)])
    (start,) = [e for e in events if e.kind == "track_start"]
    (end,) = [e for e in events if e.kind == "track_end"]
    assert 0 < start.data["start_ns"] < 10**9
    assert end.data["end_ns"] < 3 * 10**9
    assert not tracked[-1].regions


def test_a_short_occlusion_keeps_the_id() -> None:
    post: Box = (200, 20, 40, 200, (230, 230, 220))
    tracked, _ = run([picture(3, [(40 + 5 * i, 100, 36, 30, RED), post]) for i in range(60)])

    def red(item: TrackedFrame) -> set[int]:
        x = 40 + 5 * item.frame.index + 18
        return {r.track_id for r in item.regions if r.box_xyxy[0] <= x < r.box_xyxy[2]}

    assert len(red(tracked[25])) == 1
    assert red(tracked[25]) <= red(tracked[58])


def test_a_cut_ends_all_tracks_and_is_an_event() -> None:
    first = [picture(4, [(60 + i, 60, 50, 40, RED)]) for i in range(30)]
    second = [picture(9, [(300 - i, 140, 40, 50, BLUE)])[::-1].copy() for i in range(30)]
    tracked, events = run(first + second)
    (cut,) = [e for e in events if e.kind == "cut"]
    assert cut.time_ns == 30 * 40_000_000
    before = {r.track_id for item in tracked[:30] for r in item.regions}
    after = {r.track_id for item in tracked[30:] for r in item.regions}
    assert before
    assert after
    assert not before & after


@pytest.mark.parametrize("change", ["flash", "fast pan", "noise"])
def test_what_is_not_a_cut(change: str) -> None:
    still = picture(5, [(60, 60, 50, 40, RED), (250, 120, 60, 50, BLUE)])
    images = [still.copy() for _ in range(20)]
    if change == "flash":
        images[10] = np.clip(still.astype(float) * 1.5, 0, 255).astype(np.uint8)
    elif change == "fast pan":
        wide = cv2.resize(still, (700, 240))
        images = [wide[:, 12 * i : 12 * i + HW[1]].copy() for i in range(20)]
    else:
        noise = np.random.default_rng(0).normal(0, 12, still.shape)
        images[10] = np.clip(still + noise, 0, 255).astype(np.uint8)
    assert not [e for e in run(images)[1] if e.kind == "cut"]


def test_the_contract() -> None:
    broken = Event(stream_id="test", time_ns=10**10, kind="input_error", data={"reason": "x"})
    items: list[Frame | Event] = [*frames_of(moving(24)), broken]
    made = check_operator(lambda: Track(work_height_px=240), items)
    assert sum(isinstance(r, TrackedFrame) for r in made) == 24
    assert any(isinstance(r, Event) and r.id == broken.id for r in made)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="sam_type"):
        Track(sam_type="vit_x")
    pytest.importorskip("model.sam.segmenter")
    with pytest.raises(WeightsError, match="no such SAM checkpoint"):
        Track(sam="nowhere.pth").setup()


def test_it_says_once_a_shot_that_there_are_too_many_to_follow() -> None:
    operator = Track(work_height_px=240, max_tracks=1)
    shots = [*moving(12), *(picture(9, [(40, 40, 60, 60, RED), (220, 90, 60, 50, BLUE)]),) * 12]
    made = [r for frame in frames_of(shots) for r in operator.process([frame])]
    assert max(len(r.regions) for r in made if isinstance(r, TrackedFrame)) == 1
    full = [r for r in made if isinstance(r, Event) and r.kind == "tracks_full"]
    (cut,) = [r for r in made if isinstance(r, Event) and r.kind == "cut"]
    assert [e.time_ns < cut.time_ns for e in full] == [True, False]
    assert all("than 1 tracks" in e.data["reason"] for e in full)
    # two are no more than two
    assert not [e for e in run(moving(12))[1] if e.kind == "tracks_full"]
