"""A segmenter is asked on a budget, and believed where flow and edges agree."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.synthetic.film import Film
from operators.segmenting import load_segmenter
from operators.tracking.appearance import colour_codes, histogram
from operators.tracking.candidate import make_candidate
from operators.tracking.parts import complete
from operators.tracking.proposals import edge_strength
from operators.tracking.refining import Refiner
from operators.tracking.resize import shrunk
from operators.tracking.track_state import Track

HW = (80, 120)
SECOND = 10**9
THING, LEFT_HALF = (30, 20, 70, 50), (30, 20, 50, 50)


def picture() -> NDArray[np.uint8]:
    image = np.full((*HW, 3), 60, np.uint8)
    image[20:50, 30:70] = (210, 60, 50)
    return image


def box_mask(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    mask = np.zeros(HW, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def track(mask: NDArray[np.uint8], image: NDArray[np.uint8] | None = None) -> Track:
    image = picture() if image is None else image
    look = histogram(colour_codes(image), mask > 0)
    return Track(
        soft=mask * np.uint8(255), left=0, top=0, hw=mask.shape, look=look, strength=50.0,
        first_ns=0, last_ns=0, hits=3,
    )  # fmt: skip


def shown(known: Track) -> NDArray[np.bool_]:
    return known.window((0, 0, HW[1], HW[0])) > 127


class Says:
    """Answers with a mask that is given and how good it is, and notes what it is asked."""

    def __init__(self, mask: NDArray[np.uint8], quality: float = 0.9) -> None:
        self.mask, self.quality = mask > 0, quality
        self.refined, self.boxes = 0, 0
        self.points: list[NDArray[np.float64]] = []

    def refine(self, image: Any, boxes: Any, masks: Any) -> NDArray[np.bool_]:
        assert masks.shape == (len(boxes), *HW)
        self.refined += len(boxes)
        return np.stack([self.mask] * len(boxes))

    def in_boxes(self, image: Any, boxes: Any, points: Any = None) -> tuple[Any, Any]:
        self.boxes += len(boxes)
        self.inside = points
        three = np.stack([self.mask, np.zeros(HW, bool), np.zeros(HW, bool)])
        return np.stack([three] * len(boxes)), np.full((len(boxes), 3), self.quality)

    def everything(self, image: Any, points: NDArray[np.float64]) -> list[Any]:
        self.points.append(points)
        made = (self.mask, self.quality), (self.mask, 0.5), (np.zeros(HW, bool), 0.99)
        vague = np.zeros(HW, bool)
        vague[60:75, 5:25] = True  # nothing ends there
        made += ((vague, 0.9),)
        return [SimpleNamespace(mask=mask, predicted_iou=quality) for mask, quality in made]


def refiner(segmenter: Any, most_points: int = 8) -> Refiner:
    return Refiner(SECOND, most_points, segmenter)


def test_a_better_outline_is_taken() -> None:
    rough = track(box_mask(27, 18, 68, 52))
    assert refiner(Says(box_mask(*THING))).refine(picture(), [rough], 0) == 1
    assert (shown(rough) == box_mask(*THING)).all()


def test_what_disagrees_is_not() -> None:
    right = box_mask(*THING)
    for wrong in (
        box_mask(30, 20, 45, 50),
        box_mask(28, 18, 72, 52),
        box_mask(0, 0, 1, 1),
        right * 0,
    ):
        known = track(right)
        assert refiner(Says(wrong)).refine(picture(), [known], 0) == 0
        assert (shown(known) == right).all()


def test_a_track_is_refined_when_it_is_new_and_in_pictures_that_are_searched() -> None:
    segmenter = Says(box_mask(*THING))
    asking = refiner(segmenter)
    old, new = track(box_mask(*THING)), track(box_mask(*THING))
    asked = []
    for frame in range(50):
        time_ns = frame * SECOND // 25
        if frame % 5 == 0:
            asking.search(picture(), time_ns, [])
        asking.refine(picture(), [old] if frame < 12 else [old, new], time_ns)
        asking = pickle.loads(pickle.dumps(asking))
        assert asking.segmenter is None
        asking.segmenter = segmenter  # type: ignore[assignment]
        asked.append(segmenter.refined)
    # the old one at once, and at 0.2 s and 1.2 s; the new one at 0.48 s and 1.2 s
    wanted = [(0, 1), (5, 1), (12, 1), (30, 2)]
    assert asked == [sum(n for at, n in wanted if frame >= at) for frame in range(50)]


def test_objects_are_searched_for_in_the_second_round_of_a_shot_and_then_by_and_by() -> None:
    segmenter = Says(box_mask(*THING))
    asking = refiner(segmenter)
    found = [asking.search(picture(), frame * SECOND // 5, []) for frame in range(12)]
    assert [bool(f) for f in found] == [i in (1, 6, 11) for i in range(12)]
    # what is empty, ends nowhere, or is not held to be good is not proposed
    assert [[(c.box, c.sure) for c in f] for f in found if f] == [[(THING, True)]] * 3
    asking.forget()
    assert not asking.search(picture(), 3 * SECOND, [])
    assert asking.search(picture(), 3 * SECOND + 1, [])


def test_only_where_no_track_is_and_a_few_points_at_a_time() -> None:
    segmenter = Says(box_mask(*THING))
    asking = refiner(segmenter, most_points=20)
    known = [track(box_mask(0, 0, 120, 40))]
    for frame in range(12):
        asking.search(picture(), frame * SECOND, known)
    assert all(10 < len(points) <= 20 for points in segmenter.points)
    asked = np.concatenate(segmenter.points)
    assert asked[:, 1].min() > 40
    # by and by, every point of a grid below the track
    assert len(np.unique(asked, axis=0)) == 8 * len(np.unique(asked[:, 1])) > 20
    hidden = track(box_mask(0, 0, 120, 40))
    hidden.hide(0)
    asking.search(picture(), 20 * SECOND, [hidden])
    assert segmenter.points[-1][:, 1].min() < 40
    none = refiner(segmenter, most_points=0)
    assert not any(none.search(picture(), frame * SECOND, []) for frame in range(3))


@pytest.mark.parametrize(
    ("mask", "quality", "doubted"),
    [
        (box_mask(*THING), 0.3, False),  # poor, it says, but the very same
        (box_mask(0, 60, 20, 80), 0.9, False),  # something is there
        (box_mask(0, 60, 20, 80), 0.3, True),
    ],
)
def test_what_it_makes_nothing_of_is_doubted(
    mask: NDArray[np.uint8], quality: float, doubted: bool
) -> None:
    known = track(box_mask(*THING))
    assert (known in refiner(Says(mask, quality)).doubts(picture(), [known])) == doubted


def test_a_doubt_is_looked_into_again_and_ends_when_it_has_moved_for_long() -> None:
    segmenter = Says(box_mask(0, 60, 20, 80), 0.3)
    asking, known = refiner(segmenter), track(box_mask(*THING))
    for hits in range(3, 30):
        known.hits = hits
        assert asking.doubts(picture(), [known]) == [known]
    assert segmenter.boxes == 4  # after 3, 6, 12 and 24 proposals
    known.moving = 8
    assert not asking.doubts(picture(), [known])
    known.moving, known.hits, segmenter.quality = 0, 48, 0.9
    assert asking.doubts(picture(), [known])  # now it has to give the very same
    known.hits, segmenter.mask = 96, box_mask(*THING) > 0
    assert not asking.doubts(picture(), [known])


@pytest.mark.parametrize(
    ("mask", "quality", "whole"),
    [
        (box_mask(*THING), 0.9, True),
        (box_mask(*THING), 0.5, False),  # not sure of it
        (box_mask(*LEFT_HALF), 0.9, False),  # no larger
        (box_mask(50, 20, 80, 70), 0.9, False),  # something else
        (box_mask(25, 10, 90, 70), 0.9, False),  # nothing ends there
    ],
)
def test_a_piece_is_seen_with_its_whole(
    mask: NDArray[np.uint8], quality: float, whole: bool
) -> None:
    segmenter, piece = Says(mask, quality), track(box_mask(*LEFT_HALF))
    found = refiner(segmenter).wholes(picture(), [piece])
    assert [t for t, _ in found] == [piece] * whole
    assert all(c.box == THING for _, c in found)
    ((x, y),) = segmenter.inside
    assert abs(x - 40) < 6
    assert abs(y - 35) < 7  # as deep inside the piece as can be
    assert not refiner(segmenter).wholes(picture(), [])


def test_a_piece_becomes_its_whole_with_what_lies_in_it() -> None:
    whole = make_candidate(box_mask(*THING), edge_strength(picture()))
    assert whole is not None
    piece, other, away = (
        track(box_mask(*box)) for box in (LEFT_HALF, (52, 22, 68, 48), (90, 5, 99, 9))
    )
    complete(piece, whole, [piece, other, away])
    assert (shown(piece) == box_mask(*THING)).all()
    assert other.merged_into is piece
    assert not other.visible
    assert away.visible
    # what has an id already is not taken by what has none
    piece, other = track(box_mask(*LEFT_HALF)), track(box_mask(52, 22, 68, 48))
    other.track_id = 7
    complete(piece, whole, [piece, other])
    assert (shown(piece) == box_mask(*LEFT_HALF)).all()
    assert other.visible


def test_sam_nano_knows_the_whole_around_a_piece() -> None:
    asking, pieces, right = refiner(load_segmenter("nano", device="cpu")), 0, 0
    for seed in range(9720, 9732):
        frame = next(iter(Film(seed, seconds=2.0).frames()))
        image = shrunk(frame.image, 360)
        scale = image.shape[0] / frame.image.shape[0]
        for mask in frame.masks.values():
            thing = shrunk_mask(mask, scale, image.shape[:2])
            rows = np.flatnonzero(thing.any(axis=1))
            if thing.sum() < 400:
                continue
            stripe = thing.copy()  # a third of it
            stripe[: rows[len(rows) // 3]] = stripe[rows[2 * len(rows) // 3] :] = False
            piece = track(stripe.view(np.uint8), image)
            for _, whole in asking.wholes(image, [piece]):
                complete(piece, whole, [piece])
                seen = piece.window((0, 0, *image.shape[1::-1])) > 127
                right += (seen & thing).sum() > 0.7 * (seen | thing).sum()
                pieces += 1
    assert pieces > 10
    assert right > 0.9 * pieces


def test_sam_nano_doubts_what_is_no_thing_and_hardly_any_thing() -> None:
    asking = refiner(load_segmenter("nano", device="cpu"))
    things, others = [], []
    for seed in range(9700, 9706):
        frame = next(iter(Film(seed, seconds=2.0).frames()))
        image = shrunk(frame.image, 360)
        scale = image.shape[0] / frame.image.shape[0]
        masks = [shrunk_mask(mask, scale, image.shape[:2]) for mask in frame.masks.values()]
        masks = [mask for mask in masks if mask.sum() > 200]
        drawn = np.any(masks, axis=0)
        things += [(image, mask) for mask in masks]
        for mask in masks:  # the same outlines where nothing is
            away = np.roll(mask, (60, 90), (0, 1))
            if not (away & drawn).any():
                others.append((image, away))
    doubted = [
        sum(bool(asking.doubts(i, [track(m.view(np.uint8), i)])) for i, m in some) / len(some)
        for some in (things, others)
    ]
    assert min(len(things), len(others)) > 10
    assert doubted[0] < 0.1
    assert doubted[1] > 0.7


def shrunk_mask(mask: NDArray[np.bool_], scale: float, hw: tuple[int, ...]) -> NDArray[np.bool_]:
    rows = np.minimum((np.arange(hw[0]) / scale).astype(int), mask.shape[0] - 1)
    columns = np.minimum((np.arange(hw[1]) / scale).astype(int), mask.shape[1] - 1)
    return np.ascontiguousarray(mask[np.ix_(rows, columns)])
