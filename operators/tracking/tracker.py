"""Masks through time: carried by the flow, confirmed by proposals, remembered while hidden.

Works on one stream, on pictures of the working size. Deterministic, and picklable as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import Codes, colour_codes, histogram, likeness
from operators.tracking.association import Associator, lost_like
from operators.tracking.background import RestingBackground
from operators.tracking.cuts import is_cut
from operators.tracking.flow import Motion, carry, measure_motion
from operators.tracking.proposals import (
    Candidate,
    changed_candidates,
    common_px,
    edge_strength,
    island_candidates,
    moving_candidates,
    overlap,
)
from operators.tracking.track_state import Track

U8 = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class TrackerConfig:
    """How the tracker decides; times in seconds of media time."""

    propose_every_s: float = 0.2
    hidden_s: float = 2.0
    min_area_share: float = 0.0005
    max_tracks: int = 24
    confirm_hits: int = 3
    lost_likeness: float = 0.45


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What a frame changed; `ended` have an id, `visible` are confirmed and in the picture."""

    cut: bool = False
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
    _background: RestingBackground = field(default_factory=RestingBackground)

    def step(self, image_rgb: U8, time_ns: int, extra: list[Candidate] | None = None) -> Step:
        """Take the next picture (HxWx3 uint8); `extra` are proposals from elsewhere, e.g. SAM."""
        gray = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
        before, self._before = self._before, gray
        self.frames += 1
        if before is None or before.shape != gray.shape:
            return self._discover(image_rgb, time_ns, None, extra, self._end_all())
        motion = measure_motion(before, gray)
        if is_cut(before, gray, motion):
            ended = self._end_all()
            return self._discover(image_rgb, time_ns, None, extra, ended, cut=True)
        codes = colour_codes(image_rgb)
        self._background.update(image_rgb, motion, self.tracks)
        for track in self.tracks:
            self._propagate(track, motion)
        self._share_pixels(codes)
        for track in self.tracks:
            if track.visible:
                self._judge(track, codes, time_ns)
        return self._discover(image_rgb, time_ns, motion, extra, ())

    def wants_proposals(self, time_ns: int) -> bool:
        """Whether the next picture will be searched for objects."""
        due_ns = self.config.propose_every_s * 1e9 * 0.99
        return self._proposed_ns is None or time_ns - self._proposed_ns >= due_ns

    def finish(self) -> tuple[Track, ...]:
        """End all tracks; those that were confirmed."""
        return self._end_all()

    def _discover(
        self,
        image_rgb: U8,
        time_ns: int,
        motion: Motion | None,
        extra: list[Candidate] | None,
        ended: tuple[Track, ...],
        cut: bool = False,
    ) -> Step:
        started: list[Track] = []
        if cut or motion is None:
            self._proposed_ns = None
        if self.wants_proposals(time_ns):
            self._proposed_ns = time_ns
            codes = colour_codes(image_rgb)
            candidates, edges = self._candidates(image_rgb, motion, extra)
            least_px = self._least_area_px(image_rgb)
            Associator(self.tracks, codes, edges, time_ns, least_px, self.config.max_tracks).run(
                candidates
            )
            started = self._confirm()
        gone = [t for t in self.tracks if self._is_over(t, time_ns)]
        self.tracks = [t for t in self.tracks if t not in gone]
        visible = [t for t in self.tracks if t.visible and t.track_id]
        return Step(
            cut=cut,
            visible=tuple(sorted(visible, key=lambda t: t.track_id)),
            started=tuple(started),
            ended=(*ended, *sorted((t for t in gone if t.track_id), key=lambda t: t.track_id)),
        )

    def _candidates(
        self, image_rgb: U8, motion: Motion | None, extra: list[Candidate] | None
    ) -> tuple[list[Candidate], U8]:
        edges = edge_strength(image_rgb)
        least_px = self._least_area_px(image_rgb)
        found = list(extra or [])
        more = island_candidates(image_rgb, edges, least_px)
        if motion is not None:
            more += moving_candidates(motion.residual, image_rgb, edges, 2 * least_px)
        rest = self._background.picture(image_rgb)
        if rest is not None:
            more += changed_candidates(image_rgb, rest, edges, least_px)
        for candidate in more:
            if all(overlap(candidate, other) < 0.5 for other in found):
                found.append(candidate)
        return found, edges

    def _least_area_px(self, image_rgb: U8) -> int:
        height, width = image_rgb.shape[:2]
        return int(max(40, self.config.min_area_share * height * width))

    def _propagate(self, track: Track, motion: Motion) -> None:
        if track.visible:
            before = track.centre
            track.set_mask(carry(track.soft, track.box, motion.back))
            if track.area_px:
                rest = motion.camera @ np.array([*before, 1.0])
                track.velocity = 0.8 * track.velocity + 0.2 * (np.array(track.centre) - rest)
        else:
            moved = motion.camera @ np.array([*track.centre, 1.0]) + track.velocity
            track.centre = (float(moved[0]), float(moved[1]))

    def _share_pixels(self, codes: Codes) -> None:
        """Where two masks overlap, each pixel goes to the track whose colours it has."""
        seen = [t for t in self.tracks if t.visible and t.area_px]
        for i, a in enumerate(seen):
            for b in seen[i + 1 :]:
                if not common_px(a.inside, b.inside, a.box, b.box):
                    continue
                both = (a.inside & b.inside) > 0
                to_a = a.look[codes[both]] >= b.look[codes[both]]
                for track, lost in ((a, ~to_a), (b, to_a)):
                    soft = track.soft.copy()
                    values = soft[both]
                    values[lost] = 0
                    soft[both] = values
                    track.set_mask(soft)

    def _judge(self, track: Track, codes: Codes, time_ns: int) -> None:
        """Is this still the same thing, and is there enough of it?"""
        if track.area_px < max(24, 0.12 * track.usual_area_px):
            track.hide(time_ns)
            return
        alike = likeness(track.look, histogram(codes, track.inside > 0))
        track.score = 0.7 * track.score + 0.3 * alike
        track.unlike = track.unlike + 1 if alike < self.config.lost_likeness else 0
        if track.unlike >= 3:
            track.hide(time_ns)
            return
        track.last_ns = time_ns
        track.frames += 1

    def _confirm(self) -> list[Track]:
        """Give ids to what was proposed often enough: that of a lost track, or a new one."""
        started = []
        for track in list(self.tracks):
            if track.track_id or not track.visible:
                continue
            if track.hits < self.config.confirm_hits and not track.sure:
                continue
            width_px = track.soft.shape[1]
            lost = lost_like(self.tracks, track.look, track.centre, track.area_px, width_px)
            if lost is None:
                track.track_id, self._next_id = self._next_id, self._next_id + 1
                started.append(track)
            else:
                track.track_id, track.first_ns = lost.track_id, lost.first_ns
                track.frames += lost.frames
                self.tracks.remove(lost)
        return started

    def _is_over(self, track: Track, time_ns: int) -> bool:
        if not track.track_id:
            return not track.visible or track.misses >= 2
        return not track.visible and time_ns - track.last_ns > self.config.hidden_s * 1e9

    def _end_all(self) -> tuple[Track, ...]:
        ended = tuple(sorted((t for t in self.tracks if t.track_id), key=lambda t: t.track_id))
        self.tracks = []
        self._background = RestingBackground()
        return ended
