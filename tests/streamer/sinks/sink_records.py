"""Records to write in tests of sinks."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamer.geometry import BoxXYXY
from streamer.mask import Mask
from streamer.records import Caption, Event, Frame, Region, StreamInfo, TrackedFrame
from streamer.testing import frames_of
from tests.media_factory import picture_of

STREAM = StreamInfo(stream_id="test", uri="test:", width_px=160, height_px=120, fps=25.0)


def region(box_xyxy: BoxXYXY, track_id: int = 1, hw: tuple[int, int] = (120, 160)) -> Region:
    """A filled rectangle."""
    x0, y0, x1, y1 = box_xyxy
    dense = np.zeros(hw, bool)
    dense[y0:y1, x0:x1] = True
    return Region(mask=Mask.encode(dense), box_xyxy=box_xyxy, score=0.9, track_id=track_id)


def caption(
    start_s: float, end_s: float | None = None, text: str = "a red car", **changes: Any
) -> Caption:
    """Words of track 1, asked for where they start."""
    start_ns = round(start_s * 1e9)
    values: dict[str, Any] = {
        "stream_id": "test",
        "track_id": 1,
        "start_ns": start_ns,
        "end_ns": None if end_s is None else round(end_s * 1e9),
        "text": text,
        "asked_ns": start_ns,
        "frame_index": 0,
        "frame_time_ns": start_ns,
        "mask": region((40, 30, 80, 60)).mask,
        "mean_logprob": -0.25,
        "model": "test",
        "weights_hash": "0",
    }
    return Caption(**{**values, **changes})


def event(at_s: float, kind: str, track_id: int | None = None, **data: Any) -> Event:
    return Event(
        stream_id="test", time_ns=round(at_s * 1e9), kind=kind, track_id=track_id, data=data
    )


def numbered_frames(count: int, hw: tuple[int, int] = (120, 160), first_ns: int = 0) -> list[Frame]:
    """Pictures of a film that show their numbers, 40 ms apart."""
    return frames_of([picture_of(n, hw) for n in range(count)], first_ns=first_ns)


def tracked(frame: Frame, *regions: Region) -> TrackedFrame:
    return TrackedFrame(frame=frame, regions=regions)
