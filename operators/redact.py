"""Covers people, or whatever is chosen, before a picture is written or leaves the process.

    redact: {use: operators.redact.Redact, from: [track, intervals]}

Everything that writes or sends pictures reads this step instead of the tracking step. A captioner
that runs outside does so too; then no words are known in time, and everything is covered.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.rulebook.book import read_book
from operators.rulebook.wanted import hear
from streamer.interfaces import Operator, Resources
from streamer.mask import Mask
from streamer.records import Caption, Event, Region, TrackedFrame
from streamer.words import check_category

_UNKNOWN = ("", "object")
_BLOCKS = 6  # along the longer side: too few to know a face by


@dataclass(eq=False)
class _Kept:
    """Where a chosen track was last seen, and how it moved then (px a second; None: seen once)."""

    mask: Mask
    time_ns: int
    speed_px_s: tuple[float, float] | None = None


@dataclass(eq=False)
class _Stream:
    kept: dict[int, _Kept] = field(default_factory=dict)
    chosen: dict[int, bool] = field(default_factory=dict)
    zones: dict[str, Any] | None = None


class Redact(Operator[TrackedFrame | Event | Caption, TrackedFrame | Event]):
    """Covers the chosen regions in the frames' pictures; masks and events pass as they are.

    A track counts as chosen until words say surely that it is something else: what is not known
    yet is covered. A track that is missed for a moment stays covered where it was and where it
    was going.

    Args:
        categories: what is covered; an empty list covers every region, whatever it is.
        zones: a rule file; only regions that touch one of its zones are covered. "" for anywhere.
        how: "blur", "pixelate" or "fill".
        margin: around the mask, a share of the picture's height.
        hold_s: a track that is not seen stays covered for so long.
        sure: words less probable than this (mean over tokens, 0..1) uncover nothing.
        fill_rgb: for "fill".
    """

    resources = Resources(cpus=0.5)
    keyed = True

    def __init__(
        self,
        categories: list[str] | None = None,
        zones: str = "",
        how: Literal["blur", "pixelate", "fill"] = "blur",
        margin: float = 0.03,
        hold_s: float = 1.0,
        sure: float = 0.8,
        fill_rgb: list[int] | None = None,
    ) -> None:
        if not 0 <= margin <= 0.5 or not 0 <= hold_s <= 60 or not 0 <= sure <= 1:
            raise ValueError("margin is 0..0.5, hold_s 0..60 seconds, sure a probability 0..1")
        if how not in ("blur", "pixelate", "fill"):
            raise ValueError(f"how is {how!r}; blur, pixelate or fill")
        colour = [0, 0, 0] if fill_rgb is None else fill_rgb
        if len(colour) != 3 or not all(0 <= v <= 255 for v in colour):
            raise ValueError(f"fill_rgb is {fill_rgb}; three numbers 0..255")
        names = ["person"] if categories is None else categories
        self.book = read_book(zones) if zones else None
        extra = self.book.categories if self.book else ()
        self.categories = frozenset(check_category(name, extra) for name in names)
        self.how = how
        self.margin = margin
        self.hold_ns = round(hold_s * 1e9)
        self.sure = sure
        self.fill_rgb = tuple(colour)
        self._streams: dict[str, _Stream] = {}

    def process(
        self, items: Sequence[TrackedFrame | Event | Caption]
    ) -> list[TrackedFrame | Event]:
        outputs: list[TrackedFrame | Event] = []
        for item in items:
            stream = self._streams.setdefault(item.stream_id, _Stream())
            if isinstance(item, Caption):
                self._hear(stream, item)
            elif isinstance(item, Event):
                if item.kind == "cut":
                    stream.kept.clear()
                elif item.kind == "track_end" and item.track_id is not None:
                    stream.chosen.pop(item.track_id, None)
                outputs.append(item)
            else:
                outputs.append(self._covered(stream, item))
        return outputs

    def flush(self, stream_id: str) -> list[TrackedFrame | Event]:
        self._streams.pop(stream_id, None)
        return []

    def snapshot(self, stream_id: str) -> bytes:
        stream = self._streams.get(stream_id)
        return b"" if stream is None else pickle.dumps(stream)

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._streams[stream_id] = pickle.loads(state)

    def _hear(self, stream: _Stream, caption: Caption) -> None:
        """Once called one of the chosen, always covered; uncovered only by sure words."""
        if not self.categories or stream.chosen.get(caption.track_id):
            return
        heard = hear(caption, self.book.categories if self.book else ())
        if heard.said.category in self.categories:
            stream.chosen[caption.track_id] = True
        elif heard.said.category not in _UNKNOWN and heard.sure >= self.sure:
            stream.chosen[caption.track_id] = False

    def _covered(self, stream: _Stream, tracked: TrackedFrame) -> TrackedFrame:
        frame = tracked.frame
        for region in tracked.regions:
            if self._is_chosen(stream, region):
                stream.kept[region.track_id] = _moved(
                    stream.kept.get(region.track_id), region, frame.time_ns
                )
            else:
                stream.kept.pop(region.track_id, None)
        for track_id, kept in list(stream.kept.items()):
            if frame.time_ns - kept.time_ns > self.hold_ns:
                del stream.kept[track_id]
        inside = np.zeros(frame.hw, np.uint8)
        for kept in stream.kept.values():
            if kept.mask.hw == frame.hw:
                self._paint(inside, kept, (frame.time_ns - kept.time_ns) / 1e9)
        if not inside.any():
            return tracked
        image = self._cover(frame.image, inside)
        return replace(tracked, frame=replace(frame, image=image))

    def _is_chosen(self, stream: _Stream, region: Region) -> bool:
        if not region.mask.area_px:
            return False
        if self.categories and stream.chosen.get(region.track_id) is False:
            return False
        if self.book is None:
            return True
        if stream.zones is None:
            stream.zones = self.book.bind(region.mask.hw)[0]
        return any(zone.share(region.mask) > 0 for zone in stream.zones.values())

    def _paint(self, inside: NDArray[np.uint8], kept: _Kept, missed_s: float) -> None:
        """Mark a mask with its margin; while it is missed, all the way that it may have gone."""
        height, width = inside.shape
        (x0, y0, x1, y1), dense = kept.mask.decode_box()
        margin_px = int(np.ceil(self.margin * height * (1 + 2 * missed_s)))
        dx, dy = (round(v * missed_s) for v in kept.speed_px_s or (0.0, 0.0))
        left, top = min(0, dx) - margin_px, min(0, dy) - margin_px
        right, bottom = max(0, dx) + margin_px, max(0, dy) + margin_px
        window = np.zeros((y1 - y0 + bottom - top, x1 - x0 + right - left), np.uint8)
        steps = max(1, max(abs(dx), abs(dy)) // max(1, margin_px) + 1) if missed_s else 1
        for step in range(steps + 1):
            x, y = dx * step // steps - left, dy * step // steps - top
            window[y : y + y1 - y0, x : x + x1 - x0] |= dense
        size = 2 * margin_px + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        window = cv2.dilate(window, kernel)
        x, y = x0 + left, y0 + top
        ax, ay = max(0, x), max(0, y)
        bx, by = min(width, x + window.shape[1]), min(height, y + window.shape[0])
        if ax < bx and ay < by:
            inside[ay:by, ax:bx] |= window[ay - y : by - y, ax - x : bx - x]

    def _cover(self, image: NDArray[np.uint8], inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of the picture with the marked pixels covered, one connected part at a time."""
        picture = image.copy()
        if self.how == "fill":
            picture[inside > 0] = self.fill_rgb
            return picture
        count, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        for part in range(1, count):
            x, y, w, h = (int(v) for v in stats[part, :4])
            hidden = labels[y : y + h, x : x + w] == part
            window = picture[y : y + h, x : x + w]
            block = max(1, max(w, h) / _BLOCKS)
            size = (max(1, round(w / block)), max(1, round(h / block)))
            coarse = cv2.resize(image[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA)
            way = cv2.INTER_LINEAR if self.how == "blur" else cv2.INTER_NEAREST
            window[hidden] = cv2.resize(coarse, (w, h), interpolation=way)[hidden]
        return picture


def _moved(before: _Kept | None, region: Region, now_ns: int) -> _Kept:
    """Where a region is now, and how fast it moves, smoothed over a few frames."""
    if before is None or before.time_ns >= now_ns:
        return _Kept(region.mask, now_ns)
    past_s = (now_ns - before.time_ns) / 1e9
    edges = [
        (a - b) / past_s for a, b in zip(region.mask.box_xyxy, before.mask.box_xyxy, strict=True)
    ]
    # of something that comes in at the picture's border, only the inner edge moves
    fastest = (max(edges[0::2], key=abs), max(edges[1::2], key=abs))
    if before.speed_px_s is None:
        return _Kept(region.mask, now_ns, fastest)
    vx, vy = (0.5 * old + 0.5 * new for old, new in zip(before.speed_px_s, fastest, strict=True))
    return _Kept(region.mask, now_ns, (vx, vy))
