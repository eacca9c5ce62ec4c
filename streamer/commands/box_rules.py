"""Rules that look at the bottom of boxes, as `supervision` has them: for comparison only."""

from __future__ import annotations

import numpy as np
import supervision as sv

from model.synthetic.happenings import Drawn, Happening
from streamer.records import Event, TrackedFrame


class BoxBottoms:
    """LineZone and PolygonZone on the middle of the lower edge of every track's box."""

    def __init__(self, drawn: Drawn) -> None:
        anchors = [sv.Position.BOTTOM_CENTER]
        self._drawn = drawn
        self._lines = {
            name: sv.LineZone(
                start=sv.Point(*start), end=sv.Point(*end), triggering_anchors=anchors
            )
            for name, (start, end) in drawn.lines.items()
        }
        self._zones = {
            name: sv.PolygonZone(np.array(corners).round().astype(int), triggering_anchors=anchors)
            for name, corners in drawn.zones.items()
        }
        self._since: dict[tuple[str, int], int] = {}
        self._dwelt: set[tuple[str, int]] = set()
        self._told: list[Happening] = []

    def see(self, item: TrackedFrame | Event) -> None:
        """Take a frame; supervision keeps the state of lines, that of zones is kept here."""
        if isinstance(item, Event):
            return
        now_ns = item.frame.time_ns
        ids = [region.track_id for region in item.regions]
        boxes = np.array([r.box_xyxy for r in item.regions], np.float32).reshape(-1, 4)
        detections = sv.Detections(
            xyxy=boxes, class_id=np.zeros(len(ids), int), tracker_id=np.array(ids, int)
        )
        for name, line in self._lines.items():
            # its "in" is to the left of who walks from the start to the end, with y down
            for side, crossed in zip(("left", "right"), line.trigger(detections), strict=True):
                for track_id in np.array(ids, int)[crossed]:
                    self._tell(f"{name}-{side}", int(track_id), now_ns)
        for name, zone in self._zones.items():
            inside = {i for i, hit in zip(ids, zone.trigger(detections), strict=True) if hit}
            self._zone(name, inside, now_ns)

    def told(self) -> list[Happening]:
        return self._told

    def _zone(self, name: str, inside: set[int], now_ns: int) -> None:
        for track_id in [i for zone, i in self._since if zone == name and i not in inside]:
            del self._since[name, track_id]
            self._dwelt.discard((name, track_id))
            self._tell(f"{name}-leave", track_id, now_ns)
        for track_id in inside:
            key = (name, track_id)
            if key not in self._since:
                self._since[key] = now_ns
                self._tell(f"{name}-enter", track_id, now_ns)
            due_ns = self._since[key] + round(self._drawn.dwell_s * 1e9)
            if now_ns >= due_ns and key not in self._dwelt:
                self._dwelt.add(key)
                self._tell(f"{name}-dwell", track_id, due_ns)

    def _tell(self, rule: str, track_id: int, time_ns: int) -> None:
        self._told.append(Happening(rule=rule, object_id=track_id, time_ns=time_ns))
