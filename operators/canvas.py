"""Regions of a large picture, found while windows walk over it, and requests for their words."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.segmenting import NONE, TYPES, load_segmenter
from operators.tracking.canvas_finding import sightings
from operators.tracking.canvas_regions import CanvasRegions
from operators.tracking.canvas_sightings import CanvasRegion
from operators.tracking.close_ups import CloseUps
from streamer.geometry import BoxXYXY, Viewport
from streamer.interfaces import Operator, Resources
from streamer.mask import Mask
from streamer.records import CaptionRequest, Event, Frame, Region, Why
from streamer.sources.canvas import Canvas

if TYPE_CHECKING:
    from model.sam.segmenter import Segmenter

_OUTSIDE_PX = 16  # beyond the canvas there is nothing to be cut


@dataclass(eq=False)
class _Stream:
    """What is known of a picture; `passed` says of the cells of a grid over it which ones no window
    will show again."""

    regions: CanvasRegions = field(default_factory=CanvasRegions)
    passed: NDArray[np.bool_] | None = None
    cell_px: int = 1
    waiting: dict[Viewport, list[int]] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)
    last_ns: int = 0
    windows: int = 0
    window_hw: tuple[int, int] = (1, 1)


class TrackCanvas(Operator[Frame | Event, CaptionRequest | Event]):
    """Windows of a picture in, regions of the canvas out, each once and with one id.

    The viewport says where a window lies, so masks are moved, never estimated. A region is decided
    about when the walk has left its place for good (the source says so with `passed` events, else
    at the end); then an event `region` gives its mask, and one request asks for words about all
    regions that share a close-up (see `CloseUps`). Data of `region`: box_xyxy (canvas px), mask
    (COCO run-length code of that box, at `scale` mask pixels per canvas pixel), window_xyxy (where
    it was found), asked_xyxy (the close-up; null when no words are asked), first_ns, last_ns,
    windows (that showed it), joined.

    Args:
        picture: the path of the picture that the windows come from; close-ups are read from it.
        cache: the source's cache folder.
        min_area_share: smallest region, as a share of a window's area.
        min_short_side_px: regions whose short side is smaller on the screen get no words.
        close_up_share: how much of a close-up's width or height a region takes. The default suits
            osprey-nano, which was trained on such sizes; larger models see more from nearer.
        sam: SAM proposes regions too, in every window: "nano" for the model that comes with the
            product, the folder of another sam-nano, a `sam_vit_*.pth` file, or "none".
        sam_type: vit_b, vit_l or vit_h, the type of a `.pth` file.
        device: where SAM runs: "auto", "cpu", "cuda", ...
    """

    resources = Resources(cpus=1)
    keyed = True

    def __init__(
        self,
        picture: str,
        cache: str = "",
        min_area_share: float = 0.0002,
        min_short_side_px: int = 12,
        close_up_share: float = 0.15,
        sam: str = NONE,
        sam_type: str = "vit_b",
        device: str = "auto",
    ) -> None:
        if not 0 < min_area_share < 1:
            raise ValueError(f"min_area_share is {min_area_share}; wanted between 0 and 1")
        if min_short_side_px < 1:
            raise ValueError(f"min_short_side_px is {min_short_side_px}; wanted at least 1")
        if not 0 < close_up_share <= 1:
            raise ValueError(f"close_up_share is {close_up_share}; wanted between 0 and 1")
        if sam_type not in TYPES:
            raise ValueError(f"sam_type is {sam_type!r}; wanted {', '.join(TYPES)}")
        self.picture = picture
        self.cache = cache
        self.min_area_share = min_area_share
        self.min_short_side_px = min_short_side_px
        self.close_up_share = close_up_share
        self.sam = sam
        self.sam_type = sam_type
        self.device = device
        self._segmenter: Segmenter | None = None
        self._canvas: Canvas | None = None
        self._streams: dict[str, _Stream] = {}

    def setup(self) -> None:
        """Open the picture, and load SAM when it is wanted.

        Raises:
            InputError: when the picture cannot be read.
            WeightsError: when SAM is missing or does not fit.
        """
        self._canvas = Canvas(self.picture, self.cache)
        if self.sam != NONE:
            self._segmenter = load_segmenter(self.sam, self.sam_type, self.device)

    def process(self, items: Sequence[Frame | Event]) -> list[CaptionRequest | Event]:
        outputs: list[CaptionRequest | Event] = []
        for item in items:
            stream = self._streams.setdefault(item.stream_id, _Stream())
            if isinstance(item, Frame):
                self._see(stream, item)
            elif item.kind == "passed":
                cells = np.array(item.data["cells"], np.intp).reshape(-1, 2)
                self._pass(stream, cells, int(item.data["cell_px"]))
                outputs += self._settle(item.stream_id, stream, _touching(stream, cells))
            else:
                outputs.append(item)
        return outputs

    def flush(self, stream_id: str) -> list[CaptionRequest | Event]:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return []
        rest = [region for region in stream.regions.regions.values() if not region.decided]
        outputs = self._settle(stream_id, stream, rest, end=True)
        data = {"frames": stream.windows, "regions": len(stream.ids)}
        done = Event(stream_id=stream_id, time_ns=stream.last_ns, kind="stream_end", data=data)
        return [*outputs, done]

    def snapshot(self, stream_id: str) -> bytes:
        return pickle.dumps(self._streams[stream_id]) if stream_id in self._streams else b""

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._streams[stream_id] = pickle.loads(state)

    def close(self) -> None:
        self._canvas = self._segmenter = None

    @property
    def _picture(self) -> Canvas:
        if self._canvas is None:
            raise RuntimeError("setup() has to run before process()")
        return self._canvas

    def _pass(self, stream: _Stream, cells_N2: NDArray[np.intp], cell_px: int) -> None:
        if stream.passed is None:
            rows, columns = (-(-side // cell_px) for side in self._picture.hw)
            stream.passed, stream.cell_px = np.zeros((rows, columns), np.bool_), cell_px
        stream.passed[cells_N2[:, 1], cells_N2[:, 0]] = True

    def _see(self, stream: _Stream, frame: Frame) -> None:
        stream.last_ns = frame.time_ns
        stream.windows += 1
        stream.window_hw = (
            max(stream.window_hw[0], frame.hw[0]), max(stream.window_hw[1], frame.hw[1])
        )  # fmt: skip
        seen = sightings(frame, self.min_area_share, self._segmenter)
        stream.regions.see(seen, _open_box(frame.viewport), frame.time_ns)

    def _settle(
        self, stream_id: str, stream: _Stream, due: Sequence[CanvasRegion], end: bool = False
    ) -> list[CaptionRequest | Event]:
        outputs: list[CaptionRequest | Event] = []
        store = stream.regions
        close_ups = CloseUps(
            share=self.close_up_share, screen_hw=stream.window_hw, canvas_hw=self._picture.hw
        )
        # in the order of the walk, so that ids follow it
        for region in sorted(due, key=lambda r: (r.first_ns, r.number)):
            if not store.settle(region):
                continue
            stream.ids[region.number] = len(stream.ids) + 1
            x0, y0, x1, y1 = region.piece.box_xyxy
            share = region.best.frame_hw[1] / region.best.viewport.width_px
            view = None
            if min(x1 - x0, y1 - y0) * share >= self.min_short_side_px:
                view = close_ups.view(region.piece.box_xyxy)
                stream.waiting.setdefault(view, []).append(region.number)
            outputs.append(_event(stream_id, stream, region, view))
        open_yet = {
            close_ups.view(r.piece.box_xyxy)
            for r in store.regions.values()
            if not (r.decided or r.dropped)
        }
        for view in [view for view in stream.waiting if end or view not in open_yet]:
            regions = [store.regions[number] for number in stream.waiting.pop(view)]
            outputs += self._request(stream_id, stream, regions, view, close_ups.hw(view))
        store.forget(apart_from={n for numbers in stream.waiting.values() for n in numbers})
        return outputs

    def _request(
        self,
        stream_id: str,
        stream: _Stream,
        regions: list[CanvasRegion],
        view: Viewport,
        hw: tuple[int, int],
    ) -> list[CaptionRequest]:
        """Words of regions in a close-up; none when no pixel of them is left at its size."""
        best = regions[0].best
        frame = Frame(
            stream_id=stream_id,
            index=best.frame_index,
            time_ns=best.time_ns,
            image=self._picture.window(view.x_px, view.y_px, view.width_px, view.height_px, hw),
            viewport=view,
        )
        shown = [_shown(region, stream.ids[region.number], frame) for region in regions]
        kept = [(s, r) for s, r in zip(shown, regions, strict=True) if s is not None]
        if not kept:
            return []
        new: Why = "new"
        return [
            CaptionRequest(
                frame=frame,
                asked_ns=stream.last_ns,
                regions=tuple(s for s, _ in kept),
                why=tuple(new for _ in kept),
                start_ns=tuple(r.first_ns for _, r in kept),
            )
        ]


def _box(view: Viewport) -> BoxXYXY:
    return view.x_px, view.y_px, view.x_px + view.width_px, view.y_px + view.height_px


def _open_box(view: Viewport) -> BoxXYXY:
    """A window's box, reaching over the canvas where it lies at its edge."""
    right, bottom = view.x_px + view.width_px, view.y_px + view.height_px
    return (
        view.x_px - (_OUTSIDE_PX if view.x_px <= 0 else 0),
        view.y_px - (_OUTSIDE_PX if view.y_px <= 0 else 0),
        right + (_OUTSIDE_PX if right >= view.canvas_width_px else 0),
        bottom + (_OUTSIDE_PX if bottom >= view.canvas_height_px else 0),
    )


