"""What a segmenter adds to tracking: proposals, and outlines that fit better.

It is asked on a budget, because a look at a picture costs more than following everything in it,
and is believed only where it agrees with what the flow and the edges say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.tracking.candidate import Candidate, make_candidate, overlap
from operators.tracking.proposals import edge_strength
from operators.tracking.track_state import Track

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter

U8 = NDArray[np.uint8]
_AGREES = 0.6


@dataclass(eq=False)
class Refiner:
    """Asks about one stream; times are media time. Picklable without its segmenter.

    Args:
        every_ns: from one search of everything to the next, and between two looks at a track.
    """

    every_ns: int
    _searched_ns: int | None = field(default=None)

    def proposals(self, segmenter: Segmenter, image_rgb: U8, time_ns: int) -> list[Candidate]:
        """Everything in the picture, when it is time to search again."""
        if self._searched_ns is not None and time_ns - self._searched_ns < self.every_ns:
            return []
        self._searched_ns = time_ns
        edges = edge_strength(image_rgb)
        made = (make_candidate(m.view(np.uint8), edges) for m in segmenter.propose(image_rgb))
        # the next search is long after what islands and motion need to be seen several times
        return [replace(candidate, sure=True) for candidate in made if candidate is not None]

    def forget(self) -> None:
        """A new shot: search at once."""
        self._searched_ns = None

    def refine(
        self, segmenter: Segmenter, image_rgb: U8, tracks: Sequence[Track], time_ns: int
    ) -> int:
        """Better outlines for new tracks and for those not asked about for long; how many."""
        due = [t for t in tracks if t.area_px and self._is_due(t, time_ns)]
        if not due:
            return 0
        height, width = image_rgb.shape[:2]
        boxes = np.array([track.box for track in due], np.float32)
        known = np.stack([track.window((0, 0, width, height)) > 127 for track in due])
        edges, taken = edge_strength(image_rgb), 0
        for track, mask in zip(due, segmenter.refine(image_rgb, boxes, known), strict=True):
            track.refined_ns = time_ns
            fine = make_candidate(mask.view(np.uint8), edges)
            coarse = make_candidate(track.inside, edges, *track.box[:2])
            # it may jump to a part or to what lies behind: the flow and the edges have a say
            if fine is None or coarse is None or fine.strength < coarse.strength:
                continue
            if overlap(fine, coarse) >= _AGREES:
                track.set_mask(fine.inside * np.uint8(255), *fine.box[:2])
                taken += 1
        return taken

    def _is_due(self, track: Track, time_ns: int) -> bool:
        return track.refined_ns is None or time_ns - track.refined_ns >= self.every_ns
