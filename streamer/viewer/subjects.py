"""What can be asked about: a moment of a film or of a camera, or the part of a scroll in view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.errors import InputError
from streamer.geometry import BoxXYXY
from streamer.viewer.asking import Asker, Found, Turn
from streamer.viewer.canvas import Cut
from streamer.viewer.run import Run
from streamer.viewer.saving import Moment, save
from streamer.viewer.saving_canvas import save_on_canvas

_LEAST_PX = 6  # what is smaller in the picture is found by no box


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """Something of which is known roughly where it is: a box in the image, and the pixels in it
    (HxW, 0 or 1, of the box)."""

    box_xyxy: BoxXYXY
    inside: NDArray[np.uint8]

    @property
    def area_px(self) -> int:
        return int(self.inside.sum())

    def holds(self, x: int, y: int) -> bool:
        """Whether a pixel of the image is one of it."""
        x0, y0, x1, y1 = self.box_xyxy
        return x0 <= x < x1 and y0 <= y < y1 and bool(self.inside[y - y0, x - x0])


class Subject(ABC):
    """A picture to ask about, and where an answer goes that is saved.

    Attributes:
        key: the same for the same picture.
        image: HxWx3 uint8 RGB.
        left_px, top_px, shrink: pixel (x, y) of the image is pixel ((x + left_px) * shrink,
            (y + top_px) * shrink) of what the page counts in.
        known: what was found in it before, by a run.
    """

    key: tuple[object, ...]
    image: NDArray[np.uint8]
    left_px: int = 0
    top_px: int = 0
    shrink: int = 1
    known: Sequence[Known] = ()

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """A place that the page names, in pixels of the image."""
        return x / self.shrink - self.left_px, y / self.shrink - self.top_px

    def to_page(self, box_xyxy: BoxXYXY) -> BoxXYXY:
        """A box in pixels of the image, as the page counts."""
        x0, y0, x1, y1 = box_xyxy
        left, top, by = self.left_px, self.top_px, self.shrink
        return (x0 + left) * by, (y0 + top) * by, (x1 + left) * by, (y1 + top) * by

    @abstractmethod
    def save(
        self, found: Found, turns: Sequence[Turn], asker: Asker, before: int | None
    ) -> dict[str, Any]:
        """Save what was answered about something found in the image.

        Args:
            before: as which "track" it was saved before.

        Raises:
            StreamerError: when there is nowhere to save it.
        """


class FilmMoment(Subject):
    """A picture of a film, or the newest of a camera."""

    def __init__(self, run: Run, stream: dict[str, Any], wanted_ns: int) -> None:
        self.run = run
        self.stream = stream
        name, hw = stream["stream_id"], (stream["height_px"], stream["width_px"])
        if stream["films"]:
            time_ns, self.image = stream["films"][0].picture(wanted_ns, hw[0] or None)
            self.moment = Moment(time_ns=time_ns)
        elif stream["newest_ns"] is None:
            raise InputError("no film of this stream is at hand to ask about")
        else:
            still = run.newest.at(name, wanted_ns)
            if still is None:
                raise InputError("no picture of this moment is kept; ask about the newest one")
            taken = still.taken
            self.image = still.image(hw)
            self.moment = Moment(
                time_ns=taken.time_ns, frame_index=taken.frame_index,
                uncertainty_ns=taken.uncertainty_ns,
            )  # fmt: skip
        self.key = (name, self.moment.time_ns)
        self.known = self._tracks()

    def save(
        self, found: Found, turns: Sequence[Turn], asker: Asker, before: int | None
    ) -> dict[str, Any]:
        if self.run.records is None:
            raise InputError("there is no catalog to save in")
        caption = save(
            self.run.folder, self.run.records, self.stream, self.moment, found.mask, turns, asker,
            before,
        )  # fmt: skip
        return {"id": caption.id, "track": caption.track_id, "text": caption.text}

    def _tracks(self) -> list[Known]:
        """The tracks in the picture."""
        if self.run.records is None:
            return []
        name, half_ns = self.stream["stream_id"], round(0.5e9 / (self.stream["fps"] or 25.0))
        near = self.run.records.frame_near(name, self.moment.time_ns, half_ns)
        if near is None:
            return []
        tracks = self.run.records.masks(name, near[0], near[0] + 1)
        hw = self.image.shape[:2]
        boxes = [m.decode_box() for _, _, m in tracks if m.hw == hw and m.area_px]
        return [Known(box_xyxy=box, inside=inside) for box, inside in boxes]


class CanvasPart(Subject):
    """What is in view of a scroll; the page counts in canvas pixels."""

    def __init__(self, run: Run, part: Cut) -> None:
        assert run.scroll is not None
        self.run = run
        self.image = part.image
        self.left_px, self.top_px, self.shrink = part.left_px, part.top_px, part.shrink
        height, width = self.image.shape[:2]
        self.size = run.scroll["width_px"], run.scroll["height_px"]
        self.window = self.to_page((0, 0, width, height))
        self.key = ("canvas", self.shrink, *self.window)
        self.known = [k for k in map(self._known, run.scroll["regions"]) if k is not None]

    def to_page(self, box_xyxy: BoxXYXY) -> BoxXYXY:
        x0, y0, x1, y1 = super().to_page(box_xyxy)
        return x0, y0, min(x1, self.size[0]), min(y1, self.size[1])

    def save(
        self, found: Found, turns: Sequence[Turn], asker: Asker, before: int | None
    ) -> dict[str, Any]:
        box = x0, y0, x1, y1 = tight_box(found.mask)
        saved = save_on_canvas(
            self.run, found.mask[y0:y1, x0:x1], self.to_page(box), self.window, turns, asker,
            found.quality,
        )  # fmt: skip
        return {"track": saved["id"], "text": saved["properties"]["text"], "region": saved}

    def _known(self, feature: dict[str, Any]) -> Known | None:
        """A region of the walk, when it is in view as a whole and large enough to see."""
        try:
            geometry = feature["geometry"]
            polygons = geometry["coordinates"]
            if geometry["type"] == "Polygon":
                polygons = [polygons]
            outer = [np.asarray(polygon[0], np.float64).reshape(-1, 2) for polygon in polygons]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        rings = [ring / self.shrink - (self.left_px, self.top_px) for ring in outer]
        x0, y0 = np.floor(np.min([ring.min(axis=0) for ring in rings], axis=0)).astype(int)
        x1, y1 = np.ceil(np.max([ring.max(axis=0) for ring in rings], axis=0)).astype(int)
        height, width = self.image.shape[:2]
        if min(x0, y0) < 0 or x1 > width or y1 > height or min(x1 - x0, y1 - y0) < _LEAST_PX:
            return None
        inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
        # a pixel is named by its corner in the rings, by its middle in the drawing
        drawn = [np.round(ring - (x0 + 0.5, y0 + 0.5)).astype(np.int32) for ring in rings]
        cv2.fillPoly(inside, drawn, 1)
        return Known(box_xyxy=(int(x0), int(y0), int(x1), int(y1)), inside=inside)


def tight_box(mask: NDArray[np.bool_]) -> BoxXYXY:
    """The smallest box that holds a mask of at least one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
