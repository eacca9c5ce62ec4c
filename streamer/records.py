"""What flows through a pipeline: frozen records that validate when they are made.

Times are integer nanoseconds of media time; of live streams, Unix time, and `uncertainty_ns` says
by how much that may be off (0 for media time, which is exact). Every record that leaves the
pipeline has an `id` that depends on nothing but its content's identity, so that a sink may write
it twice and keep it once; and an `order_ns`, the time of the frame that caused it, by which
executors order what several steps send to one sink.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamer.geometry import BoxXYXY, Viewport
from streamer.mask import Mask

SCHEMA_VERSION = 1


def record_id(*parts: object) -> str:
    """16 hex digits that depend only on the parts."""
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What a source knows of a stream before its first frame; None where it does not, and a
    size of 0.

    `begin_ns` is what those subtract who count from the beginning: 0 for files, whose times are
    those of the file, the Unix time of the connection for live streams.
    """

    stream_id: str
    uri: str
    width_px: int
    height_px: int
    fps: float | None = None
    duration_ns: int | None = None
    frames: int | None = None
    begin_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class StreamLeft:
    """A stream has left a run that goes on; nothing more comes of it."""

    stream_id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a stream.

    `image` is HxWx3 uint8 RGB and must not be written to: steps share it.
    """

    stream_id: str
    index: int
    time_ns: int
    image: NDArray[np.uint8]
    viewport: Viewport
    uncertainty_ns: int = 0

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"frame {self.index} of {self.stream_id}: image must be HxWx3 uint8 RGB, "
                f"got {self.image.shape} {self.image.dtype}"
            )
        if self.index < 0:
            raise ValueError(f"frame index of {self.stream_id} is negative: {self.index}")

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return int(self.image.shape[0]), int(self.image.shape[1])

    @property
    def order_ns(self) -> int:
        return self.time_ns

    def __repr__(self) -> str:
        height, width = self.hw
        return (
            f"Frame({self.stream_id!r}, index={self.index}, t={self.time_ns / 1e9:.3f} s, "
            f"{height}x{width})"
        )


@dataclass(frozen=True, kw_only=True)
class Region:
    """A mask with an identity through time; `score` in 0..1 says how sure the tracker is.

    `part_of` is the track_id of the whole, in the same frame, that this is a part of (a handle of
    an umbrella, a head of a person), and None for what is a thing of its own. The whole's mask
    holds its parts.
    """

    mask: Mask
    box_xyxy: BoxXYXY
    score: float
    track_id: int
    part_of: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"region score {self.score} is outside 0..1")
        if self.part_of == self.track_id:
            raise ValueError(f"region {self.track_id} is said to be a part of itself")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedFrame:
    """A frame with the regions that are visible in it, in the order of their track ids."""

    frame: Frame
    regions: tuple[Region, ...]

    @property
    def stream_id(self) -> str:
        return self.frame.stream_id

    @property
    def uncertainty_ns(self) -> int:
        return self.frame.uncertainty_ns

    @property
    def order_ns(self) -> int:
        return self.frame.time_ns


def tracked_frame_json(tracked: TrackedFrame) -> dict[str, Any]:
    """The published form of a frame's regions; see `streamer schema`."""
    frame = tracked.frame
    return {
        "record": "regions",
        "schema": SCHEMA_VERSION,
        "id": record_id("regions", frame.stream_id, frame.time_ns),
        "stream_id": frame.stream_id,
        "frame_index": frame.index,
        "time_ns": frame.time_ns,
        "uncertainty_ns": frame.uncertainty_ns,
        "regions": [_region_json(region) for region in tracked.regions],
    }


def _region_json(region: Region) -> dict[str, Any]:
    data = {
        "track_id": region.track_id,
        "score": round(region.score, 3),
        "box_xyxy": list(region.box_xyxy),
        "mask": region.mask.to_json(),
    }
    return data if region.part_of is None else {**data, "part_of": region.part_of}


