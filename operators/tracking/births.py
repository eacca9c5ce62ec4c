"""What a new track has to show before it gets an id.

Several proposals in a row say that something is there; whether it is a thing, and not a piece of
the ground, is said by where it ends, and by its motion.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import outlined_share
from operators.tracking.track_state import Track

_OUTLINED = 0.7
_MOST_CUT, _CUT = 0.33, 0.05
# 8-bit steps
_STRONG_EDGE, _FAINT_EDGE, _CLEAR_EDGE, _FAINTEST_EDGE, _TEXTURE_EDGE = 80.0, 55.0, 45.0, 30.0, 10
_PLAIN, _RIM_PX = 0.19, 3
_WAY_PX, _PAN_ERROR = 3.0, 0.05  # of the camera's way
_WAY = 0.1  # of its length in that direction, which a mask may gain or lose
# a frame; flow goes astray by less, or for less than so many rounds; at the border, where things
# come and go, by more
_RESTS_PX, _ROUNDS, _FAST_PX = 0.6, 3, 4.0
# points of an outline; 8-bit steps by which colours along it vary, and of these how much is left
_FEWEST, _VARIES, _VEILED = 12, 4.0, 0.9
MOVED_ROUNDS = 8  # in which all that moves is taken for a thing
_DARTS = 0.6  # of its own size, a frame


def observe(track: Track, edges: NDArray[np.uint8]) -> None:
    """One round: see whether a track that has no id yet moves, and whether it looks like a patch of
    the ground: a wall, a field, a shadow. They are plain, or their outline is hardly there. What
    once looked so is not taken for more because something passes in front of it.

    Args:
        edges: HxW uint8, see `proposals.edge_strength`.
    """
    moves = float(np.hypot(*track.velocity)) > _RESTS_PX
    track.moving = track.moving + 1 if moves else 0
    hardly_there = track.strength < _FAINTEST_EDGE and not moves
    track.plain |= hardly_there or _is_plain(track, edges)


def hits_wanted(track: Track, usual: int) -> int:
    """How often it has to be proposed: twice as often as `usual` when it darts, for the flow loses
    most of such, as a ball, as soon as they are found."""
    darts = float(np.hypot(*track.velocity)) > _DARTS * track.area_px**0.5
    return usual * 2 if darts else usual


def is_thing(
    track: Track,
    image_rgb: NDArray[np.uint8],
    edges: NDArray[np.uint8],
    panned: NDArray[np.float64],
) -> bool:
    """Whether its outline lies on edges, and it is no patch of the ground: those rest, and are
    faint, or a shadow through which the ground shows; of one that the picture's border cuts little
    can be seen. What cannot be told yet may be told later: when more of it comes into view, or when
    it moves.

    Args:
        edges: as for `observe`.
        panned: where the camera has panned to, (2,) in pixels of `Track.place`.
    """
    if outlined_share(track, edges) < _OUTLINED * (1 - track.cut_share()):
        return False
    if is_fast(track):
        return True
    if not _stands_out(track, panned):
        return False
    track.veil |= is_veil(track, image_rgb)
    return not track.veil or track.moving >= MOVED_ROUNDS


def _stands_out(track: Track, panned: NDArray[np.float64]) -> bool:
    cut = track.cut_share()
    if cut < _CUT:
        return not (track.plain and track.strength < _FAINT_EDGE) or _has_gone(track, panned)
    if track.plain and track.strength < _STRONG_EDGE:
        return False
    return track.moving >= _ROUNDS or (cut < _MOST_CUT and track.strength > _CLEAR_EDGE)


def is_veil(track: Track, image_rgb: NDArray[np.uint8]) -> bool:
    """Whether what lies outside its outline goes on inside, dimmed, as through a shadow or a pane.

    Args:
        image_rgb: HxWx3.
    """
    pad_px = 3 * _RIM_PX
    padded = cv2.copyMakeBorder(track.inside, *[pad_px] * 4, cv2.BORDER_CONSTANT, value=0)
    outlines = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    x, y = max(outlines, key=len)[:, 0].T
    hill = cv2.GaussianBlur(padded * np.float32(1), (0, 0), _RIM_PX)
    inwards = np.stack([cv2.Sobel(hill, cv2.CV_32F, *d)[y, x] for d in ((1, 0), (0, 1))], axis=1)
    inwards *= _RIM_PX / np.maximum(1e-6, np.hypot(*inwards.T))[:, None]
    places = np.stack([x, y], axis=1) + np.subtract(track.box[:2], pad_px)
    here, there = (np.rint(places + way).astype(int) for way in (inwards, -inwards))
    known = np.all((np.minimum(here, there) >= 0) & (np.maximum(here, there) < track.hw[::-1]), 1)
    if known.sum() < _FEWEST:
        return False
    smooth = cv2.blur(image_rgb, (3, 3))
    colours = [smooth[at[known, 1], at[known, 0]].astype(float) for at in (here, there)]
    within, without, apart = (
        float(np.sqrt(c.var(axis=0).mean())) for c in (*colours, colours[0] - colours[1])
    )
    return without > _VARIES and max(within, apart) < _VEILED * without


def is_fast(track: Track) -> bool:
    """Whether it goes so fast, and for so many rounds, that it is surely a thing."""
    return track.moving >= _ROUNDS and float(np.hypot(*track.velocity)) > _FAST_PX


def is_ground(track: Track) -> bool:
    """Whether it was seen often enough and is still not taken for a thing, for its outline is
    faint: what lies on it is no part of it."""
    return not track.track_id and track.hits >= _ROUNDS and track.strength < _FAINT_EDGE


def _is_plain(track: Track, edges: NDArray[np.uint8]) -> bool:
    """Whether there are hardly any edges inside."""
    x0, y0, x1, y1 = track.box
    padded = cv2.copyMakeBorder(track.inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    core = cv2.erode(padded, np.ones((2 * _RIM_PX + 1,) * 2, np.uint8))[1:-1, 1:-1] > 0
    return not core.any() or bool((edges[y0:y1, x0:x1][core] >= _TEXTURE_EDGE).mean() < _PLAIN)


def _has_gone(track: Track, panned: NDArray[np.float64]) -> bool:
    """Whether it has left the place where it was first seen. Its mask and the flow must agree on
    the way: masks of the ground jump, and flow creeps."""
    if track.began is None:
        return False
    way, flowed = track.place - track.began.place, track.flowed - track.began.flowed
    panned_px = float(np.hypot(*(panned - track.began.panned)))
    way_px, apart_px = float(np.hypot(*way)), float(np.hypot(*(way - flowed)))
    long_px = float(np.abs(way) @ np.subtract(track.box[2:], track.box[:2])) / max(1.0, way_px)
    least_px = max(_WAY_PX + _PAN_ERROR * panned_px, _WAY * long_px)
    return way_px > least_px and apart_px < 0.5 * way_px
