"""Trackers of other packages behind one form: the boxes of a picture in, ids out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Update = Callable[[Boxes], tuple[NDArray[np.int64], Boxes]]


def box_trackers(fps: float, hidden_s: float) -> tuple[dict[str, Callable[[], Update]], list[str]]:
    """What is installed, by name and version, and a line for each that is not.

    Each value makes a tracker for one stream: a function that takes the N x 4 boxes (x0, y0, x1,
    y1) of the next picture and gives the ids and boxes of the tracks it sees in it. All remember
    what is lost for `hidden_s`, and confirm a track by its third picture.
    """
    found: dict[str, Callable[[], Update]] = {}
    lacking: list[str] = []
    try:
        trackers, supervision = import_module("trackers"), import_module("supervision")
    except ImportError:
        lacking.append("ByteTrack, OC-SORT: not installed; pip install 'osprey-streamer[bench]'")
    else:
        for name, kind in (("ByteTrack", "ByteTrackTracker"), ("OC-SORT", "OCSORTTracker")):
            make = getattr(trackers, kind)
            # they count lost pictures at 30 a second, whatever the frame rate
            options = {"lost_track_buffer": round(30 * hidden_s), "frame_rate": fps}
            found[f"{name} (trackers {version('trackers')})"] = _roboflow(
                make, options, supervision.Detections
            )
    try:
        norfair = import_module("norfair")
    except ImportError:
        lacking.append("norfair: not installed; its releases ask for numpy below 2")
    else:
        found[f"norfair {version('norfair')}"] = _norfair(norfair, round(fps * hidden_s))
    return found, lacking


def _roboflow(make: Any, options: dict[str, Any], detections: Any) -> Callable[[], Update]:
    def begin() -> Update:
        tracker = make(**options)

        def update(boxes_N4: Boxes) -> tuple[NDArray[np.int64], Boxes]:
            seen = tracker.update(detections(xyxy=boxes_N4.astype(np.float32).reshape(-1, 4)))
            known = np.asarray(seen.tracker_id) >= 0
            return np.asarray(seen.tracker_id)[known].astype(np.int64), seen.xyxy[known]

        return update

    return begin


def _norfair(norfair: Any, most_lost: int) -> Callable[[], Update]:
    def begin() -> Update:
        tracker = norfair.Tracker(
            distance_function="iou",
            distance_threshold=0.7,  # 1 - IoU, as the others' least IoU of 0.3
            hit_counter_max=most_lost,
            initialization_delay=2,
        )

        def update(boxes_N4: Boxes) -> tuple[NDArray[np.int64], Boxes]:
            given = [norfair.Detection(points=box.reshape(2, 2)) for box in boxes_N4]
            fresh = {id(detection) for detection in given}
            seen = [t for t in tracker.update(given) if id(t.last_detection) in fresh]
            boxes = [t.last_detection.points.ravel() for t in seen]
            return np.array([t.id for t in seen], np.int64), np.array(boxes).reshape(-1, 4)

        return update

    return begin
