"""Masks through time: carried by the flow, confirmed by proposals, remembered while hidden.

Works on one stream, on pictures of the working size. Deterministic, and picklable as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import Codes, colour_codes, histogram
from operators.tracking.association import Associator, lost_like
from operators.tracking.background import RestingBackground
from operators.tracking.births import hits_wanted, is_ground, is_thing, observe
from operators.tracking.candidate import Candidate, Shape, make_candidate, meeting
from operators.tracking.cuts import CutDetector
from operators.tracking.evidence import share_pixels, weigh
from operators.tracking.flow import Motion, measure_motion
from operators.tracking.following import judge, propagate, tidy
from operators.tracking.moving import carved_candidates, changed_candidates, moving_candidates
from operators.tracking.parts import complete, relate, without_crumbs
from operators.tracking.proposals import (
    edge_strength,
    island_candidates,
    with_faint_outlines,
    without_doubles,
)
from operators.tracking.track_state import Began, Track

U8 = NDArray[np.uint8]


class Aid(Protocol):
    """What helps a tracker to see; pictures are HxWx3 uint8, times are media time."""

    def search(self, image_rgb: U8, time_ns: int, tracks: Sequence[Track]) -> list[Candidate]:
        """More proposals for a picture that is searched for objects."""

    def wholes(self, image_rgb: U8, tracks: Sequence[Track]) -> list[tuple[Track, Candidate]]:
        """Of tracks that would get an id, those that are pieces of larger things, each with it."""

    def doubts(self, image_rgb: U8, tracks: Sequence[Track]) -> list[Track]:
        """Of tracks that would get an id, those that are no things as yet."""

    def refine(self, image_rgb: U8, tracks: Sequence[Track], time_ns: int) -> int:
        """Give tracks masks that fit better; how many."""

    def forget(self) -> None:
        """A new shot begins."""


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """How the tracker decides; times in seconds of media time. Without `discover` only what was
    given to `Tracker.add` is followed, and all pictures are taken as one shot. With `name_parts`
    what is a part has an id of its own."""

    propose_every_s: float = 0.2
    hidden_s: float = 2.0
    min_area_share: float = 0.0005
    max_tracks: int = 24
    confirm_hits: int = 3
    lost_likeness: float = 0.45
    discover: bool = True
    name_parts: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What a frame changed; `ended` have an id, `visible` are confirmed and in the picture.
    `candidates` are the proposals, of a picture that was searched for objects; `parts` are shown
    with the track that they are `part_of`. `left_out` is how many candidates could begin no track
    for lack of room, when that happens for the first time in a shot."""

    cut: bool = False
    left_out: int = 0
    candidates: tuple[Candidate, ...] = ()
    parts: tuple[Track, ...] = ()
    visible: tuple[Track, ...] = ()
    started: tuple[Track, ...] = ()
    ended: tuple[Track, ...] = ()


