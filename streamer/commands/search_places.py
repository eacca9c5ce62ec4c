"""Where and beside what: the conditions of `streamer search` that look at masks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from operators.rulebook.book import read_book
from operators.rulebook.shapes import PictureZone, Zone, zone_of
from streamer.catalog import Catalog, Hit
from streamer.errors import ConfigError, InputError
from streamer.geometry import BoxXYXY
from streamer.mask import Mask
from streamer.yaml_places import nearest

_INSIDE = 0.5  # the share of a mask from which on it is inside, as for rules
_Span = tuple[int | None, int | None]


class InZone:
    """Captions whose track has half of its mask in a zone at some moment at which they hold.

    Args:
        catalog: where the masks are.
        text: FILE:NAME of a zone in a rule file, or points as JSON, [[x, y], ...], in shares of
            the picture, or in pixels when one is larger than 1.
        span_ns: from when to when to look; None: open.

    Raises:
        ConfigError: when there is no such zone.
        InputError: when the catalog has no masks.
    """

    def __init__(self, catalog: Catalog, text: str, span_ns: _Span) -> None:
        self._masks = _Masks(catalog, "--zone", span_ns)
        self._text = text
        self._zone = _zone(text)
        self._bound: dict[tuple[int, int], PictureZone] = {}

    def __call__(self, hit: Hit) -> bool:
        return any(self._in(mask.hw).share(mask) >= _INSIDE for _, mask in self._masks.during(hit))

    def _in(self, hw: tuple[int, int]) -> PictureZone:
        if hw not in self._bound:
            try:
                self._bound[hw] = self._zone.bind(hw)
            except ValueError as error:
                raise ConfigError(f"--zone {self._text}: {error}") from None
        return self._bound[hw]


class Near:
    """Captions of other tracks that come near one at some moment at which they hold.

    Args:
        catalog: where the masks are.
        text: STREAM#ID, or ID where there is one stream.
        within: how near, between the boxes, as a share of the picture's diagonal.
        span_ns: from when to when to look; None: open.

    Raises:
        ConfigError: when it is not written so.
        InputError: when the catalog has no masks of such a track.
    """

    def __init__(self, catalog: Catalog, text: str, within: float, span_ns: _Span) -> None:
        self._masks = _Masks(catalog, "--near", span_ns)
        self._within = within
        self._track = track_named(catalog, "--near", text)
        self._boxes = {t: mask.box_xyxy for t, mask in catalog.masks(*self._track)}
        if not self._boxes:
            raise InputError(f"--near {text}: {catalog.path} has no masks of such a track")

    def __call__(self, hit: Hit) -> bool:
        stream_id, track_id = self._track
        if hit.stream_id != stream_id or hit.track_id == track_id:
            return False
        return any(
            time_ns in self._boxes
            and _gap_px(mask.box_xyxy, self._boxes[time_ns]) <= self._within * math.hypot(*mask.hw)
            for time_ns, mask in self._masks.during(hit)
        )


def track_named(catalog: Catalog, option: str, text: str) -> tuple[str, int]:
    """The stream and the id of a track: STREAM#ID, or ID where there is one stream.

    Raises:
        ConfigError: when it is not written so.
        InputError: when there is no such stream.
    """
    match = re.fullmatch(r"(?:(.*)#)?(\d{1,18})", text, re.DOTALL)
    if match is None:
        raise ConfigError(f"{option} {text}: write STREAM#ID, for instance gate#3, or 3")
    streams = catalog.streams()
    stream = match.group(1) or (streams[0] if len(streams) == 1 else "")
    if not stream:
        raise InputError(
            f"{option} {text}: {catalog.path} has {len(streams)} streams; write STREAM#ID"
        )
    if stream not in streams:
        raise InputError(f"{option} {text}: no stream {stream!r}{nearest(stream, streams)}")
    return stream, int(match.group(2))


class _Masks:
    def __init__(self, catalog: Catalog, option: str, span_ns: _Span) -> None:
        if not catalog.has_masks:
            raise InputError(
                f"{option}: {catalog.path} keeps no masks; run again with masks: true of the sink "
                "Catalog"
            )
        self._catalog = catalog
        self._from_ns, self._to_ns = span_ns

    def during(self, hit: Hit) -> Iterator[tuple[int, Mask]]:
        """The track's masks while the caption holds, within the span."""
        starts = [ns for ns in (hit.start_ns, self._from_ns) if ns is not None]
        ends = [ns for ns in (hit.end_ns, self._to_ns) if ns is not None]
        return self._catalog.masks(
            hit.stream_id, hit.track_id, from_ns=max(starts), to_ns=min(ends, default=None)
        )


def _zone(text: str) -> Zone:
    if text.lstrip().startswith("["):
        try:
            points = json.loads(text)
            in_pixels = any(value > 1 for point in points for value in point)
            return zone_of("--zone", points, in_pixels)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"--zone {text}: {error}") from None
    file, colon, name = text.rpartition(":")
    if not colon or not file:
        raise ConfigError(
            f"--zone {text}: write FILE:NAME of a zone in a rule file, or [[x, y], ...]"
        )
    zones = read_book(file).zones
    if name not in zones:
        raise ConfigError(f"--zone {text}: {Path(file)} has no zone {name!r}{nearest(name, zones)}")
    return zones[name]


def _gap_px(a: BoxXYXY, b: BoxXYXY) -> float:
    """Between two boxes; 0 where they touch."""
    dx = max(0, a[0] - b[2], b[0] - a[2])
    dy = max(0, a[1] - b[3], b[1] - a[3])
    return math.hypot(dx, dy)
