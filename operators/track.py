"""Tracks regions: frames in, frames with masks and ids out, and events of what began and ended."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.proposals import Candidate, edge_strength, make_candidate
from operators.tracking.track_state import Track as State
from operators.tracking.tracker import Step, Tracker, TrackerConfig
from streamer.errors import WeightsError
from streamer.interfaces import Operator, Resources
from streamer.mask import Mask
from streamer.records import Event, Frame, Region, TrackedFrame

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter


class Track(Operator[Frame | Event, TrackedFrame | Event]):
    """Finds regions, follows their masks with dense optical flow, and names them by track ids.

    Gives one TrackedFrame for every frame, and the events `cut`, `track_start`, `track_end` (data:
    start_ns, end_ns, frames) and `stream_end`; other events pass through. A track shows up when it
    was proposed several times in a row; it survives short occlusions. A cut ends all tracks.

    Args:
        propose_every_s: seconds of media time between searches for new objects.
        hidden_s: seconds for which a track that cannot be seen is remembered.
        min_area_share: smallest object, as a share of the picture's area (0.0005 is 21 x 21 px
            at 1280 x 720).
        max_tracks: at most this many at once.
        work_height_px: pictures are tracked at this height.
        sam_checkpoint: a `sam_vit_*.pth` file; SAM then proposes and refines. "" for none.
        sam_type: vit_b, vit_l or vit_h.
        device: where SAM runs: "auto", "cpu", "cuda", ...
    """

    resources = Resources(cpus=1)
    keyed = True

    def __init__(
        self,
        propose_every_s: float = 0.2,
        hidden_s: float = 2.0,
        min_area_share: float = 0.0005,
        max_tracks: int = 24,
        work_height_px: int = 360,
        sam_checkpoint: str = "",
        sam_type: str = "vit_b",
        device: str = "auto",
    ) -> None:
        if propose_every_s <= 0 or hidden_s < 0:
            raise ValueError("propose_every_s is more than 0 and hidden_s at least 0 seconds")
        if not 0 < min_area_share < 1:
            raise ValueError(f"min_area_share is {min_area_share}; wanted between 0 and 1")
        if max_tracks < 1 or work_height_px < 64:
            raise ValueError("max_tracks is at least 1 and work_height_px at least 64")
        if sam_type not in ("vit_b", "vit_l", "vit_h"):
            raise ValueError(f"sam_type is {sam_type!r}; wanted vit_b, vit_l or vit_h")
        self.config = TrackerConfig(
            propose_every_s=propose_every_s,
            hidden_s=hidden_s,
            min_area_share=min_area_share,
            max_tracks=max_tracks,
        )
        self.work_height_px = work_height_px
        self.sam_checkpoint = sam_checkpoint
        self.sam_type = sam_type
        self.device = device
        self._sam: Segmenter | None = None
        self._trackers: dict[str, Tracker] = {}
        self._last_ns: dict[str, int] = {}

    def setup(self) -> None:
        """Load SAM, when a checkpoint is given.

        Raises:
            WeightsError: when it is missing or does not fit.
        """
        if not self.sam_checkpoint:
            return
        if not Path(self.sam_checkpoint).is_file():  # said before anything is loaded
            raise WeightsError(
                f"{self.sam_checkpoint}: no such SAM checkpoint; download one from the "
                "segment-anything page"
            )
        try:
            from model.sam.segmenter import Segmenter

            self._sam = Segmenter.from_checkpoint(
                self.sam_checkpoint, kind=self.sam_type, device=self.device
            )
        except ModuleNotFoundError:
            raise WeightsError(
                "sam_checkpoint needs segment-anything; pip install 'osprey-streamer[sam]'"
            ) from None
        except (OSError, ValueError) as error:
            raise WeightsError(f"{self.sam_checkpoint}: {error}") from error

    def process(self, items: Sequence[Frame | Event]) -> list[TrackedFrame | Event]:
        outputs: list[TrackedFrame | Event] = []
        for item in items:
            outputs += self._track(item) if isinstance(item, Frame) else [item]
        return outputs

    def flush(self, stream_id: str) -> list[TrackedFrame | Event]:
        tracker = self._trackers.pop(stream_id, None)
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
        return pickle.dumps((self._trackers[stream_id], self._last_ns[stream_id]))

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._trackers[stream_id], self._last_ns[stream_id] = pickle.loads(state)

    def close(self) -> None:
        self._sam = None

    def _track(self, frame: Frame) -> list[TrackedFrame | Event]:
        stream_id, time_ns = frame.stream_id, frame.time_ns
        tracker = self._trackers.setdefault(stream_id, Tracker(self.config))
        self._last_ns[stream_id] = time_ns
        height, width = frame.hw
        scale = min(1.0, self.work_height_px / height)
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        small = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        extra = None
        if self._sam is not None and tracker.wants_proposals(time_ns):
            extra = _from_sam(self._sam, frame.image, small)
        step = tracker.step(small, time_ns, extra)
        events: list[TrackedFrame | Event] = [
            _ended(stream_id, track, time_ns) for track in step.ended
        ]
        if step.cut:
            events.append(Event(stream_id=stream_id, time_ns=time_ns, kind="cut"))
        for track in step.started:
            events.append(
                Event(
                    stream_id=stream_id,
                    time_ns=time_ns,
                    kind="track_start",
                    track_id=track.track_id,
                    data={"start_ns": track.first_ns},
                )
            )
        masks = self._masks(frame, step)
        regions = tuple(
            Region(
                mask=mask,
                box_xyxy=mask.box_xyxy,
                score=float(np.clip(track.score, 0, 1)),
                track_id=track.track_id,
            )
            for track, mask in zip(step.visible, masks, strict=True)
            if mask.area_px
        )
        return [*events, TrackedFrame(frame=frame, regions=regions)]

    def _masks(self, frame: Frame, step: Step) -> list[Mask]:
        """The visible tracks' masks at the frame's own size."""
        coarse = [_full_size(track, frame.hw) for track in step.visible]
        if self._sam is None or not coarse:
            return coarse
        boxes = np.array([mask.box_xyxy for mask in coarse], np.float32)
        refined = self._sam.refine(frame.image, boxes)
        # SAM may jump to a part or to what lies behind: it has to agree with the flow
        return [
            fine if fine.iou(mask) >= 0.6 else mask
            for mask, fine in zip(coarse, map(Mask.encode, refined), strict=True)
        ]


def _ended(stream_id: str, track: State, time_ns: int) -> Event:
    return Event(
        stream_id=stream_id,
        time_ns=time_ns,
        kind="track_end",
        track_id=track.track_id,
        data={"start_ns": track.first_ns, "end_ns": track.last_ns, "frames": track.frames},
    )


def _full_size(track: State, hw: tuple[int, int]) -> Mask:
    """A track's soft mask, enlarged around its box only."""
    height, width = hw
    work_h, work_w = track.soft.shape
    x0, y0, x1, y1 = track.box
    x0, y0, x1, y1 = max(0, x0 - 2), max(0, y0 - 2), min(work_w, x1 + 2), min(work_h, y1 + 2)
    left, right = round(x0 * width / work_w), round(x1 * width / work_w)
    top, bottom = round(y0 * height / work_h), round(y1 * height / work_h)
    size = (max(1, right - left), max(1, bottom - top))
    soft = cv2.resize(track.soft[y0:y1, x0:x1], size, interpolation=cv2.INTER_LINEAR)
    return Mask.encode_box(soft > 127, left, top, hw)


def _from_sam(
    sam: Segmenter, image: NDArray[np.uint8], small: NDArray[np.uint8]
) -> list[Candidate]:
    edges = edge_strength(small)
    size = (small.shape[1], small.shape[0])
    candidates = []
    for mask in sam.propose(image):
        inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
        candidate = make_candidate(inside, edges)
        if candidate is not None:
            candidates.append(candidate)
    return candidates
