"""Follows objects whose masks are given: the first ones, and others from where they appear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.resize import full_size, shrunk
from operators.tracking.tracker import Tracker, TrackerConfig
from streamer.mask import Mask

if TYPE_CHECKING:
    from model.sam.video_session import VideoSession

BoolMask = NDArray[np.bool_]


def follow_given(
    images: Iterable[NDArray[np.uint8]],
    given: Mapping[int, Mapping[int, BoolMask]],
    *,
    fps: float = 25.0,
    work_height_px: int = 360,
) -> Iterator[dict[int, Mask]]:
    """Every picture's masks by object id; what cannot be seen is left out.

    Args:
        images: HxWx3 uint8 RGB.
        given: for the index of a picture, each object that starts there with its HxW mask. A mask
            too small to be seen at the working size is followed as its one nearest pixel.
        fps: pictures a second.
        work_height_px: pictures are tracked at this height.
    """
    tracker = Tracker(TrackerConfig(discover=False, hidden_s=float("inf")))
    objects: dict[int, int] = {}  # track id -> object id
    for index, image in enumerate(images):
        small = shrunk(image, work_height_px)
        time_ns = round(index * 1e9 / fps)
        step = tracker.step(small, time_ns)
        visible = list(step.visible)
        for object_id, mask in given.get(index, {}).items():
            track = tracker.add(_shrunk_mask(mask, small.shape[:2]), small, time_ns)
            objects[track.track_id] = object_id
            visible.append(track)
        masks = full_size(visible, image.shape[:2])
        yield {objects[t.track_id]: m for t, m in zip(visible, masks, strict=True) if m.area_px}


def follow_given_with(
    session: VideoSession,
    images: Iterable[NDArray[np.uint8]],
    given: Mapping[int, Mapping[int, BoolMask]],
) -> Iterator[dict[int, Mask]]:
    """The same by SAM 2 or EdgeTAM, with a new session of theirs."""
    for index, image in enumerate(images):
        sightings = session.step(image)
        for object_id, mask in given.get(index, {}).items():
            sightings[object_id] = session.add_object(object_id, mask=mask)
        hw = (image.shape[0], image.shape[1])
        found = {n: Mask.encode(s.mask(hw)) for n, s in sightings.items() if s.score >= 0.5}
        yield {object_id: mask for object_id, mask in found.items() if mask.area_px}


def _shrunk_mask(mask: BoolMask, hw: tuple[int, ...]) -> BoolMask:
    height, width = hw
    share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    # the greatest share is enough where no pixel is covered by half
    return np.asarray((share >= min(0.5, float(share.max()))) & (share > 0), bool)
