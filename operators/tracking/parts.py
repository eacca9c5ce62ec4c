"""Which region is a part of another: it touches a larger one, and moves as one with it.

A head, a handle, a wheel is closed off by edges of its own. Found apart from its body it would be
an object that nobody sees as one: it is not shown as a track, its pixels are shown with the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import Candidate, common_px, meeting
from operators.tracking.track_state import Beside, Track

Vector = NDArray[np.float64]

_RIM_PX, _WIDE_RIM_PX = 3, 8
_CONTACT_PX = 3
_SLOWEST_PX = 0.1  # a frame; what rests says nothing about what belongs together
_ROUNDS = 4
_SMALL = 0.25  # of the area of what it touches: more likely a part than a thing of its own
_PATIENCE_NS = 2_000_000_000  # for which such a one is watched before it is a thing of its own
_WAY_PX = 2.0  # which both have gone; flow is too coarse for what goes it slowly
_LEFT_PX = 2.0
_THICK_PX = 11
_PAN_ERROR = 0.05  # of the camera's way


def relate(tracks: Sequence[Track], time_ns: int, panned: Vector) -> None:
    """One round: count how long small ones have moved as one with what they touch.

    A part is `part_of` its whole from the fourth round in a row on, or from when both have gone the
    same way, however slowly; and its own again when it no longer moves with it, or when the whole
    is gone.

    Args:
        panned: where the camera has panned to, (2,) in pixels of `Track.place`, which may be off by
            a part of it.
    """
    seen = [t for t in tracks if t.visible and t.area_px]
    touching: dict[int, list[Track]] = {}
    for i, j in meeting([_Widened(t) for t in seen], seen):
        small, large = seen[i], seen[j]
        if small.area_px < 0.6 * large.area_px and large.part_of is None and _touch(small, large):
            touching.setdefault(i, []).append(large)
    for i, small in enumerate(seen):
        wholes = touching.get(i, [])
        if small.part_of is not None:
            # for a moment nothing may show that they touch
            if small.part_of not in seen or _has_left(small, small.part_of):
                small.part_of, small.together, small.beside = None, 0, None
            elif small.beside is None:
                small.beside = _beside(small, small.part_of, panned)
            continue
        moving = [w for w in wholes if _as_one(small, w, slack=1)]
        tiny = [w for w in wholes if _is_tiny(small, w)]
        along = _gone_along(small, tiny, panned)
        small.together = small.together + 1 if moving else 0
        if along is not None or (small.together >= _ROUNDS and moving):
            whole = along or max(moving, key=lambda w: w.area_px)
            small.part_of, small.beside = whole, _beside(small, whole, panned)
        young = not small.alone and time_ns - small.first_ns < _PATIENCE_NS
        small.undecided = small.part_of is None and bool(moving or (young and tiny))


def complete(piece: Track, whole: Candidate, tracks: Sequence[Track]) -> None:
    """Make a track that has no id yet the whole that it is a piece of, with what else lies in it;
    what has an id there has it first."""
    inside = [
        t
        for t in tracks
        if t is not piece and t.visible and common_px(t, whole) > 0.5 * max(1, t.area_px)
    ]
    if any(t.track_id for t in inside):
        return
    for other in inside:
        other.visible, other.merged_into = False, piece
    piece.set_mask(whole.inside * np.uint8(255), *whole.box[:2])
    piece.usual_area_px, piece.strength = whole.area_px, whole.strength


def leader(track: Track) -> Track | None:
    """The larger track that a thin one goes with as long as nothing says otherwise: optical flow
    does not see what is thinner than its patches."""
    if track.track_id or not track.visible:  # the most, and the first question
        return None
    beside = track.beside
    large = track.part_of or (beside.large if beside is not None and track.undecided else None)
    if large is None or not large.visible:
        return None
    if not _is_tiny(track, large):
        return None
    inside = cv2.copyMakeBorder(track.inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    kernel = np.ones((_THICK_PX, _THICK_PX), np.uint8)
    return None if cv2.countNonZero(cv2.erode(inside, kernel)) else large


def without_crumbs(
    candidates: Sequence[Candidate], tracks: Sequence[Track], least_area_px: int
) -> list[Candidate]:
    """Candidates without those that are too small, unless they may be parts: near a much larger
    track."""
    seen = [t for t in tracks if t.visible and t.area_px]
    beside = {
        j
        for i, j in meeting([_Widened(t) for t in seen], candidates)
        if candidates[j].area_px < _SMALL * seen[i].area_px
    }
    return [c for j, c in enumerate(candidates) if c.area_px >= least_area_px or j in beside]


class _Widened:
    """A track's box with a rim; its pixels are not asked for."""

    def __init__(self, track: Track) -> None:
        self.inside, self.area_px = track.inside, track.area_px
        self.box = track.padded(_WIDE_RIM_PX)


def _is_tiny(small: Track, large: Track) -> bool:
    """Whether it is more likely a part than a thing of its own, which what has an id is."""
    return not small.track_id and small.area_px < _SMALL * large.area_px


def _touch(small: Track, large: Track) -> bool:
    rim = int(np.clip(0.12 * large.area_px**0.5, _RIM_PX, _WIDE_RIM_PX))
    box = small.padded(_WIDE_RIM_PX)
    shown = large.window(box)
    if _is_tiny(small, large):  # what joins them may be too thin to be seen
        rim = int(np.clip(0.25 * large.area_px**0.5, _RIM_PX, _WIDE_RIM_PX))
        hull = cv2.convexHull(cv2.findNonZero(large.inside)) + np.subtract(large.box[:2], box[:2])
        cv2.fillConvexPoly(shown, hull.astype(np.int32), 255)
    near = cv2.dilate(small.window(box), np.ones((2 * rim + 1,) * 2, np.uint8)) & shown
    return int(cv2.countNonZero((near > 127).view(np.uint8))) >= _CONTACT_PX


def _as_one(small: Track, large: Track, *, slack: float) -> bool:
    """Whether both move against the resting world, at nearly the same velocity."""
    speed = float(np.hypot(*large.velocity))
    apart = float(np.hypot(*(small.velocity - large.velocity)))
    if slack > 1:  # once related, resting does not part them
        return apart < slack * (0.06 + 0.2 * speed)
    return speed > _SLOWEST_PX and apart < 0.06 + 0.2 * speed


def _gone_along(small: Track, wholes: Sequence[Track], panned: Vector) -> Track | None:
    """The larger one with which it has gone the same way since they were first seen to touch."""
    beside = small.beside
    if beside is None or not any(beside.large is w for w in wholes):
        large = max(wholes, key=lambda w: w.area_px, default=None)
        small.beside = None if large is None else _beside(small, large, panned)
        return None
    way = beside.large.place - beside.large_place
    way_px = float(np.hypot(*way))
    apart_px = float(np.hypot(*(small.place - beside.small_place - way)))
    least_px = _WAY_PX + _PAN_ERROR * float(np.hypot(*(panned - beside.panned)))
    if apart_px > least_px:
        small.beside, small.alone = _beside(small, beside.large, panned), True
    return beside.large if way_px > least_px and apart_px < 0.25 * way_px else None


def _beside(small: Track, large: Track, panned: Vector) -> Beside:
    return Beside(large, small.place, large.place, panned)


def _has_left(small: Track, whole: Track) -> bool:
    """Whether a part no longer moves with its whole, and lies elsewhere than when it did."""
    if small.beside is None or _as_one(small, whole, slack=3):
        return False
    way = (small.place - small.beside.small_place) - (whole.place - small.beside.large_place)
    return bool(np.hypot(*way) > _LEFT_PX + 0.15 * small.area_px**0.5)
