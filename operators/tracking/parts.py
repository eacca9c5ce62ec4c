"""Which region is a part of another: it touches a larger one, and moves as one with it.

A head, a handle, a wheel is closed off by edges of its own. Found apart from its body it would be
an object that nobody sees as one: it is not shown as a track, its pixels are shown with the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from operators.tracking.candidate import meeting
from operators.tracking.track_state import Track

_RIM_PX = 3
_CONTACT_PX = 3
_SLOWEST_PX = 0.1  # a frame; what rests says nothing about what belongs together
_ROUNDS = 4


def relate(tracks: Sequence[Track]) -> None:
    """One round: count how long small ones have moved as one with what they touch.

    A part is `part_of` its whole from the fourth round in a row on, and its own again when it no
    longer moves with it, or when the whole is gone.
    """
    seen = [t for t in tracks if t.visible and t.area_px]
    touching: dict[int, list[Track]] = {}
    for i, j in meeting([_Widened(t) for t in seen], seen):
        small, large = seen[i], seen[j]
        if small.area_px < 0.6 * large.area_px and large.part_of is None and _touch(small, large):
            touching.setdefault(i, []).append(large)
    for i, small in enumerate(seen):
        wholes = touching.get(i, [])
        if small.part_of is not None and small.part_of not in wholes:
            # for a moment nothing shows that they touch
            if not (small.part_of in seen and _as_one(small, small.part_of, slack=3)):
                small.part_of, small.together = None, 0
            continue
        moving = [w for w in wholes if _as_one(small, w, slack=1 + 2 * (small.part_of is w))]
        small.undecided = bool(moving) and small.part_of is None
        small.together = small.together + 1 if moving else 0
        if small.together >= _ROUNDS and moving:
            small.part_of = max(moving, key=lambda w: w.area_px)
        elif small.part_of is not None and not moving:
            small.part_of = None


class _Widened:
    """A track's box with a rim; its pixels are not asked for."""

    def __init__(self, track: Track) -> None:
        self.inside, self.area_px = track.inside, track.area_px
        self.box = track.padded(_RIM_PX)


def _touch(small: Track, large: Track) -> bool:
    box = small.padded(_RIM_PX)
    kernel = np.ones((2 * _RIM_PX + 1,) * 2, np.uint8)
    near = cv2.dilate(small.window(box), kernel) & large.window(box)
    return int(cv2.countNonZero((near > 127).view(np.uint8))) >= _CONTACT_PX


def _as_one(small: Track, large: Track, *, slack: float) -> bool:
    """Whether both move against the resting world, at nearly the same velocity."""
    speed = float(np.hypot(*large.velocity))
    apart = float(np.hypot(*(small.velocity - large.velocity)))
    if slack > 1:  # once related, resting does not part them
        return apart < slack * (0.06 + 0.2 * speed)
    return speed > _SLOWEST_PX and apart < 0.06 + 0.2 * speed