def _touching(stream: _Stream, cells_N2: NDArray[np.intp]) -> list[CanvasRegion]:
    """Undecided regions on newly passed cells all of whose cells are passed, and what waited for
    them: what may be a part of a region is decided about together with it."""
    side = stream.cell_px
    found: dict[int, CanvasRegion] = {}
    boxes = [(i * side, j * side, (i + 1) * side, (j + 1) * side) for i, j in cells_N2.tolist()]
    while boxes:
        box = boxes.pop()
        for region in stream.regions.near(box):
            if region.decided or region.number in found or not _passed(stream, region):
                continue
            if all(_passed(stream, holder) for holder in stream.regions.holders(region)):
                found[region.number] = region
                boxes.append(region.reach_xyxy)
    return list(found.values())


def _passed(stream: _Stream, region: CanvasRegion) -> bool:
    if stream.passed is None:
        return False
    side = stream.cell_px
    x0, y0, x1, y1 = region.reach_xyxy
    rows = slice(y0 // side, (y1 - 1) // side + 1)
    columns = slice(x0 // side, (x1 - 1) // side + 1)
    return bool(stream.passed[rows, columns].all())


def _event(stream_id: str, stream: _Stream, region: CanvasRegion, asked: Viewport | None) -> Event:
    return Event(
        stream_id=stream_id,
        time_ns=stream.last_ns,
        kind="region",
        track_id=stream.ids[region.number],
        data={
            "box_xyxy": list(region.piece.box_xyxy),
            "mask": region.piece.mask.to_json(),
            "scale": round(region.piece.scale, 6),
            "window_xyxy": list(_box(region.best.viewport)),
            "asked_xyxy": None if asked is None else list(_box(asked)),
            "first_ns": region.first_ns,
            "last_ns": region.last_ns,
            "windows": region.hits,
            "sure": round(region.support, 3),
            "joined": region.joined,
        },
    )


def _shown(region: CanvasRegion, track_id: int, frame: Frame) -> Region | None:
    """A region as a window shows it; None when no pixel of it is left at that size."""
    inside = region.piece.raster(_box(frame.viewport), frame.hw)
    x, y, w, h = cv2.boundingRect(inside)
    if not w:
        return None
    mask = Mask.encode_box(inside[y : y + h, x : x + w], x, y, frame.hw)
    return Region(
        mask=mask,
        box_xyxy=mask.box_xyxy,
        score=float(np.clip(region.support, 0, 1)),
        track_id=track_id,
    )
