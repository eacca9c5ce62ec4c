"""What a new track has to show before it gets an id.

Several proposals in a row say that something is there; whether it is a thing, and not a piece of
the ground, is said by where it ends, and by its motion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import outlined_share
from operators.tracking.track_state import Track

_OUTLINED = 0.7
_MOST_CUT, _CUT = 0.33, 0.05
_CLEAR_EDGE = 45.0  # 8-bit steps
_RESTS_PX = 0.6  # a frame; flow goes astray by less, or for less than so many rounds
_ROUNDS = 3


def observe(track: Track) -> None:
    """One round: count for how many in a row a track that has no id yet has been moving."""
    moves = float(np.hypot(*track.velocity)) > _RESTS_PX
    track.moving = track.moving + 1 if moves else 0


def is_closed_off(track: Track, edges: NDArray[np.uint8]) -> bool:
    """Whether its outline lies on edges; and, when it rests and the picture's border cuts it,
    whether most of its outline can be seen, and clearly. What cannot be told yet may be told later:
    when more of it comes into view, or when it moves."""
    cut = track.cut_share()
    if outlined_share(track, edges) < _OUTLINED * (1 - cut):
        return False
    if cut < _CUT or track.moving >= _ROUNDS:
        return True
    return cut < _MOST_CUT and track.strength > _CLEAR_EDGE
