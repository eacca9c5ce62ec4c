"""What touches a larger thing and moves as one with it is a part of it."""

from __future__ import annotations

import numpy as np
import pytest

from operators.tracking.appearance import BINS
from operators.tracking.parts import relate
from operators.tracking.resize import full_size
from operators.tracking.track_state import Track

HW = (120, 160)


def track(x: int, y: int, w: int, h: int, velocity: tuple[float, float]) -> Track:
    look = np.zeros(BINS, np.float32)
    look[7] = 1
    made = Track(
        soft=np.full((h, w), 255, np.uint8), left=x, top=y, hw=HW, look=look, strength=50.0,
        first_ns=0, last_ns=0,
    )  # fmt: skip
    made.velocity = np.array(velocity)
    return made


def rounds(n: int, *tracks: Track) -> None:
    """Each two frames after the other, by a camera at rest."""
    for i in range(n):
        for each in tracks:
            each.place = each.place + 2 * each.velocity
        relate(tracks, i * 80_000_000, np.zeros(2))


def test_a_head_that_moves_with_its_body_is_shown_with_it() -> None:
    body, head = track(40, 50, 40, 50, (1.0, 0.0)), track(52, 32, 16, 17, (1.05, 0.0))
    rounds(1, body, head)
    assert head.undecided
    assert head.part_of is None
    rounds(3, body, head)
    assert head.part_of is body
    assert body.part_of is None
    (mask,) = full_size([body], (240, 320), [head])
    assert mask.area_px == pytest.approx(4 * (40 * 50 + 16 * 17), rel=0.05)
    assert mask.box_xyxy[1] == pytest.approx(64, abs=1)


@pytest.mark.parametrize(
    ("velocity", "x"), [((-1.0, 0.0), 52), ((1.0, 0.6), 52), ((1.0, 0.0), 120)]
)
def test_what_moves_by_itself_or_does_not_touch_is_no_part(
    velocity: tuple[float, float], x: int
) -> None:
    body, other = track(40, 50, 40, 50, (1.0, 0.0)), track(x, 32, 16, 17, velocity)
    rounds(10, body, other)
    assert other.part_of is None
    assert not other.undecided


def test_things_at_rest_are_not_joined() -> None:
    table, cup = track(40, 50, 40, 50, (0.0, 0.0)), track(52, 32, 16, 17, (0.0, 0.0))
    rounds(10, table, cup)
    assert cup.undecided  # for two seconds: it is small
    rounds(30, table, cup)
    assert cup.part_of is None
    assert not cup.undecided


def test_a_part_that_leaves_its_whole_is_its_own() -> None:
    hand, bottle = track(40, 50, 40, 50, (1.0, 0.0)), track(52, 32, 16, 17, (1.0, 0.0))
    rounds(4, hand, bottle)
    assert bottle.part_of is hand
    hand.velocity = bottle.velocity = np.zeros(2)
    rounds(1, hand, bottle)
    assert bottle.part_of is hand  # they only stopped
    hand.velocity = np.array((-3.0, 0.0))
    rounds(1, hand, bottle)
    assert bottle.part_of is None
