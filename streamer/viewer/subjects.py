"""What can be asked about: a moment of a film or of a camera, or the part of a scroll in view."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import InputError
from streamer.geometry import BoxXYXY
from streamer.viewer.asking import Asker, Turn
from streamer.viewer.canvas import Cut
from streamer.viewer.run import Run
from streamer.viewer.saving import Moment, save
from streamer.viewer.saving_canvas import save_on_canvas


class Subject(ABC):
    """A picture to ask about, and where an answer goes that is saved.

    Attributes:
        key: the same for the same picture.
        image: HxWx3 uint8 RGB.
        left_px, top_px, shrink: pixel (x, y) of the image is pixel ((x + left_px) * shrink,
            (y + top_px) * shrink) of what the page counts in.
        known: masks (HxW bool) that say roughly where things are.
    """

    key: tuple[object, ...]
    image: NDArray[np.uint8]
    left_px: int = 0
    top_px: int = 0
    shrink: int = 1
    known: Sequence[NDArray[np.bool_]] = ()

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
        self,
        mask: NDArray[np.bool_],
        box_xyxy: BoxXYXY,
        turns: Sequence[Turn],
        asker: Asker,
        quality: float,
        before: int | None,
    ) -> dict[str, Any]:
        """Save an answer about a mask and its tight box in the image.

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
        self,
        mask: NDArray[np.bool_],
        box_xyxy: BoxXYXY,
        turns: Sequence[Turn],
        asker: Asker,
        quality: float,
        before: int | None,
    ) -> dict[str, Any]:
        if self.run.records is None:
            raise InputError("there is no catalog to save in")
        caption = save(
            self.run.folder, self.run.records, self.stream, self.moment, mask, turns, asker, before
        )
        return {"id": caption.id, "track": caption.track_id, "text": caption.text}

    def _tracks(self) -> list[NDArray[np.bool_]]:
        """Masks of the tracks in the picture."""
        if self.run.records is None:
            return []
        name, half_ns = self.stream["stream_id"], round(0.5e9 / (self.stream["fps"] or 25.0))
        near = self.run.records.frame_near(name, self.moment.time_ns, half_ns)
        if near is None:
            return []
        tracks = self.run.records.masks(name, near[0], near[0] + 1)
        hw = self.image.shape[:2]
        return [mask.decode() for _, _, mask in tracks if mask.hw == hw and mask.area_px]


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

    def to_page(self, box_xyxy: BoxXYXY) -> BoxXYXY:
        x0, y0, x1, y1 = super().to_page(box_xyxy)
        return x0, y0, min(x1, self.size[0]), min(y1, self.size[1])

    def save(
        self,
        mask: NDArray[np.bool_],
        box_xyxy: BoxXYXY,
        turns: Sequence[Turn],
        asker: Asker,
        quality: float,
        before: int | None,
    ) -> dict[str, Any]:
        x0, y0, x1, y1 = box_xyxy
        saved = save_on_canvas(
            self.run, mask[y0:y1, x0:x1], self.to_page(box_xyxy), self.window, turns, asker, quality
        )
        return {"track": saved["id"], "text": saved["properties"]["text"], "region": saved}