Why = Literal["new", "changed", "better_view", "old", "asked"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionRequest:
    """One image with all its regions that need words, so that the encoder runs once.

    `why[i]` and `start_ns[i]` belong to `regions[i]`: the reason, and the media time from which
    the words hold (the track's first frame for the first caption). `asked_ns` is the media time
    at which the words were asked for; the frame may be an earlier one with a better view.
    """

    frame: Frame
    asked_ns: int
    regions: tuple[Region, ...]
    why: tuple[Why, ...]
    start_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.regions or not len(self.regions) == len(self.why) == len(self.start_ns):
            raise ValueError("a caption request needs regions, each with its reason and start")

    @property
    def stream_id(self) -> str:
        return self.frame.stream_id

    @property
    def uncertainty_ns(self) -> int:
        return self.frame.uncertainty_ns

    @property
    def order_ns(self) -> int:
        return self.asked_ns


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Words about a track over an interval of media time, with their evidence.

    Emitted twice under one id: at once with `end_ns=None` (still holds), and again when it is
    known until when it held. `detail` is the long form, "" where none was asked for.
    The words were asked for at `asked_ns`, looking at the frame of `frame_time_ns`.
    `mean_logprob` is the mean natural-log probability of the tokens of `text` (<= 0), None where
    the captioner does not tell; `weights_hash` is "" for a model that runs elsewhere.
    """

    stream_id: str
    track_id: int
    start_ns: int
    end_ns: int | None
    text: str
    detail: str = ""
    why: Why = "new"
    asked_ns: int
    frame_index: int
    frame_time_ns: int
    mask: Mask
    mean_logprob: float | None
    model: str
    weights_hash: str
    uncertainty_ns: int = 0

    def __post_init__(self) -> None:
        if self.end_ns is not None and self.end_ns < self.start_ns:
            raise ValueError(f"caption of track {self.track_id} ends before it starts")

    @property
    def id(self) -> str:
        return record_id("caption", self.stream_id, self.track_id, self.asked_ns)

    @property
    def order_ns(self) -> int:
        return self.asked_ns

    def to_json(self) -> dict[str, Any]:
        """The published form; see `streamer schema`."""
        return {
            "record": "caption",
            "schema": SCHEMA_VERSION,
            "id": self.id,
            "stream_id": self.stream_id,
            "track_id": self.track_id,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "text": self.text,
            "detail": self.detail,
            "why": self.why,
            "asked_ns": self.asked_ns,
            "frame_index": self.frame_index,
            "frame_time_ns": self.frame_time_ns,
            "mask": self.mask.to_json(),
            "box_xyxy": list(self.mask.box_xyxy),
            "mean_logprob": None if self.mean_logprob is None else round(self.mean_logprob, 4),
            "model": self.model,
            "weights_hash": self.weights_hash,
            "uncertainty_ns": self.uncertainty_ns,
        }


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened at a time: a cut, a track's start or end, a broken input.

    Kinds emitted by the product itself: `cut`, `track_start`, `track_end` (data: start_ns,
    end_ns, frames), `track_merge` (data: other_track_id, which goes on), `track_split` (data:
    other_track_id, for a part of which it was taken), `tracks_full` (data: reason), `stream_end`
    (data: frames), `gap` (data: reason, frames, until_ns), `input_error` and `caption_error` (data:
    reason), and those of `operators.rules` (data: rule; other_track_id for two tracks). What became
    known later than it happened says when in data as `known_ns`, and is ordered by that.
    """

    stream_id: str
    time_ns: int
    kind: str
    track_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    uncertainty_ns: int = 0

    def __post_init__(self) -> None:
        if not self.kind:
            raise ValueError("an event needs a kind")

    @property
    def id(self) -> str:
        # two rules may find the same of a track at once, or one rule two pairs
        told_apart = [self.data[k] for k in ("rule", "other_track_id") if k in self.data]
        parts = (self.stream_id, self.time_ns, self.kind, self.track_id, *told_apart)
        return record_id("event", *parts)

    @property
    def order_ns(self) -> int:
        return int(self.data.get("known_ns", self.time_ns))

    def to_json(self) -> dict[str, Any]:
        """The published form; see `streamer schema`."""
        return {
            "record": "event",
            "schema": SCHEMA_VERSION,
            "id": self.id,
            "stream_id": self.stream_id,
            "time_ns": self.time_ns,
            "kind": self.kind,
            "track_id": self.track_id,
            "data": self.data,
            "uncertainty_ns": self.uncertainty_ns,
        }


def gap_event(
    stream_id: str, from_ns: int, until_ns: int, reason: str, *, frames: int | None
) -> Event:
    """Nothing was seen of a live stream from `from_ns` to `until_ns`; known at its end.

    Args:
        frames: how many were dropped; None where nobody can tell.
    """
    data = {"reason": reason, "frames": frames, "until_ns": until_ns, "known_ns": until_ns}
    return Event(stream_id=stream_id, time_ns=from_ns, kind="gap", data=data)


def caption_of_json(data: dict[str, Any]) -> Caption:
    """The inverse of `Caption.to_json`."""
    names = (
        "stream_id", "track_id", "start_ns", "end_ns", "text", "detail", "why", "asked_ns",
        "frame_index", "frame_time_ns", "mean_logprob", "model", "weights_hash",
    )  # fmt: skip
    return Caption(
        **{name: data[name] for name in names},
        mask=Mask.from_json(data["mask"]),
        uncertainty_ns=data.get("uncertainty_ns", 0),
    )


def event_of_json(data: dict[str, Any]) -> Event:
    """The inverse of `Event.to_json`."""
    names = ("stream_id", "time_ns", "kind", "track_id", "data")
    return Event(
        **{name: data[name] for name in names}, uncertainty_ns=data.get("uncertainty_ns", 0)
    )


Record = Frame | TrackedFrame | CaptionRequest | Caption | Event
