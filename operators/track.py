"""Tracks regions: frames in, frames with masks and ids out, and events of what began and ended."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.segmenting import NONE, TYPES, load_segmenter
from operators.tracking.refining import Refiner
from operators.tracking.resize import full_size, shrunk
from operators.tracking.track_state import Track as State
from operators.tracking.tracker import Step, Tracker, TrackerConfig
from streamer.interfaces import Operator, Resources
from streamer.records import Event, Frame, Region, TrackedFrame

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter


class Track(Operator[Frame | Event, TrackedFrame | Event]):
    """Finds regions, follows their masks with dense optical flow, and names them by track ids.

    Gives one TrackedFrame for every frame, and the events `cut`, `track_start`, `track_end` (data:
    start_ns, end_ns, frames) and `stream_end`; other events pass through. A track shows up when it
    was proposed several times in a row; it survives short occlusions. A cut ends all tracks. When
    there are `max_tracks`, what comes besides is left out; `tracks_full` says so, once a shot.

    Two tracks that turn out to be one thing become the larger one: `track_merge` (track_id: the
    other one; data: other_track_id, the larger), then the other's `track_end`. When what one track
    covers turns out to be two things, because they part, the larger one keeps the id:
    `track_split` (track_id: the new one; data: other_track_id, the larger), after its
    `track_start`.

    Args:
        propose_every_s: seconds of media time between searches for new objects.
        hidden_s: seconds for which a track that cannot be seen is remembered.
        min_area_share: smallest object, as a share of the picture's area (0.0005 is 21 x 21 px
            at 1280 x 720).
        max_tracks: at most this many at once.
        work_height_px: pictures are tracked at this height.
        sam: SAM finds objects that nothing else does, says what is none, and refines outlines:
            "nano" for the model that comes with the product, the folder of another sam-nano, a
            `sam_vit_*.pth` file, or "none".
        sam_type: vit_b, vit_l or vit_h, the type of a `.pth` file.
        sam_every_s: seconds of media time between SAM's searches for objects; it then refines all
            outlines again.
        sam_points: how many points where no track is a search asks about; 0 for no search.
        device: where SAM runs: "auto", "cpu", "cuda", ...
        parts: whether what touches a larger thing and moves as one with it, as a head or a handle,
            is a region of its own too, whose `part_of` is the larger one's track_id. Its pixels
            are shown with the larger one in any case.
    """

    resources = Resources(cpus=1)
    keyed = True
    forgets_at_cuts = True

    def __init__(
        self,
        propose_every_s: float = 0.2,
        hidden_s: float = 2.0,
        min_area_share: float = 0.0005,
        max_tracks: int = 24,
        work_height_px: int = 360,
        sam: str = "nano",
        sam_type: str = "vit_b",
        sam_every_s: float = 5.0,
        sam_points: int = 8,
        device: str = "auto",
        parts: bool = False,
    ) -> None:
        if propose_every_s <= 0 or hidden_s < 0:
            raise ValueError("propose_every_s is more than 0 and hidden_s at least 0 seconds")
        if not 0 < min_area_share < 1:
            raise ValueError(f"min_area_share is {min_area_share}; wanted between 0 and 1")
        if max_tracks < 1 or work_height_px < 64:
            raise ValueError("max_tracks is at least 1 and work_height_px at least 64")
        if sam_type not in TYPES:
            raise ValueError(f"sam_type is {sam_type!r}; wanted {', '.join(TYPES)}")
        if sam_every_s <= 0:
            raise ValueError(f"sam_every_s is {sam_every_s}; wanted more than 0 seconds")
        if sam_points < 0:
            raise ValueError(f"sam_points is {sam_points}; wanted at least 0")
        self.config = TrackerConfig(
            propose_every_s=propose_every_s,
            hidden_s=hidden_s,
            min_area_share=min_area_share,
            max_tracks=max_tracks,
            name_parts=parts,
        )
        self.work_height_px = work_height_px
        self.sam = sam
        self.sam_type = sam_type
        self.sam_points = sam_points
        self.sam_every_ns = round(sam_every_s * 1e9)
        self.device = device
        self._segmenter: Segmenter | None = None
        self._refiners: dict[str, Refiner] = {}
        self._trackers: dict[str, Tracker] = {}
        self._last_ns: dict[str, int] = {}

    def setup(self) -> None:
        """Load SAM, when it is wanted.

        Raises:
            WeightsError: when it is missing or does not fit.
        """
        if self.sam != NONE:
            self._segmenter = load_segmenter(self.sam, self.sam_type, self.device)

    def process(self, items: Sequence[Frame | Event]) -> list[TrackedFrame | Event]:
        outputs: list[TrackedFrame | Event] = []
        for item in items:
            outputs += self._track(item) if isinstance(item, Frame) else [item]
        return outputs

    def flush(self, stream_id: str) -> list[TrackedFrame | Event]:
        tracker = self._trackers.pop(stream_id, None)
        self._refiners.pop(stream_id, None)
        if tracker is None:
            return []
        last_ns = self._last_ns.pop(stream_id)
        events = [_ended(stream_id, track, last_ns) for track in tracker.finish()]
        done = Event(
            stream_id=stream_id, time_ns=last_ns, kind="stream_end", data={"frames": tracker.frames}
        )
        return [*events, done]

    def snapshot(self, stream_id: str) -> bytes:
        if stream_id not in self._trackers:
            return b""
        refiner = self._refiners.get(stream_id)
        return pickle.dumps((self._trackers[stream_id], self._last_ns[stream_id], refiner))

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._trackers[stream_id], self._last_ns[stream_id], refiner = pickle.loads(state)
            if refiner is not None:
                self._refiners[stream_id] = refiner

    def close(self) -> None:
        self._segmenter = None

    def _track(self, frame: Frame) -> list[TrackedFrame | Event]:
        stream_id, time_ns = frame.stream_id, frame.time_ns
        if stream_id not in self._trackers:
            self._trackers[stream_id] = self._new_tracker()
        tracker = self._trackers[stream_id]
        self._last_ns[stream_id] = time_ns
        small = shrunk(frame.image, self.work_height_px)
        step = self._step(tracker, frame, small)
        events: list[TrackedFrame | Event] = []
        for track in step.ended:
            if track.merged_into is not None:
                events.append(_happened(stream_id, track, time_ns, "track_merge",
                                        other_track_id=track.merged_into.track_id))  # fmt: skip
            events.append(_ended(stream_id, track, time_ns))
        if step.cut:
            events.append(Event(stream_id=stream_id, time_ns=time_ns, kind="cut"))
        for track in step.started:
            events.append(
                _happened(stream_id, track, time_ns, "track_start", start_ns=track.first_ns)
            )
            if track.split_from_id:
                events.append(_happened(stream_id, track, time_ns, "track_split",
                                        other_track_id=track.split_from_id))  # fmt: skip
        if step.left_out:
            data = {"reason": f"more to follow than {self.config.max_tracks} tracks (max_tracks): "
                    "the rest is left out"}  # fmt: skip
            events.append(
                Event(stream_id=stream_id, time_ns=time_ns, kind="tracks_full", data=data)
            )
        regions = self._regions(step, frame.hw)
        return [*events, TrackedFrame(frame=frame, regions=regions)]

    def _regions(self, step: Step, hw: tuple[int, int]) -> tuple[Region, ...]:
        shown = list(step.visible)
        masks = full_size(shown, hw, step.parts)
        if self.config.name_parts:
            parts = [t for t in step.parts if t.track_id and t.part_of in step.visible]
            shown += parts
            masks += full_size(parts, hw)
        made = [
            Region(
                mask=mask,
                box_xyxy=mask.box_xyxy,
                score=min(1.0, max(0.0, float(track.score))),
                track_id=track.track_id,
                part_of=None if track.part_of is None else track.part_of.track_id,
            )
            for track, mask in zip(shown, masks, strict=True)
            if mask.area_px
        ]
        return tuple(sorted(made, key=lambda region: region.track_id))

    def _new_tracker(self) -> Tracker:
        """For a stream that begins."""
        return Tracker(self.config)

    def _step(self, tracker: Tracker, frame: Frame, small: NDArray[np.uint8]) -> Step:
        """The tracker's next step, with SAM's help where there is one; `small` is the picture at
        its working size."""
        refiner = None
        if self._segmenter is not None:
            fresh = Refiner(self.sam_every_ns, self.sam_points)
            refiner = self._refiners.setdefault(frame.stream_id, fresh)
            refiner.segmenter = self._segmenter
        return tracker.step(small, frame.time_ns, refiner)


def _ended(stream_id: str, track: State, time_ns: int) -> Event:
    span = {"start_ns": track.first_ns, "end_ns": track.last_ns, "frames": track.frames}
    return _happened(stream_id, track, time_ns, "track_end", **span)


def _happened(stream_id: str, track: State, time_ns: int, kind: str, **data: int) -> Event:
    return Event(
        stream_id=stream_id, time_ns=time_ns, kind=kind, track_id=track.track_id, data=data
    )
