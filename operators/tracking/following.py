"""Tracks from picture to picture: carried by the flow, and judged by what they look like."""

from __future__ import annotations

from collections.abc import Container, Sequence

import cv2
import numpy as np

from operators.tracking.appearance import Codes
from operators.tracking.evidence import likeness_now
from operators.tracking.flow import Motion, carry
from operators.tracking.parts import leader
from operators.tracking.track_state import Track

_CRUMBS, _AWAY_PX = 0.1, 6  # of the largest piece, and from its box


def propagate(tracks: Sequence[Track], motion: Motion) -> dict[Track, Track]:
    """Masks go with the flow; what is hidden goes as it last went, and what is too thin for the
    flow as what it touches.

    Returns:
        The thin ones, each with what it goes with.
    """
    camera = motion.camera
    led = {t: large for t in tracks if (large := leader(t)) is not None}
    carried, came_from, middles = [], [], []
    for track in tracks:
        if not track.visible:
            moved = camera @ np.array([*track.centre, 1.0]) + track.velocity
            track.centre = (float(moved[0]), float(moved[1]))
        elif track not in led:
            track.set_mask(*carry(track.soft, track.left, track.top, track.box, motion.back))
            if track.area_px:
                x0, y0, x1, y1 = track.box
                carried.append(track)
                came_from.append(cv2.mean(motion.back[y0:y1, x0:x1], track.inside)[:2])
                middles.append(((x0 + x1) / 2, (y0 + y1) / 2))
    # of a resting thing's motion only the camera's turning depends on where it lies: the middle of
    # the box will do
    now = np.array(middles).reshape(-1, 2)
    earlier = now + np.array(came_from).reshape(-1, 2)
    steps = now - earlier @ camera[:, :2].T - camera[:, 2]
    for track, step in zip(carried, steps, strict=True):
        track.velocity = track.velocity + max(0.1, 1 / track.frames) * (step - track.velocity)
        track.flowed = track.flowed + step
    ways = dict(zip(carried, came_from, strict=True))
    for track, large in led.items():
        track.shift(-np.array(ways.get(large, (0.0, 0.0))))
        track.velocity = large.velocity
    return led


def judge(
    tracks: Sequence[Track],
    codes: Codes,
    time_ns: int,
    led: Container[Track],
    lost_likeness: float,
) -> None:
    """Is each visible track still the same thing, and is there enough of it? Of what is `led` only
    proposals tell."""
    seen = []
    for track in tracks:
        if track.visible:
            if track.area_px < max(24, 0.12 * track.usual_area_px):
                track.hide(time_ns)
            else:
                seen.append(track)
    for track, alike in zip(seen, likeness_now(seen, codes), strict=True):
        track.score = 0.7 * track.score + 0.3 * alike
        lost = alike < lost_likeness and track not in led
        track.unlike = track.unlike + 1 if lost else 0
        if track.unlike >= 3:
            track.hide(time_ns)
            continue
        track.last_ns = time_ns
        track.frames += 1


def tidy(tracks: Sequence[Track]) -> None:
    """Drop what the flow left behind: pieces of a mask with less than a tenth of its largest, and
    away from it."""
    for track in tracks:
        if not track.visible or not track.area_px or track.given:
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats(track.inside)
        x, y, w, h, area = stats[1:].T
        i = int(area.argmax())
        apart_x = np.maximum(x - x[i] - w[i], x[i] - x - w)
        apart_y = np.maximum(y - y[i] - h[i], y[i] - y - h)
        crumbs = (area < _CRUMBS * area[i]) & (np.maximum(apart_x, apart_y) > _AWAY_PX)
        if crumbs.any():
            soft = track.window(track.box)
            soft[np.concatenate([[False], crumbs])[labels]] = 0
            track.set_mask(soft, *track.box[:2])
