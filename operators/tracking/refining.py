"""What a segmenter adds to tracking: objects that nothing else finds, doubts about what would
begin, and outlines that fit better.

It is asked on a budget, because a look at a picture costs more than following everything in it,
and is believed only where it agrees with what the flow and the edges say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.births import MOVED_ROUNDS, is_fast
from operators.tracking.candidate import (
    Candidate,
    common_px,
    make_candidate,
    outlined_share,
    overlap,
)
from operators.tracking.proposals import edge_strength
from operators.tracking.track_state import Track

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter

U8 = NDArray[np.uint8]
_GRID = 8  # points a side; those where nothing is known are asked about in turn
_RIM_PX = 4
_AGREES = 0.6
# what SAM holds its mask's IoU to be, and the share of an outline that lies on edges
_SURE, _OUTLINED = 0.66, 0.7
_MAKES_SOMETHING = 0.65  # IoU with one of its three masks
# a whole is so much larger than its piece, of which it holds so much, and looked for so far around
# it (of its longer side)
_LARGER, _HOLDS, _AROUND = 1.3, 0.95, 0.5
_CLOSED = 0.8  # the share of its outline that lies on edges


@dataclass(eq=False)
class Refiner:
    """Asks its `segmenter`, a SAM, about one stream; it is pickled without it. Times are media
    time.

    Args:
        every_ns: from one search for objects to the next; it then looks at all tracks again.
        most_points: how many points a search asks about; 0 for none.
    """

    every_ns: int
    most_points: int
    segmenter: Segmenter | None = None
    _searched_ns: int | None = None
    _turn: int = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "segmenter": None}

    def search(self, image_rgb: U8, time_ns: int, tracks: Sequence[Track]) -> list[Candidate]:
        """Objects where no track is, when it is time to search again: in the second round of a
        shot, after what edges and motion find, and then by and by."""
        if self._searched_ns is None:
            self._searched_ns = time_ns - self.every_ns
            return []
        if time_ns - self._searched_ns < self.every_ns:
            return []
        self._searched_ns = time_ns
        if not self.most_points:
            return []
        points = self._unexplained(image_rgb.shape[:2], tracks)
        edges = edge_strength(image_rgb)
        found = []
        for item in self._asked().everything(image_rgb, points):
            candidate = make_candidate(item.mask.view(np.uint8), edges)
            if candidate is None or item.predicted_iou < _SURE:
                continue
            if outlined_share(candidate, edges) >= _OUTLINED:
                # the next search is long after what is proposed otherwise is seen several times
                found.append(replace(candidate, sure=True))
        return found

    def wholes(self, image_rgb: U8, tracks: Sequence[Track]) -> list[tuple[Track, Candidate]]:
        """Of tracks that would begin, those that are pieces, each with the whole that it is sure
        of when asked for what is at the track's middle, in a wider box: a tree, of a stripe."""
        due = [t for t in tracks if t.area_px and t.hits >= 2 * t.doubted_hits]
        if not due:
            return []
        boxes = [t.padded(round(_AROUND * max(np.subtract(t.box[2:], t.box[:2])))) for t in due]
        middles = np.array([_inmost(t) for t in due], np.float32)
        answers = self._asked().in_boxes(image_rgb, np.array(boxes, np.float32), middles)
        edges, found = edge_strength(image_rgb), []
        for track, masks, quality in zip(due, *answers, strict=True):
            for k in np.argsort(-quality):
                if quality[k] < _SURE:
                    break
                whole = make_candidate(masks[k].view(np.uint8), edges)
                if whole is None or whole.area_px < _LARGER * track.area_px:
                    continue
                holds = common_px(whole, track) > _HOLDS * track.area_px
                if holds and outlined_share(whole, edges) > _CLOSED:
                    found.append((track, whole))
                    break
        return found

    def doubts(self, image_rgb: U8, tracks: Sequence[Track]) -> list[Track]:
        """Of tracks that would begin, those of which it makes nothing: asked for what lies in their
        boxes, it gives other masks, and holds them to be poor. They wait until twice as many
        proposals say the same, when it is asked again and has to give just them, or until they
        have moved for long, or fast."""
        resting = [t for t in tracks if t.moving < MOVED_ROUNDS and not is_fast(t)]
        due = [t for t in resting if t.hits >= 2 * t.doubted_hits]
        waiting = [t for t in resting if t.hits < 2 * t.doubted_hits]
        if not due:
            return waiting
        height, width = image_rgb.shape[:2]
        boxes = np.array([track.box for track in due], np.float32)
        answers = self._asked().in_boxes(image_rgb, boxes)
        for track, masks, quality in zip(due, *answers, strict=True):
            own = track.window((0, 0, width, height)) > 127
            iou = (masks & own).sum(axis=(1, 2)) / np.maximum(1, (masks | own).sum(axis=(1, 2)))
            sure = quality.max() >= _SURE and not track.doubted_hits
            track.doubted_hits = 0
            if iou.max() < _MAKES_SOMETHING and not sure:
                track.doubted_hits = track.hits
                waiting.append(track)
        return waiting

    def refine(self, image_rgb: U8, tracks: Sequence[Track], time_ns: int) -> int:
        """Better outlines for new tracks, and for all in a picture that was searched, for which
        little is computed anew; how many."""
        searched = time_ns == self._searched_ns
        due = [t for t in tracks if t.area_px and (searched or not t.refined)]
        if not due:
            return 0
        height, width = image_rgb.shape[:2]
        boxes = np.array([track.box for track in due], np.float32)
        known = np.stack([track.window((0, 0, width, height)) > 127 for track in due])
        edges, taken = edge_strength(image_rgb), 0
        for track, mask in zip(due, self._asked().refine(image_rgb, boxes, known), strict=True):
            track.refined = True
            fine = make_candidate(mask.view(np.uint8), edges)
            coarse = make_candidate(track.inside, edges, *track.box[:2])
            # it may jump to a part or to what lies behind: the flow and the edges have a say
            if fine is None or coarse is None or fine.strength < coarse.strength:
                continue
            if overlap(fine, coarse) >= _AGREES:
                track.set_mask(fine.inside * np.uint8(255), *fine.box[:2])
                taken += 1
        return taken

    def forget(self) -> None:
        """A new shot begins."""
        self._searched_ns, self._turn = None, 0

    def _asked(self) -> Segmenter:
        assert self.segmenter is not None, "a refiner has to be given its segmenter"
        return self.segmenter

    def _unexplained(self, hw: tuple[int, ...], tracks: Sequence[Track]) -> NDArray[np.float64]:
        """Nx2: points (x, y) of a grid that no track is at, some of them at a time."""
        height, width = hw
        free = np.ones((height, width), np.uint8)
        for track in tracks:
            if track.visible and track.area_px:
                x0, y0, x1, y1 = box = track.padded(_RIM_PX)
                free[y0:y1, x0:x1] &= (track.window(box) <= 127).view(np.uint8)
        free = cv2.erode(free, np.ones((2 * _RIM_PX + 1,) * 2, np.uint8))
        x, y = np.meshgrid(*((np.arange(_GRID) + 0.5) / _GRID * side for side in (width, height)))
        points = np.stack([x, y], axis=-1).reshape(-1, 2)
        points = points[free[points[:, 1].astype(int), points[:, 0].astype(int)] > 0]
        stride = max(1, -(-len(points) // self.most_points))
        self._turn += 1
        return np.asarray(points[self._turn % stride :: stride])


def _inmost(track: Track) -> tuple[float, float]:
    """The pixel (x, y) that lies deepest inside."""
    padded = cv2.copyMakeBorder(track.inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    y, x = divmod(int(cv2.distanceTransform(padded, cv2.DIST_L2, 3).argmax()), padded.shape[1])
    return track.box[0] + x - 1, track.box[1] + y - 1
