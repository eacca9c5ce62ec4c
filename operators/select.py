"""Which tracks need words now: asking costs, so each is asked about when it pays."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.geometry import box_area_px, box_intersection
from streamer.interfaces import Operator, Resources
from streamer.records import CaptionRequest, Event, Frame, Region, TrackedFrame, Why

_LOOK_EVERY_NS = 200_000_000


@dataclass(frozen=True, eq=False)
class _View:
    """A region as it was seen in a frame, and how well: more is better."""

    frame: Frame
    region: Region
    quality: float


@dataclass(eq=False)
class _Known:
    """What is remembered of a track."""

    first_ns: int
    asked_ns: int | None = None
    asked_quality: float = 0.0
    asked_look: NDArray[np.float32] | None = None
    checked_ns: int = 0
    different: int = 0
    best: _View | None = None


@dataclass(eq=False)
class _Stream:
    tracks: dict[int, _Known] = field(default_factory=dict)
    last_ns: int = 0


class Select(Operator[TrackedFrame | Event, CaptionRequest | Event]):
    """Asks for words about a track when it is new and well seen, when its look has changed, when
    it is seen much better, and when its words are old. Events pass through.

    All tracks that are due in a frame go into one request. A track that ends without having been
    asked about is asked about in the best view there was of it, before its `track_end` passes.

    Args:
        min_age_s: a new track is asked about when it has been seen for so long ...
        patience_s: ... and well; badly seen ones after so long, in the best view so far.
        min_short_side_px: regions smaller than this are never asked about.
        better_view: how many times larger a region must be seen for new words.
        changed: distance of mean colours (CIELAB) that counts as another look.
        max_age_s: words older than this are asked for again.
        min_interval_s: at least this long between two questions about a track.
    """

    resources = Resources(cpus=0.2)
    keyed = True
    forgets_at_cuts = True

    def __init__(
        self,
        min_age_s: float = 0.4,
        patience_s: float = 1.5,
        min_short_side_px: int = 20,
        better_view: float = 2.0,
        changed: float = 25.0,
        max_age_s: float = 10.0,
        min_interval_s: float = 1.0,
    ) -> None:
        if better_view <= 1:
            raise ValueError(f"better_view is {better_view}; wanted more than 1")
        if min(min_age_s, patience_s, max_age_s, min_interval_s) < 0 or min_short_side_px < 1:
            raise ValueError("times are at least 0 s and min_short_side_px at least 1")
        self.min_age_ns = round(min_age_s * 1e9)
        self.patience_ns = round(patience_s * 1e9)
        self.min_short_side_px = min_short_side_px
        self.better_view = better_view
        self.changed = changed
        self.max_age_ns = round(max_age_s * 1e9)
        self.min_interval_ns = round(min_interval_s * 1e9)
        self._streams: dict[str, _Stream] = {}

    def process(self, items: Sequence[TrackedFrame | Event]) -> list[CaptionRequest | Event]:
        outputs: list[CaptionRequest | Event] = []
        for item in items:
            stream = self._streams.setdefault(item.stream_id, _Stream())
            stream.last_ns = item.order_ns
            if isinstance(item, TrackedFrame):
                outputs += self._look(stream, item)
            else:
                if item.kind == "track_start" and item.track_id is not None:
                    first_ns = int(item.data.get("start_ns", item.time_ns))
                    stream.tracks[item.track_id] = _Known(first_ns)
                elif item.kind == "track_end" and item.track_id is not None:
                    outputs += _last_chance(stream.tracks.pop(item.track_id, None), item.time_ns)
                outputs.append(item)
        return outputs

    def flush(self, stream_id: str) -> list[CaptionRequest | Event]:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return []
        return [r for known in stream.tracks.values() for r in _last_chance(known, stream.last_ns)]

    def snapshot(self, stream_id: str) -> bytes:
        stream = self._streams.get(stream_id)
        return b"" if stream is None else pickle.dumps(stream)

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._streams[stream_id] = pickle.loads(state)

    def _look(self, stream: _Stream, item: TrackedFrame) -> list[CaptionRequest]:
        due: dict[int, Why] = {}
        views = [_View(item.frame, r, _quality(item, r)) for r in item.regions]
        seen = {v.region.track_id: v for v in views if self._large_enough(v.region)}
        older: list[CaptionRequest] = []
        for track_id, view in seen.items():
            known = stream.tracks.setdefault(track_id, _Known(item.frame.time_ns))
            if known.asked_ns is None and (known.best is None or view.quality > known.best.quality):
                known.best = view
            why = self._why(known, view)
            if why is None:
                continue
            best = known.best
            if why == "new" and best is not None and best.quality > 1.25 * view.quality:
                older.append(_request([best], ["new"], [known], item.frame.time_ns))
                self._asked(known, best, item.frame.time_ns)
                continue
            due[track_id] = why
        if not due:
            return older
        chosen = [seen[track_id] for track_id in sorted(due)]
        knowns = [stream.tracks[track_id] for track_id in sorted(due)]
        request = _request(
            chosen, [due[track_id] for track_id in sorted(due)], knowns, item.frame.time_ns
        )
        for known, view in zip(knowns, chosen, strict=True):
            self._asked(known, view, item.frame.time_ns)
        return [*older, request]

    def _why(self, known: _Known, view: _View) -> Why | None:
        now_ns = view.frame.time_ns
        if known.asked_ns is None:
            age_ns = now_ns - known.first_ns
            well = view.quality >= 0.5 * view.region.mask.area_px and view.region.score >= 0.5
            if (age_ns >= self.min_age_ns and well) or age_ns >= self.patience_ns:
                return "new"
            return None
        since_ns = now_ns - known.asked_ns
        if since_ns < self.min_interval_ns:
            return None
        if view.quality > self.better_view * known.asked_quality:
            return "better_view"
        if self._looks_different(known, view):
            return "changed"
        return "old" if since_ns >= self.max_age_ns else None

    def _looks_different(self, known: _Known, view: _View) -> bool:
        """Twice in a row, a fifth of a second apart, so that a passing shadow does not count."""
        now_ns = view.frame.time_ns
        if known.asked_look is None or now_ns - known.checked_ns < _LOOK_EVERY_NS:
            return False
        known.checked_ns = now_ns
        away = float(np.linalg.norm(_mean_lab(view) - known.asked_look))
        known.different = known.different + 1 if away > self.changed else 0
        return known.different >= 2

    def _asked(self, known: _Known, view: _View, now_ns: int) -> None:
        known.asked_ns = now_ns
        known.asked_quality = max(known.asked_quality, view.quality)
        known.asked_look = _mean_lab(view)
        known.different = 0
        known.best = None

    def _large_enough(self, region: Region) -> bool:
        x0, y0, x1, y1 = region.box_xyxy
        return min(x1 - x0, y1 - y0) >= self.min_short_side_px


def _request(
    views: Sequence[_View], why: Sequence[Why], knowns: Sequence[_Known], asked_ns: int
) -> CaptionRequest:
    frame = views[0].frame
    return CaptionRequest(
        frame=frame,
        asked_ns=asked_ns,
        regions=tuple(view.region for view in views),
        why=tuple(why),
        start_ns=tuple(
            known.first_ns if known.asked_ns is None else frame.time_ns for known in knowns
        ),
    )


def _last_chance(known: _Known | None, now_ns: int) -> list[CaptionRequest]:
    if known is None or known.asked_ns is not None or known.best is None:
        return []
    return [_request([known.best], ["new"], [known], now_ns)]


def _quality(item: TrackedFrame, region: Region) -> float:
    """Visible pixels, less where the picture ends or other regions cover the box."""
    height, width = item.frame.hw
    x0, y0, x1, y1 = region.box_xyxy
    quality = region.mask.area_px * (0.5 + 0.5 * region.score)
    if x0 <= 2 or y0 <= 2 or x1 >= width - 2 or y1 >= height - 2:
        quality *= 0.3
    for other in item.regions:
        if other.track_id != region.track_id:
            common = box_area_px(box_intersection(region.box_xyxy, other.box_xyxy))
            if common > 0.1 * box_area_px(region.box_xyxy):
                quality *= 0.5
    return quality


def _mean_lab(view: _View) -> NDArray[np.float32]:
    """Mean CIELAB colour of a region."""
    (x0, y0, x1, y1), inside = view.region.mask.decode_box()
    crop = view.frame.image[y0:y1, x0:x1].astype(np.float32) / 255
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    return np.asarray(lab[inside > 0].mean(axis=0), np.float32)
