"""How well ids hold through time: HOTA, IDF1, id switches, splits, false tracks.

HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2020.
IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", 2016. Id switches: CLEAR MOT, Bernardin and Stiefelhagen, 2008. The figures equal those
of the TrackEval package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Ids = NDArray[np.int64]
Matrix = NDArray[np.float64]
ALPHAS = np.arange(0.05, 0.99, 0.05)
SAME_IOU = 0.5
_EPS = float(np.finfo(float).eps)


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlaps:
    """One picture: ids of what is there (T), of what was found (F), and their IoU (T x F).

    Raises:
        ValueError: when the sizes do not fit, an id comes twice, or an IoU is outside 0..1.
    """

    truth_ids: Ids
    found_ids: Ids
    iou: Matrix

    def __post_init__(self) -> None:
        if self.iou.shape != (len(self.truth_ids), len(self.found_ids)):
            raise ValueError(
                f"{len(self.truth_ids)} true and {len(self.found_ids)} found ids need an IoU of "
                f"that shape, not {self.iou.shape}"
            )
        for ids in (self.truth_ids, self.found_ids):
            if len(np.unique(ids)) != len(ids):
                raise ValueError(f"an id comes twice in one picture: {ids.tolist()}")
        if self.iou.size and not (self.iou.min() >= 0 and self.iou.max() <= 1 + 1e-9):
            raise ValueError("an IoU lies outside 0..1")


@dataclass(frozen=True, kw_only=True)
class TrackScores:
    """Shares in 0..1 and counts over one sequence, or over several joined.

    `splits`: objects that more than one track followed (each in at least 3 frames and a twentieth
    of the object's). `false_tracks`: tracks that had the mask of an object (IoU >= 0.5) in less
    than half of their frames.
    """

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    id_switches: int
    splits: int
    false_tracks: int
    objects: int
    tracks: int


def score_tracks(pictures: Sequence[Overlaps]) -> TrackScores:
    """All figures of a sequence; `pictures` in the order of time, empty ones included."""
    pictures = _numbered(pictures)
    n_truth = 1 + max((int(p.truth_ids.max(initial=-1)) for p in pictures), default=-1)
    n_found = 1 + max((int(p.found_ids.max(initial=-1)) for p in pictures), default=-1)
    truth_frames = np.zeros((n_truth, 1))
    found_frames = np.zeros((1, n_found))
    for p in pictures:
        truth_frames[p.truth_ids] += 1
        found_frames[0, p.found_ids] += 1
    hota, det_a, ass_a = _hota(pictures, truth_frames, found_frames)
    switches, held = _clear(pictures, n_truth, n_found)
    owned = held >= np.maximum(3, 0.05 * truth_frames)
    return TrackScores(
        hota=hota,
        det_a=det_a,
        ass_a=ass_a,
        idf1=_idf1(pictures, truth_frames, found_frames),
        id_switches=switches,
        splits=int((owned.sum(axis=1) > 1).sum()),
        false_tracks=int((held.sum(axis=0) < 0.5 * found_frames[0]).sum()),
        objects=n_truth,
        tracks=n_found,
    )


def came_back(pictures: Sequence[Overlaps], hidden: Iterable[tuple[int, int, int]]) -> list[bool]:
    """Whether objects that were hidden for a while got back the id they had.

    Args:
        pictures: a sequence, in the order of time.
        hidden: object id, index of the first picture in which it is hidden, and of the first one
            in which it is seen again.

    Returns:
        One value for each span whose object had a track before: True when the track that had it
        last before is the one that has it last before it is hidden again or the sequence ends.
    """
    spans = sorted(hidden)
    answers = []
    for i, (key, begin, end) in enumerate(spans):
        again = spans[i + 1][1] if i + 1 < len(spans) and spans[i + 1][0] == key else len(pictures)
        before = _last_holder(pictures[:begin], key)
        if before is not None:
            answers.append(before == _last_holder(pictures[end:again], key))
    return answers


def _last_holder(pictures: Sequence[Overlaps], key: int) -> int | None:
    for p in reversed(pictures):
        for row in np.flatnonzero(p.truth_ids == key):
            if p.iou.shape[1] and p.iou[row].max() >= SAME_IOU:
                return int(p.found_ids[p.iou[row].argmax()])
    return None


def join(sequences: Iterable[Sequence[Overlaps]]) -> list[Overlaps]:
    """Several sequences as one, no id shared; its figures are TrackEval's combined ones."""
    joined: list[Overlaps] = []
    first_truth = first_found = 0
    for sequence in sequences:
        numbered = _numbered(sequence)
        joined += [
            Overlaps(
                truth_ids=p.truth_ids + first_truth,
                found_ids=p.found_ids + first_found,
                iou=p.iou,
            )
            for p in numbered
        ]
        first_truth += 1 + max((int(p.truth_ids.max(initial=-1)) for p in numbered), default=-1)
        first_found += 1 + max((int(p.found_ids.max(initial=-1)) for p in numbered), default=-1)
    return joined


def box_iou(truth_N4: Matrix, found_M4: Matrix) -> Matrix:
    """N x M IoU of boxes (x0, y0, x1, y1), x1 and y1 outside."""
    low = np.maximum(truth_N4[:, None, :2], found_M4[None, :, :2])
    high = np.minimum(truth_N4[:, None, 2:], found_M4[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area_N = np.prod(truth_N4[:, 2:] - truth_N4[:, :2], axis=1)
    area_M = np.prod(found_M4[:, 2:] - found_M4[:, :2], axis=1)
    return np.asarray(common / np.maximum(1e-9, area_N[:, None] + area_M[None] - common))


def _numbered(pictures: Sequence[Overlaps]) -> list[Overlaps]:
    """The same with ids 0, 1, ... without gaps."""
    truth = np.unique(np.concatenate([np.zeros(0, np.int64), *(p.truth_ids for p in pictures)]))
    found = np.unique(np.concatenate([np.zeros(0, np.int64), *(p.found_ids for p in pictures)]))
    return [
        Overlaps(
            truth_ids=np.searchsorted(truth, p.truth_ids),
            found_ids=np.searchsorted(found, p.found_ids),
            iou=p.iou,
        )
        for p in pictures
    ]


def _hota(
    pictures: Sequence[Overlaps], truth_frames: Matrix, found_frames: Matrix
) -> tuple[float, float, float]:
    """HOTA, DetA and AssA, each the mean over the thresholds of IoU."""
    if not truth_frames.size or not found_frames.size:
        return 0.0, 0.0, 0.0
    likely = np.zeros((len(truth_frames), found_frames.shape[1]))
    for p in pictures:
        around = p.iou.sum(0)[None] + p.iou.sum(1)[:, None] - p.iou
        share = np.divide(p.iou, around, out=np.zeros_like(p.iou), where=around > _EPS)
        likely[np.ix_(p.truth_ids, p.found_ids)] += share
    aligned = likely / (truth_frames + found_frames - likely)
    matches = np.zeros((len(ALPHAS), *likely.shape))
    for p in pictures:
        wanted = aligned[np.ix_(p.truth_ids, p.found_ids)] * p.iou
        rows, columns = linear_sum_assignment(-wanted)
        right = p.iou[rows, columns][None] >= ALPHAS[:, None] - _EPS
        matches[:, p.truth_ids[rows], p.found_ids[columns]] += right
    hits = matches.sum(axis=(1, 2))
    det_a = hits / np.maximum(1, truth_frames.sum() + found_frames.sum() - hits)
    shared = matches / np.maximum(1, truth_frames[None] + found_frames[None] - matches)
    ass_a = (matches * shared).sum(axis=(1, 2)) / np.maximum(1, hits)
    return float(np.sqrt(det_a * ass_a).mean()), float(det_a.mean()), float(ass_a.mean())


def _idf1(pictures: Sequence[Overlaps], truth_frames: Matrix, found_frames: Matrix) -> float:
    both = np.zeros((len(truth_frames), found_frames.shape[1]))
    for p in pictures:
        both[np.ix_(p.truth_ids, p.found_ids)] += p.iou >= SAME_IOU
    # pairing an object with a track costs nothing when it is left out again: the best pairing has
    # the most frames in common
    rows, columns = linear_sum_assignment(-both)
    return float(2 * both[rows, columns].sum() / max(1, truth_frames.sum() + found_frames.sum()))


def _clear(pictures: Sequence[Overlaps], n_truth: int, n_found: int) -> tuple[int, Matrix]:
    """How often an object's track changed, and in how many frames each track had each object."""
    switches = 0
    held = np.zeros((n_truth, n_found))
    last = np.full(n_truth, -1, np.int64)  # the track that had it last, however long ago
    before = np.full(n_truth, -1, np.int64)  # the track that had it in the picture before
    for p in pictures:
        if not p.iou.size:
            continue
        goes_on = p.found_ids[None] == before[p.truth_ids][:, None]
        value = np.where(p.iou >= SAME_IOU - _EPS, 1000 * goes_on + p.iou, 0)
        rows, columns = linear_sum_assignment(-value)
        rows, columns = rows[value[rows, columns] > 0], columns[value[rows, columns] > 0]
        truth, found = p.truth_ids[rows], p.found_ids[columns]
        switches += int(((last[truth] >= 0) & (last[truth] != found)).sum())
        held[truth, found] += 1
        last[truth] = found
        before[:] = -1
        before[truth] = found
    return switches, held
