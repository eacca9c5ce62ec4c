"""Covers people, or whatever is chosen, before a picture is written or leaves the process.

    redact: {use: operators.redact.Redact, from: [track, intervals]}

Everything that writes or sends pictures reads this step instead of the tracking step. A captioner
that runs outside does so too; then no words are known in time, and everything is covered.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.redaction.kept import Kept, around, clipped, mark, moved
from operators.redaction.standing_out import StandingOut
from operators.rulebook.book import read_book
from operators.rulebook.wanted import hear
from streamer.interfaces import Operator, Resources
from streamer.mask import Mask
from streamer.records import Caption, Event, Frame, Region, TrackedFrame
from streamer.words import check_category

_UNKNOWN = ("", "object")
_BLOCKS = 6  # along the longer side: too few to know a face by
_REACH = 0.5  # of the root of a mask's area: so far from it the rest of it may lie


@dataclass(eq=False)
class _Stream:
    queue: deque[TrackedFrame | Event] = field(default_factory=deque)
    kept: dict[int, Kept] = field(default_factory=dict)
    chosen: dict[int, bool] = field(default_factory=dict)
    zones: dict[str, Any] | None = None
    out: StandingOut = field(default_factory=StandingOut)


class Redact(Operator[TrackedFrame | Event | Caption, TrackedFrame | Event]):
    """Covers the chosen regions in the frames' pictures; masks and events pass as they are.

    A track counts as chosen until words say surely that it is something else: what is not known
    yet is covered. A track that is missed for a moment stays covered where it was and where it
    was going.

    Trackers see things late and not the whole of them. So frames are held back for `delay_s`, and
    a track that is seen in that time is covered before it, where it may have come from. What
    stands out of the picture near a chosen track is covered with it, and what stands out or moves
    while no track explains it is covered too: on busy ground more than is wanted, before plain
    ground hardly more.

    Args:
        categories: what is covered; an empty list covers every region, whatever it is.
        zones: a rule file; only what touches one of its zones, with its margin, is covered. "" for
            anywhere.
        how: "blur", "pixelate" or "fill".
        margin: around the mask, a share of the picture's height.
        hold_s: a track that is not seen stays covered for so long.
        delay_s: pictures come so much later; 0 for at once.
        unexplained: also cover what stands out and is no track, or only beside one.
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
        delay_s: float = 0.4,
        unexplained: bool = True,
        sure: float = 0.8,
        fill_rgb: list[int] | None = None,
    ) -> None:
        if not 0 <= margin <= 0.5 or not 0 <= hold_s <= 60 or not 0 <= sure <= 1:
            raise ValueError("margin is 0..0.5, hold_s 0..60 seconds, sure a probability 0..1")
        if not 0 <= delay_s <= 2:
            raise ValueError(f"delay_s is {delay_s}; 0..2 seconds, whose pictures are kept")
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
        self.delay_ns = round(delay_s * 1e9)
        self.unexplained = unexplained
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
                continue
            stream.queue.append(item)
            while stream.queue and item.order_ns - stream.queue[0].order_ns >= self.delay_ns:
                outputs.append(self._next(stream))
        return outputs

    def flush(self, stream_id: str) -> list[TrackedFrame | Event]:
        stream = self._streams.pop(stream_id, _Stream())
        return [self._next(stream) for _ in range(len(stream.queue))]

    def snapshot(self, stream_id: str) -> bytes:
        stream = self._streams.get(stream_id)
        return b"" if stream is None else pickle.dumps(stream)

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._streams[stream_id] = pickle.loads(state)

    def _next(self, stream: _Stream) -> TrackedFrame | Event:
        """What has waited longest."""
        item = stream.queue.popleft()
        if isinstance(item, TrackedFrame):
            return self._covered(stream, item)
        if item.kind == "cut":
            stream.kept.clear()
            stream.out.cut()
        elif item.kind == "track_end" and item.track_id is not None:
            stream.chosen.pop(item.track_id, None)
        return item

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
        others = []
        for region in tracked.regions:
            if self._is_chosen(stream, region):
                stream.kept[region.track_id] = moved(
                    stream.kept.get(region.track_id), region, frame.time_ns
                )
            else:
                stream.kept.pop(region.track_id, None)
                others.append(region.mask)
        for track_id, kept in list(stream.kept.items()):
            if frame.time_ns - kept.time_ns > self.hold_ns:
                del stream.kept[track_id]
        inside = np.zeros(frame.hw, np.uint8)
        seen = {region.track_id for region in tracked.regions}
        near = [*stream.kept.values(), *self._coming(stream, seen)]
        here = [kept for kept in near if kept.mask.hw == frame.hw]
        if self.unexplained:
            self._mark_unexplained(inside, stream, frame, here, others)
        margin_px = self.margin * frame.hw[0]
        for kept in here:
            missed_s = (frame.time_ns - kept.time_ns) / 1e9
            mark(inside, around(kept, missed_s, margin_px * (1 + 2 * abs(missed_s))))
        if not inside.any():
            return tracked
        image = self._cover(frame.image, inside)
        return replace(tracked, frame=replace(frame, image=image))

    def _coming(self, stream: _Stream, seen: set[int]) -> list[Kept]:
        """Chosen tracks that are not seen now, but soon: where they are first, how they go on."""
        coming: dict[int, list[Kept]] = {}
        for item in stream.queue:
            if not isinstance(item, TrackedFrame):
                if item.kind == "cut":
                    break
                continue
            for region in item.regions:
                if region.track_id not in seen and self._is_chosen(stream, region):
                    ways = coming.setdefault(region.track_id, [])
                    ways.append(moved(ways[-1] if ways else None, region, item.frame.time_ns))
        return [Kept(w[0].mask, w[0].time_ns, w[-1].speed_px_s) for w in coming.values()]

    def _is_chosen(self, stream: _Stream, region: Region) -> bool:
        if not region.mask.area_px:
            return False
        if self.categories and stream.chosen.get(region.track_id) is False:
            return False
        if self.book is None:
            return True
        margin_px = self.margin * region.mask.height_px
        x, y, pixels = clipped(around(Kept(region.mask, 0), 0.0, margin_px), region.mask.hw)
        rows, columns = slice(y, y + pixels.shape[0]), slice(x, x + pixels.shape[1])
        zones = self._zones(stream, region.mask.hw)
        return any((zone.inside[rows, columns] & pixels).any() for zone in zones.values())

    def _mark_unexplained(
        self,
        inside: NDArray[np.uint8],
        stream: _Stream,
        frame: Frame,
        chosen: list[Kept],
        others: list[Mask],
    ) -> None:
        """What stands out: near chosen tracks all of it, elsewhere what other tracks are not."""
        shown = stream.out.look(frame.image, frame.time_ns)
        explained, other = np.zeros(frame.hw, np.uint8), np.zeros(frame.hw, np.uint8)
        margin_px = self.margin * frame.hw[0]
        for mask in others:
            if mask.area_px:
                mark(explained, around(Kept(mask, 0), 0.0, margin_px))
                mark(other, around(Kept(mask, 0), 0.0, 0.0))
        things = shown.things & (1 - explained)
        inside |= self._in_zones(stream, things) if self.book else things
        near = np.zeros(frame.hw, np.uint8)
        for kept in chosen:
            reach_px = margin_px + _REACH * kept.mask.area_px**0.5
            mark(near, around(kept, (frame.time_ns - kept.time_ns) / 1e9, reach_px))
        inside |= near & shown.off_ground & (1 - other)

    def _in_zones(self, stream: _Stream, things: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The things that touch a zone."""
        assert self.book is not None
        zones = self._zones(stream, (things.shape[0], things.shape[1]))
        count, labels = cv2.connectedComponents(things, connectivity=8)
        touching = np.zeros(count, bool)
        for zone in zones.values():
            touching[np.unique(labels[zone.inside])] = True
        touching[0] = False
        return np.asarray(touching[labels].view(np.uint8), np.uint8)

    def _zones(self, stream: _Stream, hw: tuple[int, int]) -> dict[str, Any]:
        assert self.book is not None
        if stream.zones is None:
            stream.zones = self.book.bind(hw)[0]
        return stream.zones

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
