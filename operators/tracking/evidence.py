"""Which pixels are an object's: by its colours against those around it, and by where it was.

The flow alone smears a mask where one thing passes another. Per object and frame, in its box only:
the log of how much more often a pixel's colour occurs in the object's known look than in its
present surroundings, smoothed over neighbours, plus how deep in the moved mask the pixel lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import BINS, Codes, masked_histograms, spread
from operators.tracking.candidate import meeting
from operators.tracking.track_state import Box, Track

_RIM_PX = 8
_REACH = np.ones((5, 5), np.uint8)
_RARE = 0.002  # a colour with a smaller share is as good as unseen
_DOUBT, _COLOUR_LIMIT, _PLACE_LIMIT = 1.0, 3.5, 2.5
_GAIN = 40.0  # steps of a soft mask for one of evidence
_STEP = 14  # of gray; less is noise


def weigh(tracks: Sequence[Track], codes: Codes, step: NDArray[np.uint8]) -> None:
    """Let colour and place decide every track's pixels within two pixels of its moved mask.

    `step` (HxW) is the difference to the picture before: where nothing changed, the mask stays.
    """
    stepped = (step > _STEP).view(np.uint8)
    near = ((track, track.padded(_RIM_PX)) for track in tracks)
    changed = [(track, box) for track, box in near if _is_changed(_cut(stepped, box))]
    tracks, boxes = [track for track, _ in changed], [box for _, box in changed]
    softs = [track.window(box) for track, box in zip(tracks, boxes, strict=True)]
    crops = [_cut(codes, box) for box in boxes]
    around = masked_histograms(crops, [soft <= 127 for soft in softs])
    looks = np.array([track.wide_look for track in tracks], np.float32).reshape(-1, BINS)
    around = spread(around)
    known = np.nonzero(looks + around)  # few cells are; of the others nothing can be said
    doubt = np.log((looks[known] + _RARE) / (around[known] + _RARE))
    # weak evidence is none: colours of one thing vary from frame to frame
    odds = np.zeros_like(looks)
    odds[known] = np.sign(doubt) * np.clip(np.abs(doubt) - _DOUBT, 0, _COLOUR_LIMIT)
    for track, soft, box, crop, table in zip(tracks, softs, boxes, crops, odds, strict=True):
        colour = cv2.blur(table.take(crop), (3, 3))
        # 0 at the edge, +-limit some 3 px away from it
        place = cv2.blur(soft, (7, 7))
        reached = cv2.threshold(cv2.dilate(soft, _REACH), 127, 255, cv2.THRESH_BINARY)[1]
        weighed = cv2.addWeighted(
            colour, _GAIN, place, _GAIN * 2 * _PLACE_LIMIT / 255, 127 - _GAIN * _PLACE_LIMIT,
            dtype=cv2.CV_8U,
        )  # fmt: skip
        made = cv2.bitwise_and(weighed, reached)
        track.set_mask(made, box[0], box[1])


def share_pixels(tracks: Sequence[Track], codes: Codes) -> None:
    """Where two masks overlap, each pixel goes to the track whose colours it has."""
    for i, j in meeting(tracks, tracks):
        if i >= j:
            continue
        a, b = tracks[i], tracks[j]
        box = (
            max(a.box[0], b.box[0]), max(a.box[1], b.box[1]),
            min(a.box[2], b.box[2]), min(a.box[3], b.box[3]),
        )  # fmt: skip
        if box[0] >= box[2] or box[1] >= box[3]:
            continue  # an earlier pair made one of them smaller
        both = (a.window(box) > 127) & (b.window(box) > 127)
        if not both.any():
            continue
        here = _cut(codes, box)
        to_a = a.wide_look[here] >= b.wide_look[here]
        _remove(a, box, both & ~to_a)
        _remove(b, box, both & to_a)


def likeness_now(tracks: Sequence[Track], codes: Codes) -> list[float]:
    """How much each visible track looks as it did: see `appearance.likeness`."""
    crops = [_cut(codes, track.box) for track in tracks]
    now = masked_histograms(crops, [track.inside > 0 for track in tracks])
    looks = np.array([track.wide_look for track in tracks], np.float32).reshape(-1, BINS)
    return [float(alike) for alike in np.sqrt(looks * spread(now)).sum(axis=1)]


def _is_changed(stepped: NDArray[np.uint8]) -> bool:
    return int(cv2.countNonZero(stepped)) > max(4, 0.01 * stepped.size)


def _remove(track: Track, box: Box, lost: NDArray[np.bool_]) -> None:
    if not lost.any():
        return
    x0, y0, x1, y1 = box
    whole = track.padded(2)
    left, top = whole[:2]
    soft = track.window(whole)
    soft[y0 - top : y1 - top, x0 - left : x1 - left][lost] = 0
    track.set_mask(soft, left, top)


def _cut(pixels: NDArray[Any], box: Box) -> NDArray[Any]:
    x0, y0, x1, y1 = box
    return pixels[y0:y1, x0:x1]
