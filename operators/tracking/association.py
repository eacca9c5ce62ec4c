"""Proposals meet tracks: refresh, grow, shrink, recover, begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import (
    BINS,
    Codes,
    Histogram,
    histogram,
    likeness,
    masked_histograms,
    spread,
)
from operators.tracking.births import is_ground
from operators.tracking.candidate import (
    Candidate,
    common_areas,
    common_px,
    outlined_share,
    overlap,
    rim_strength,
)
from operators.tracking.proposals import remainders
from operators.tracking.track_state import Track

_SAME = 0.5
_PART = 0.65
_RECOVER_LIKENESS = 0.6
# shares of an outline that lie on edges: nothing ends there; all of it is there
_VAGUE, _CLEAR = 0.4, 0.8
_FORGOTTEN = 10  # rounds without a proposal
# pieces that fill less of a common outline may be of one thing; rounds until they are, and after
# which a track is a thing of its own
_FILLED, _PATIENCE, _KNOWN = 0.7, 4, 12
_CRUMBS = 0.05
# of a track's area: two pieces that are two things hold most of it, each a good deal
_MOST, _PIECE = 0.6, 0.15
# of what it usually has: the flow has lost the rest; IoU of an outline of all of it with that of
# the round before, where it rests
_WITHERED, _AGAIN = 0.5, 0.8
_AT_ONCE = 8.0  # times its area, to which a track that has an id may grow while it is young


@dataclass(eq=False)
class Associator:
    """One round of proposals; changes the tracks it is given."""

    tracks: list[Track]
    codes: Codes
    edges: NDArray[np.uint8]
    time_ns: int
    least_area_px: int
    max_tracks: int
    left_out: int = 0  # candidates that would have begun a track, were there not `max_tracks`
    _taken: list[tuple[Track, Candidate]] = field(default_factory=list)

    def run(self, candidates: list[Candidate]) -> None:
        """Match by mask overlap first; what is left grows, shrinks, recovers or begins tracks."""
        seen = [t for t in self.tracks if t.visible]
        common = common_areas(candidates, seen)
        area_c = np.array([c.area_px for c in candidates], float)[:, None]
        area_t = np.array([max(1, t.area_px) for t in seen], float)[None]
        iou = common / np.maximum(1.0, area_c + area_t - common)
        ground = np.array([is_ground(t) for t in seen], bool)
        split, torn = self._split(candidates, seen, common)
        iou[split] = 0
        matched_c, matched_t = self._match(candidates, seen, common, iou, torn)
        supported = matched_t | torn
        for i, candidate in enumerate(candidates):
            if i in matched_c or i in split:
                continue
            inside = [int(j) for j in np.flatnonzero(common[i] > _PART * area_t[0])]
            on = common[i] * ~ground  # what lies on the ground is none of it
            around = [int(j) for j in np.flatnonzero(on > _PART * area_c[i, 0])]
            covered = on.sum() / area_c[i, 0]
            if inside:
                supported.update(inside)
                self._larger(candidate, [seen[j] for j in inside])
            elif around:
                supported.update(around)
                if around[0] not in matched_t:
                    self._smaller(candidate, seen[around[0]])
            elif covered < 0.3 and not self._recover(candidate):
                self._begin(candidate)
        for j, track in enumerate(seen):
            if j not in supported:
                if track.part_of is not None and outlined_share(track, self.edges) > _CLEAR:
                    continue  # its outline is there, as part of that of the whole
                track.misses += 1
                track.grown = track.shrunk = 0
                if track.misses >= _FORGOTTEN and outlined_share(track, self.edges) < _VAGUE:
                    track.hide(self.time_ns)  # nothing proposes it, nothing ends at its outline
        self._learn()

    def _learn(self) -> None:
        """Tracks look like the candidates whose masks they took, by and by."""
        crops = [self.codes[y0:y1, x0:x1] for x0, y0, x1, y1 in (c.box for _, c in self._taken)]
        seen = masked_histograms(crops, [c.inside > 0 for _, c in self._taken])
        looks = [0.8 * t.look + 0.2 * look for (t, _), look in zip(self._taken, seen, strict=True)]
        wide = spread(np.array(looks, np.float32).reshape(-1, BINS))
        for (track, _), look, wide_look in zip(self._taken, looks, wide, strict=True):
            track.look, track.wide_look = look, wide_look

    def _match(
        self,
        candidates: list[Candidate],
        seen: list[Track],
        common: NDArray[np.int64],
        iou: NDArray[np.float64],
        torn: set[int],
    ) -> tuple[set[int], set[int]]:
        matched_c: set[int] = set()
        matched_t: set[int] = set()
        areas = np.array([t.area_px for t in seen])
        pairs = np.argwhere(iou >= _SAME)
        for i, j in pairs[np.argsort(-iou[iou >= _SAME], kind="stable")].tolist():
            if i in matched_c or j in matched_t:
                continue
            matched_c.add(i)
            matched_t.add(j)
            # where objects touch, a candidate holds others too, whose pixels are not the track's
            track, candidate = seen[j], candidates[i]
            others = [
                k
                for k in np.flatnonzero(common[i] > 0.15 * areas).tolist()
                if k != j and not _is_crumb(seen[k], candidate)
            ]
            pieces = [seen[k] for k in others if common[i, k] > _PART * areas[k]]
            if len(pieces) < len(others) or j in torn or (others and is_ground(track)):
                self._support(track, None)
            elif self._swollen(track, candidate) or pieces:
                if not self._larger(candidate, [track, *pieces]) and pieces:
                    self._support(track, None)
            else:
                less = self._is_less(candidate, track)
                shrunk = track.shrunk + 1 if less else 0
                self._support(track, None if less else candidate)
                track.shrunk = shrunk
        return matched_c, matched_t

    def _support(self, track: Track, candidate: Candidate | None) -> None:
        """The track was seen again; its mask is the candidate's, where there is one of its own."""
        track.hits += 1
        track.misses = track.grown = track.shrunk = 0
        if candidate is not None:
            self._take_mask(track, candidate)

    def _take_mask(self, track: Track, candidate: Candidate) -> bool:
        """The candidate's mask, unless the track's own outline lies on clearer edges; whether."""
        own = rim_strength(track, self.edges) if track.area_px else 0.0
        if track.given or candidate.strength < 0.85 * own:
            return False
        _take(track, candidate)
        track.strength = 0.7 * track.strength + 0.3 * candidate.strength
        track.usual_area_px = 0.7 * track.usual_area_px + 0.3 * candidate.area_px
        self._taken.append((track, candidate))
        return True

    @staticmethod
    def _swollen(track: Track, candidate: Candidate) -> bool:
        """Much larger at once, though the track was known well: something else has joined it."""
        return track.hits > 4 and candidate.area_px > 1.3 * track.area_px

    def _is_less(self, candidate: Candidate, track: Track) -> bool:
        """Much smaller at once, and not for long or with all of the track's outline still there."""
        usual_px = max(float(track.area_px), track.usual_area_px)
        if track.hits <= 4 or candidate.area_px > 0.75 * usual_px:
            return False
        return track.shrunk < 2 or (
            candidate.area_px < 0.75 * track.area_px and outlined_share(track, self.edges) > _CLEAR
        )

    def _larger(self, candidate: Candidate, inside: list[Track]) -> bool:
        """A candidate that holds tracks: one of them grown, or several objects that touch; whether
        it is taken for one thing."""
        hidden = [t for t in self.tracks if not t.visible and t.track_id]
        if hidden:
            for rest in remainders(candidate, inside, self.edges, self.least_area_px):
                if self._recover(rest):
                    return False
        track = max(inside, key=lambda t: (t.track_id > 0, t.area_px))
        again = track.larger is not None and overlap(track.larger, candidate) > _AGAIN
        track.larger = candidate
        crumbs = [t for t in inside if t is not track and _is_crumb(t, candidate)]
        pieces = [t for t in inside if t is not track and t not in crumbs]
        if pieces and not self._of_one_thing(candidate, [track, *pieces]):
            return False
        for crumb in crumbs:
            crumb.visible, crumb.merged_into = False, track
        track.misses = 0
        track.grown += 1
        small = sum(t.area_px for t in pieces) < _CRUMBS * candidate.area_px
        patience = _PATIENCE // 2 if small else _PATIENCE
        for piece in pieces:
            if not piece.track_id or track.grown >= patience:
                piece.visible, piece.merged_into = False, track
        if pieces:
            if all(piece.merged_into for piece in pieces) and track.grown >= patience:
                self._support(track, None)
                _take(track, candidate)  # however clear the edges of the piece
                track.usual_area_px = candidate.area_px
            return True
        withered = track.area_px < _WITHERED * track.usual_area_px and again
        young = track.hits < 8 and (
            not track.track_id or candidate.area_px < _AT_ONCE * track.usual_area_px
        )
        may_grow = young or withered or track.touches_border() or track.grown >= 6
        if track.grown >= 2 and may_grow and candidate.strength > 0.6 * track.strength:
            # an outline that is not taken says nothing for the piece, which gives way to a far
            # larger one while it has no id
            taken = self._take_mask(track, candidate)
            if taken:
                self._support(track, None)
            if taken or not track.track_id:
                track.usual_area_px = candidate.area_px
        return True

    def _of_one_thing(self, candidate: Candidate, pieces: list[Track]) -> bool:
        """Objects that touch fill their common outline; pieces of one, as of glass, leave much of
        it open and were not known for long as things of their own; crumbs of one are small."""
        if outlined_share(candidate, self.edges) < _CLEAR:
            return False
        filled = sum(t.area_px for t in pieces) / candidate.area_px
        crumbs = filled - max(t.area_px for t in pieces) / candidate.area_px < _CRUMBS
        apart = max(float(np.hypot(*(t.velocity - pieces[0].velocity))) for t in pieces)
        known = sum(t.hits >= _KNOWN for t in pieces)
        first = pieces[0]
        little = first.hits >= _KNOWN and first.area_px < _PIECE * candidate.area_px
        if little and outlined_share(first, self.edges) > _CLEAR:
            return False  # known well, and all there: it stands before what holds it
        return apart < 0.2 and (crumbs or (filled < _FILLED and known < 2))

    def _split(
        self, candidates: Sequence[Candidate], seen: Sequence[Track], common: NDArray[np.int64]
    ) -> tuple[list[int], set[int]]:
        """Tracks whose two largest pieces are two things, because they part: what covers a thing in
        the middle leaves two pieces that keep their distance. The larger one goes on; the other
        begins a track. What the border cuts, or something covers, changes its size instead.

        Returns:
            The candidates that were such pieces, and the tracks that lie in two pieces as yet.
        """
        used: list[int] = []
        torn: set[int] = set()
        areas = np.array([c.area_px for c in candidates])
        within = common > _PART * areas[:, None]
        for j in np.flatnonzero(within.sum(axis=0) >= 2).tolist():
            track = seen[j]
            rows = np.flatnonzero(within[:, j])
            first, second = rows[np.argsort(-areas[rows], kind="stable")[:2]].tolist()
            large, small = candidates[first], candidates[second]
            apart = common_px(large, small) < 0.1 * small.area_px
            least_px = max(self.least_area_px, _PIECE * track.area_px)
            most = large.area_px + small.area_px > _MOST * track.area_px
            known = track.track_id and not track.given and not track.touches_border()
            if not (known and apart and most) or small.area_px < least_px:
                continue
            torn.add(j)
            way = np.subtract(_middle(large), _middle(small))
            if track.parting is None or not 0.7 < small.area_px / track.parting[1] < 1.4:
                track.parting = (way, small.area_px)
            if float(np.hypot(*(way - track.parting[0]))) > 4 + 0.2 * track.area_px**0.5:
                _take(track, large)
                self._support(track, None)
                track.usual_area_px = large.area_px
                track.set_look(self._look(large))
                self._begin(small, split_from_id=track.track_id)
                used += [first, second]
        for j, track in enumerate(seen):
            if j not in torn:
                track.parting = None
        return used, torn

    def _smaller(self, candidate: Candidate, track: Track) -> None:
        """A candidate within a track: a part of it, or all that is left to see."""
        track.misses = 0
        if track.track_id and outlined_share(track, self.edges) > _CLEAR:
            track.shrunk = 0  # all of it is still there
            return
        track.shrunk += 1
        if track.shrunk >= 3 and candidate.area_px > 0.3 * track.area_px:
            self._support(track, candidate)

    def _recover(self, candidate: Candidate) -> bool:
        """Give a hidden track its mask back when the candidate looks like it and is near."""
        x0, y0, x1, y1 = candidate.box
        track = lost_like(
            self.tracks,
            self._look(candidate),
            ((x0 + x1) / 2, (y0 + y1) / 2),
            candidate.area_px,
            self.edges.shape[1],
        )
        if track is None:
            return False
        track.visible, track.last_ns, track.score = True, self.time_ns, 0.8
        _take(track, candidate)
        track.misses = track.unlike = track.grown = track.shrunk = 0
        # it comes out from behind something: let it grow
        track.hits = min(track.hits, 3)
        return True

    def _begin(self, candidate: Candidate, split_from_id: int = 0) -> None:
        if sum(t.visible for t in self.tracks) >= self.max_tracks:
            self.left_out += 1
            return
        self.tracks.append(
            Track(
                soft=candidate.inside * np.uint8(255),
                left=candidate.box[0],
                top=candidate.box[1],
                hw=(self.edges.shape[0], self.edges.shape[1]),
                look=self._look(candidate),
                strength=candidate.strength,
                sure=candidate.sure or split_from_id > 0,
                split_from_id=split_from_id,
                first_ns=self.time_ns,
                last_ns=self.time_ns,
            )
        )

    def _look(self, candidate: Candidate) -> Histogram:
        x0, y0, x1, y1 = candidate.box
        return histogram(self.codes[y0:y1, x0:x1], candidate.inside > 0)