@dataclass(eq=False)
class Tracker:
    """Follows everything in one stream."""

    config: TrackerConfig
    tracks: list[Track] = field(default_factory=list)
    frames: int = 0
    _next_id: int = 1
    _before: U8 | None = None
    _proposed_ns: int | None = None
    _full: bool = False
    _to_world: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    _background: RestingBackground = field(default_factory=RestingBackground)
    _cuts: CutDetector = field(default_factory=CutDetector)

    def step(self, image_rgb: U8, time_ns: int, aid: Aid | None = None) -> Step:
        """Take the next picture (HxWx3 uint8)."""
        step = self._step(image_rgb, time_ns, aid)
        if aid is not None:
            with_parts = {id(part.part_of) for part in step.parts}
            whole = [t for t in step.visible if id(t) not in with_parts and not t.given]
            aid.refine(image_rgb, whole, time_ns)
        return step

    def _step(self, image_rgb: U8, time_ns: int, aid: Aid | None) -> Step:
        gray = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, gray
        self.frames += 1
        motion = None
        if before is not None and before.shape == gray.shape:
            motion = measure_motion(before, gray)
        cut = self.config.discover and self._cuts.is_cut(image_rgb, time_ns, motion)
        if motion is None or cut:
            if aid is not None:
                aid.forget()
            ended, cut = self._end_all(), cut and motion is not None
            return self._discover(image_rgb, time_ns, None, aid, ended, cut=cut)
        camera = np.vstack([motion.camera, (0, 0, 1)])
        self._to_world = self._to_world @ np.linalg.inv(camera)
        codes = colour_codes(image_rgb)
        self._background.update(image_rgb, motion, self.tracks)
        self._follow(codes, motion, cv2.absdiff(before, gray), time_ns)
        return self._discover(image_rgb, time_ns, motion, aid, ())

    def wants_proposals(self, time_ns: int) -> bool:
        """Whether the next picture will be searched for objects."""
        every_s = self.config.propose_every_s
        if not self.config.discover and all(t.visible for t in self.tracks):
            return False
        if any(
            not t.track_id
            and t.hits + t.misses < hits_wanted(t, self.config.confirm_hits)
            and t.area_px >= self._least_area_px(*t.hw)
            for t in self.tracks
        ):
            # what was just found is confirmed or dropped sooner
            every_s /= 3
        return self._proposed_ns is None or time_ns - self._proposed_ns >= every_s * 1e9 * 0.99

    def add(self, inside: NDArray[np.bool_], image_rgb: U8, time_ns: int) -> Track:
        """Follow a given mask from the picture that `step` took last; it has an id at once, and
        its pixels are no other track's.

        Args:
            inside: HxW bool, of the picture's size.
            image_rgb, time_ns: as given to `step`.

        Raises:
            ValueError: when the mask is empty or of another size.
        """
        if inside.shape != image_rgb.shape[:2]:
            raise ValueError(f"a mask of {inside.shape} px for a picture of {image_rgb.shape[:2]}")
        candidate = make_candidate(inside.astype(np.uint8), edge_strength(image_rgb))
        if candidate is None:
            raise ValueError("the given mask is empty; give one with pixels inside")
        x0, y0, x1, y1 = candidate.box
        for i, _ in meeting(self.tracks, [candidate]):
            other = self.tracks[i]
            left, top, right, bottom = whole = other.padded(2)
            soft = other.window(whole)
            soft[inside[top:bottom, left:right]] = 0
            other.set_mask(soft, left, top)
        track = Track(
            soft=candidate.inside * np.uint8(255),
            left=x0,
            top=y0,
            hw=inside.shape,
            look=histogram(colour_codes(image_rgb)[y0:y1, x0:x1], candidate.inside > 0),
            strength=candidate.strength,
            first_ns=time_ns,
            last_ns=time_ns,
            track_id=self._next_id,
            hits=self.config.confirm_hits,
            given=True,
        )
        self._next_id += 1
        self.tracks.append(track)
        return track

    def finish(self) -> tuple[Track, ...]:
        """End all tracks; those that were confirmed."""
        return self._end_all()

    def _follow(self, codes: Codes, motion: Motion, change: U8, time_ns: int) -> None:
        """Bring all tracks to this picture: masks, what can be seen, how sure that is. `change`
        (HxW) is the difference to the picture before."""
        led = propagate(self.tracks, motion)
        seen = [t for t in self.tracks if t.visible and t.area_px]
        share_pixels(seen, codes)
        weigh([t for t in seen if t not in led], codes, change)
        judge(self.tracks, codes, time_ns, led, self.config.lost_likeness)

    def _most_visible(self) -> int:
        """With so many tracks in the picture no more are begun."""
        return self.config.max_tracks if self.config.discover else 0

    def _discover(
        self,
        image_rgb: U8,
        time_ns: int,
        motion: Motion | None,
        aid: Aid | None,
        ended: tuple[Track, ...],
        cut: bool = False,
    ) -> Step:
        started: list[Track] = []
        candidates: list[Candidate] = []
        left_out = 0
        if (cut or motion is None) and self.config.discover:
            self._proposed_ns = None
        if self.wants_proposals(time_ns):
            self._proposed_ns = time_ns
            tidy(self.tracks)
            codes = colour_codes(image_rgb)
            candidates, edges = self._candidates(image_rgb, time_ns, motion, aid)
            least_px = self._least_area_px(*image_rgb.shape[:2])
            most = self._most_visible()
            matching = Associator(self.tracks, codes, edges, time_ns, least_px, most)
            matching.run(candidates)
            if self.config.discover and not self._full:
                left_out, self._full = matching.left_out, matching.left_out > 0
            height, width = edges.shape
            panned = self._locate(width / 2, height / 2)
            relate(self.tracks, time_ns, panned)
            ready = self._ready(image_rgb, edges, panned)
            started = self._confirm(*self._examine(image_rgb, ready, codes, aid))
        gone = [t for t in self.tracks if self._is_over(t, time_ns)]
        self.tracks = [t for t in self.tracks if t not in gone]
        for track in self.tracks:
            if track.part_of in gone:
                track.part_of = None
            if track.beside is not None and track.beside.large in gone:
                track.beside = None
        visible = [t for t in self.tracks if t.visible and t.track_id and t.part_of is None]
        parts = [t for t in self.tracks if t.visible and t.part_of is not None]
        return Step(
            cut=cut,
            left_out=left_out,
            parts=tuple(parts),
            candidates=tuple(candidates),
            visible=tuple(sorted(visible, key=lambda t: t.track_id)),
            started=tuple(started),
            ended=(*ended, *sorted((t for t in gone if t.track_id), key=lambda t: t.track_id)),
        )

    def _candidates(
        self, image_rgb: U8, time_ns: int, motion: Motion | None, aid: Aid | None
    ) -> tuple[list[Candidate], U8]:
        edges = edge_strength(image_rgb)
        least_px = self._least_area_px(*image_rgb.shape[:2])
        found = [] if aid is None else aid.search(image_rgb, time_ns, self.tracks)
        ground = [t for t in self.tracks if t.visible and is_ground(t)]
        still = island_candidates(image_rgb, edges, max(40, least_px * 2 // 5), ground)
        still = without_crumbs(still, self.tracks, least_px)
        rest = self._background.picture(image_rgb)
        residual = None if motion is None else motion.residual
        if rest is not None:
            still += changed_candidates(image_rgb, rest, residual, edges, least_px)
        found += with_faint_outlines(still, image_rgb, edges, least_px, ground)
        if residual is not None:
            moves = residual, image_rgb, edges, 2 * least_px
            known: list[Shape] = [*found, *(t for t in self.tracks if t.visible and t.track_id)]
            found += [*carved_candidates(*moves, known), *moving_candidates(*moves)]
        return without_doubles(found), edges

    def _least_area_px(self, height: int, width: int) -> int:
        return int(max(40, self.config.min_area_share * height * width))

    def _locate(self, x: float, y: float) -> NDArray[np.float64]:
        """Where all tracks lie in the resting world, a picture of before of the same scale; and
        where (x, y) of this picture does."""
        if abs(np.linalg.det(self._to_world) - 1) > 0.1:  # the camera zooms, or errors add up
            self._to_world = np.eye(3)
            for track in self.tracks:
                track.beside = track.began = None
        panned = self._to_world[:2] @ (x, y, 1)
        centres = np.array([(*track.centre, 1.0) for track in self.tracks]).reshape(-1, 3)
        for track, place in zip(self.tracks, centres @ self._to_world[:2].T, strict=True):
            track.place = place
            track.began = track.began or Began(place, track.flowed, panned)
        return np.asarray(panned)

    def _ready(self, image_rgb: U8, edges: U8, panned: NDArray[np.float64]) -> list[Track]:
        """Tracks that were proposed often enough, and look like things, to get an id."""
        ready = []
        for track in self.tracks:
            if track.track_id or not track.visible:
                continue
            observe(track, edges)
            if track.hits < hits_wanted(track, self.config.confirm_hits) and not track.sure:
                continue
            if track.part_of is not None:
                if self.config.name_parts and track.part_of.track_id:
                    ready.append(track)
                continue
            if track.undecided or track.area_px < 0.9 * self._least_area_px(*track.hw):
                continue
            # what was split off, or given, is not made of edges
            own_mask = track.split_from_id > 0 or track.given
            if own_mask or is_thing(track, image_rgb, edges, panned):
                ready.append(track)
        return ready

    def _examine(
        self, image_rgb: U8, ready: list[Track], codes: Codes, aid: Aid | None
    ) -> tuple[list[Track], list[Track]]:
        """Those that are ready for an id, pieces made whole; and those that are doubted."""
        if aid is None:
            return ready, []
        for piece, whole in aid.wholes(image_rgb, [t for t in ready if t.part_of is None]):
            if piece.visible:
                complete(piece, whole, self.tracks)
                x0, y0, x1, y1 = piece.box
                piece.set_look(histogram(codes[y0:y1, x0:x1], piece.inside > 0))
        ready = [t for t in ready if t.visible]
        return ready, aid.doubts(image_rgb, [t for t in ready if t.part_of is None])

    def _confirm(self, ready: Sequence[Track], doubted: Sequence[Track]) -> list[Track]:
        """Give them ids: those of lost tracks, or new ones to those that are not doubted."""
        started = []
        for track in ready:
            lost = None
            if track.part_of is None:
                width_px = track.hw[1]
                lost = lost_like(self.tracks, track.look, track.centre, track.area_px, width_px)
            if lost is not None:
                track.track_id, track.first_ns = lost.track_id, lost.first_ns
                track.frames += lost.frames
                self.tracks.remove(lost)
            elif track not in doubted:
                track.track_id, self._next_id = self._next_id, self._next_id + 1
                started.append(track)
        return started

    def _is_over(self, track: Track, time_ns: int) -> bool:
        if not track.track_id:
            return not track.visible or track.misses >= (2 if track.part_of is None else 10)
        hidden_ns = time_ns - track.last_ns
        return track.merged_into is not None or (
            not track.visible and hidden_ns > self.config.hidden_s * 1e9
        )

    def _end_all(self) -> tuple[Track, ...]:
        ended = tuple(sorted((t for t in self.tracks if t.track_id), key=lambda t: t.track_id))
        self.tracks = []
        self._full = False
        self._background = RestingBackground()
        self._to_world = np.eye(3)
        return ended
