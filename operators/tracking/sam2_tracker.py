"""The tracker with SAM 2 or EdgeTAM in the place of the optical flow.

What is new is proposed, confirmed and found again as `Tracker` does it; the masks from frame to
frame are the network's, and so is whether an object can be seen. Every track is one object of the
network's session; an object is removed with its track.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import Codes, histogram
from operators.tracking.candidate import meeting, overlap
from operators.tracking.flow import Motion
from operators.tracking.track_state import Track
from operators.tracking.tracker import Step, Tracker

if TYPE_CHECKING:
    from model.sam.video_session import Sighting, VideoSession

U8 = NDArray[np.uint8]
_AGREES = 0.5
_SAME = 0.7
_LEAST_PX = 24
_SOFT = 32  # steps of the soft mask for a logit
_SLOW = 0.05


@dataclass(eq=False)
class Sam2Tracker(Tracker):
    """Follows everything in one stream with a session of its own.

    Picklable with the session's state but without the network: `attach` a session after that.
    At most `max_tracks` objects are in the session, those that are hidden included.
    """

    session: VideoSession | None = None
    _objects: dict[int, Track] = field(default_factory=dict)
    _next_object: int = 1
    _hw: tuple[int, int] = (0, 0)
    _unseen: list[Track] = field(default_factory=list)
    _state: dict[str, Any] | None = None

    def attach(self, session: VideoSession) -> None:
        """Go on with this session, where the pickled one was."""
        if self._state is not None:
            session.restore(self._state)
        self.session, self._state = session, None

    def follow(self, image: U8, small: U8, time_ns: int) -> Step:
        """Take the next picture, for the network (HxWx3 uint8 of any size) and at the working
        size."""
        self._session.show(image)
        self._hw, self._unseen = (image.shape[0], image.shape[1]), []
        step = self.step(small, time_ns)
        for object_id, track in list(self._objects.items()):
            found_again = track.visible and track in self._unseen
            if track not in self.tracks or found_again:
                self._session.remove_object(object_id)
                del self._objects[object_id]
        prompted = list(self._objects.values())
        for track in self.tracks:
            if track not in prompted:
                self._prompt(track)
        return step

    @property
    def _session(self) -> VideoSession:
        if self.session is None:
            raise RuntimeError("the tracker has no session; attach one")
        return self.session

    def _most_visible(self) -> int:
        return self.config.max_tracks - sum(not t.visible for t in self.tracks)

    def _follow(self, codes: Codes, motion: Motion, change: U8, time_ns: int) -> None:
        sightings = self._session.track()
        for object_id, track in self._objects.items():
            self._place(track, sightings[object_id], motion, time_ns)
        self._hide_doubles(time_ns)
        for track in self.tracks:
            if not track.visible:
                continue
            track.last_ns = time_ns
            track.frames += 1
            x0, y0, x1, y1 = track.box
            look = histogram(codes[y0:y1, x0:x1], track.inside > 0)
            track.set_look((1 - _SLOW) * track.look + _SLOW * look)
            track.usual_area_px += 2 * _SLOW * (track.area_px - track.usual_area_px)
        self._unseen = [track for track in self.tracks if not track.visible]

    def _place(self, track: Track, sighting: Sighting, motion: Motion, time_ns: int) -> None:
        """The track's mask, visibility and velocity by what the network sees of it."""
        rest = motion.camera @ np.array([*track.centre, 1.0])
        was_visible = track.visible
        track.visible = sighting.score >= 0.5 and _take_mask(track, sighting) >= _LEAST_PX
        if track.visible:
            track.score = sighting.score
            if was_visible:
                track.velocity = 0.9 * track.velocity + 0.1 * (np.array(track.centre) - rest)
            return
        track.hide(time_ns)
        moved = rest + track.velocity
        track.centre = (float(moved[0]), float(moved[1]))

    def _hide_doubles(self, time_ns: int) -> None:
        """Of two masks that are nearly one, the older track's stays. The other is over when they
        do not part within the time for which hidden tracks are remembered."""
        seen = [track for track in self.tracks if track.visible]
        seen.sort(key=lambda t: (t.track_id == 0, t.track_id))
        for i, j in meeting(seen, seen):
            if i < j and seen[i].visible and overlap(seen[i], seen[j]) > _SAME:
                seen[j].hide(time_ns)

    def _prompt(self, track: Track) -> None:
        """Give a track to the network: by its box, or by its mask where the network finds another
        thing in the box."""
        height, width = track.hw
        scale = np.array([self._hw[1] / width, self._hw[0] / height] * 2)
        x0, y0, x1, y1 = (float(v) for v in np.array(track.box) * scale)
        sighting = self._session.add_object(self._next_object, box_xyxy=(x0, y0, x1, y1))
        own = track.window((0, 0, width, height)) > 127
        found = sighting.mask(track.hw)
        if (own & found).sum() >= _AGREES * (own | found).sum():
            _take_mask(track, sighting)
        else:
            self._session.remove_object(self._next_object)
            full = cv2.resize(own.view(np.uint8), self._hw[::-1], interpolation=cv2.INTER_NEAREST)
            self._session.add_object(self._next_object, mask=full.view(np.bool_))
        track.given = True  # from here on the proposals only support it
        self._objects[self._next_object] = track
        self._next_object += 1

    def __getstate__(self) -> dict[str, Any]:
        state = self._state if self.session is None else self.session.state()
        return {**self.__dict__, "session": None, "_state": state}


def _take_mask(track: Track, sighting: Sighting) -> int:
    """Give the track the network's mask; how many pixels it has."""
    logits = sighting.enlarged(track.hw)
    soft = np.clip(127.5 + _SOFT * logits, 0, 255).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(soft)
    track.set_mask(soft[y : y + max(1, h), x : x + max(1, w)].copy(), x, y)
    return track.area_px
