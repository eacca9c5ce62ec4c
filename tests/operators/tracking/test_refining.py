"""A segmenter is asked on a budget, and believed where flow and edges agree."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import colour_codes, histogram
from operators.tracking.refining import Refiner
from operators.tracking.track_state import Track

HW = (80, 120)
SECOND = 10**9


def picture() -> NDArray[np.uint8]:
    image = np.full((*HW, 3), 60, np.uint8)
    image[20:50, 30:70] = (210, 60, 50)
    return image


def box_mask(x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    mask = np.zeros(HW, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def track(mask: NDArray[np.uint8]) -> Track:
    look = histogram(colour_codes(picture()), mask > 0)
    return Track(
        soft=mask * np.uint8(255), left=0, top=0, hw=HW, look=look, strength=50.0, first_ns=0,
        last_ns=0,
    )  # fmt: skip


def shown(known: Track) -> NDArray[np.bool_]:
    return known.window((0, 0, HW[1], HW[0])) > 127


class Says:
    """Answers with masks that are given, and counts what it is asked."""

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        self.mask = mask > 0
        self.refined, self.searched = 0, 0

    def refine(self, image: Any, boxes: Any, masks: Any) -> NDArray[np.bool_]:
        assert masks.shape == (len(boxes), *HW)
        self.refined += len(boxes)
        return np.stack([self.mask] * len(boxes))

    def propose(self, image: Any) -> list[NDArray[np.bool_]]:
        self.searched += 1
        return [self.mask, np.zeros(HW, bool)]


def refine(segmenter: Says, refiner: Refiner, tracks: list[Track], time_ns: int) -> int:
    return refiner.refine(segmenter, picture(), tracks, time_ns)  # type: ignore[arg-type]


def test_a_better_outline_is_taken() -> None:
    rough = track(box_mask(27, 18, 68, 52))
    assert refine(Says(box_mask(30, 20, 70, 50)), Refiner(SECOND), [rough], 0) == 1
    assert (shown(rough) == box_mask(30, 20, 70, 50)).all()


def test_what_disagrees_is_not() -> None:
    right = box_mask(30, 20, 70, 50)
    for wrong in (
        box_mask(30, 20, 45, 50),
        box_mask(28, 18, 72, 52),
        box_mask(0, 0, 1, 1),
        right * 0,
    ):
        known = track(right)
        assert refine(Says(wrong), Refiner(SECOND), [known], 0) == 0
        assert (shown(known) == right).all()


def test_the_budget_holds() -> None:
    segmenter, refiner = Says(box_mask(30, 20, 70, 50)), Refiner(SECOND)
    old, new = track(box_mask(30, 20, 70, 50)), track(box_mask(30, 20, 70, 50))
    for frame in range(50):
        time_ns = frame * SECOND // 25
        tracks = [old] if frame < 10 else [old, new]
        found = refiner.proposals(segmenter, picture(), time_ns)  # type: ignore[arg-type]
        assert [candidate.sure for candidate in found] in ([], [True])
        refine(segmenter, refiner, tracks, time_ns)
        refiner = pickle.loads(pickle.dumps(refiner))
    # at 0 s and 1 s, and the new one at 0.4 s and 1.4 s
    assert segmenter.refined == 4
    assert segmenter.searched == 2
    refiner.forget()
    refiner.proposals(segmenter, picture(), 2 * SECOND - 1)  # type: ignore[arg-type]
    assert segmenter.searched == 3
