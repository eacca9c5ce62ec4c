"""Parts named with their wholes, and tracks that merge and split, on pictures of known truth."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from operators.track import Track
from streamer.records import Event, TrackedFrame
from streamer.testing import frames_of

HW = (180, 320)
RED, BLUE, DARK = (200, 30, 30), (30, 60, 210), (25, 25, 25)
Box = tuple[int, int, int, int, tuple[int, int, int]]


def picture(boxes: list[Box]) -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = rng.normal(150, 12, (6, 10, 3)).astype(np.float32)
    image = cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_CUBIC)
    for x, y, w, h, colour in boxes:
        cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), colour, -1)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def run(
    boxes_at: Callable[[int], list[Box]], n: int, *, parts: bool = False
) -> tuple[list[TrackedFrame], list[Event]]:
    operator = Track(work_height_px=180, parts=parts)
    images = [picture(boxes_at(i)) for i in range(n)]
    made = [r for frame in frames_of(images) for r in operator.process([frame])]
    made += operator.flush("test")
    events = [r for r in made if isinstance(r, Event)]
    return [r for r in made if isinstance(r, TrackedFrame)], events


def umbrella(i: int, speed: float) -> list[Box]:
    """A dome, and a handle below it that does not touch it; between them nothing can be seen."""
    x = 60 + round(speed * i)
    return [(x, 60, 60, 30, RED), (x + 26, 95, 7, 28, DARK)]


@pytest.mark.parametrize("speed", [2.0, 0.08])
def test_a_part_has_its_own_region_that_names_the_whole(speed: float) -> None:
    frames, events = run(lambda i: umbrella(i, speed), 70, parts=True)
    last = frames[-1]
    (whole,) = [r for r in last.regions if r.part_of is None]
    (part,) = [r for r in last.regions if r.part_of is not None]
    assert part.part_of == whole.track_id
    dome, handle = umbrella(69, speed)
    for region, truth in ((whole, [dome, handle]), (part, [handle])):
        mask = np.zeros(HW, bool)
        for x, y, w, h, _ in truth:
            mask[y : y + h, x : x + w] = True
        found = region.mask.decode().astype(bool)
        assert (found & mask).sum() / (found | mask).sum() > 0.8
    starts = [e.track_id for e in events if e.kind == "track_start"]
    assert sorted(starts) == [whole.track_id, part.track_id]
    # the handle never was a thing of its own
    assert all(r.part_of for f in frames for r in f.regions if r.track_id == part.track_id)


def test_without_parts_only_the_whole_is_shown() -> None:
    frames, events = run(lambda i: umbrella(i, 0.08), 70)
    assert [e.kind for e in events] == ["track_start", "track_end", "stream_end"]
    assert {r.part_of for f in frames for r in f.regions} == {None}
    assert frames[-1].regions[0].box_xyxy[3] == pytest.approx(123, abs=2)


def test_a_small_thing_at_rest_beside_a_larger_one_is_its_own_after_a_while() -> None:
    frames, _ = run(lambda _: umbrella(0, 0), 70)
    assert [len(frames[i].regions) for i in (30, 69)] == [1, 2]


def parting(i: int) -> list[Box]:
    """Two things side by side move as one, then one goes down and the other on."""
    x, away = 60 + 2 * i, max(0, i - 40)
    return [(x, 40, 50, 36, RED), (x + 50, 40 + 2 * away, 34, 36, BLUE)]


def test_what_parts_becomes_two_tracks() -> None:
    frames, events = run(parting, 80)
    (split,) = [e for e in events if e.kind == "track_split"]
    # they touch until frame 58
    assert 58 * 40_000_000 < split.time_ns < 75 * 40_000_000
    starts = {e.track_id for e in events if e.kind == "track_start"}
    assert starts == {split.track_id, split.data["other_track_id"]}
    before = frames[35].regions
    assert [r.track_id for r in before] == [split.data["other_track_id"]]
    boxes = {r.track_id: r.box_xyxy for r in frames[-1].regions}
    for key, (x, y, w, h, _) in zip(
        (split.data["other_track_id"], split.track_id), parting(79), strict=True
    ):
        np.testing.assert_allclose(boxes[key], (x, y, x + w, y + h), atol=3)


def test_what_is_covered_in_the_middle_stays_one() -> None:
    def passing(i: int) -> list[Box]:
        return [(10 + 3 * i, 90, 90, 36, RED), (160, 20, 20, 150, (240, 240, 230))]

    frames, events = run(passing, 70)
    assert not [e for e in events if e.kind == "track_split"]
    x = 10 + 3 * 69
    mine = [r for r in frames[-1].regions if r.box_xyxy[0] > x - 5]
    assert len(mine) == 1


def test_two_tracks_of_one_thing_merge() -> None:
    """A top and a bottom of like glass are seen first, its faint sides come out later."""

    def glass(i: int) -> list[Box]:
        side = (128, 128, 128) if i >= 20 else None
        boxes: list[Box] = [(100, 40, 40, 130, side)] if side else []
        return [*boxes, (100, 40, 40, 15, (30, 40, 200)), (100, 140, 40, 30, (70, 90, 160))]

    frames, events = run(glass, 60)
    (merge,) = [e for e in events if e.kind == "track_merge"]
    end = next(e for e in events if e.kind == "track_end")
    assert (end.track_id, end.time_ns) == (merge.track_id, merge.time_ns)
    assert events.index(end) == events.index(merge) + 1
    assert [r.track_id for r in frames[-1].regions] == [merge.data["other_track_id"]]
    assert frames[-1].regions[0].box_xyxy == pytest.approx((100, 40, 140, 170), abs=3)