def _is_crumb(track: Track, candidate: Candidate) -> bool:
    """Whether it is too small beside a candidate to stop it, and not even a track yet."""
    return not track.track_id and track.area_px < _CRUMBS * candidate.area_px


def _middle(candidate: Candidate) -> tuple[float, float]:
    x0, y0 = candidate.box[:2]
    moments = cv2.moments(candidate.inside, binaryImage=True)
    return x0 + moments["m10"] / moments["m00"], y0 + moments["m01"] / moments["m00"]


def _take(track: Track, candidate: Candidate) -> None:
    track.set_mask(candidate.inside * np.uint8(255), candidate.box[0], candidate.box[1])


def lost_like(
    tracks: list[Track],
    look: Histogram,
    centre: tuple[float, float],
    area_px: int,
    width_px: int,
) -> Track | None:
    """The lost track that is most like a region, and near; None when there is none.

    Lost is what cannot be seen, or whose mask nothing supports any more.
    """
    best: tuple[float, Track] | None = None
    for track in tracks:
        if (track.visible and track.misses < 2) or not track.track_id or track.merged_into:
            continue
        alike = likeness(track.look, look)
        # what comes out from behind something may be a sliver of itself yet
        ratio = area_px / max(1.0, track.usual_area_px)
        reach = 0.12 * width_px + track.usual_area_px**0.5
        away = float(np.hypot(centre[0] - track.centre[0], centre[1] - track.centre[1])) / reach
        if alike < _RECOVER_LIKENESS or not 0.15 < ratio < 2.5 or away > 1:
            continue
        value = alike - 0.3 * away
        if best is None or value > best[0]:
            best = (value, track)
    return None if best is None else best[1]
