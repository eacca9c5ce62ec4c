"""The pictures that are asked about, what was found in them and said of them."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError, InputError
from streamer.geometry import BoxXYXY
from streamer.viewer.asking import MOST_REGIONS, Asker, Found, Look, Point, Turn
from streamer.viewer.outlines import rings_of_pixels
from streamer.viewer.subjects import Subject, tight_box

MOST_MASKS = 4096
_MOST_LOOKS = 4
_MOST_TURNS = 20
_SAME = 0.6  # IoU from which two masks are of one thing


@dataclass(eq=False)
class Asked:
    """A picture somebody is asking about."""

    subject: Subject
    look: Look | None = None
    found: list[Found] = field(default_factory=list)
    turns: dict[int, list[Turn]] = field(default_factory=dict)
    saved: dict[int, int] = field(default_factory=dict)

    def seen(self, asker: Asker) -> Look:
        """The picture is looked at when the first question comes, and once."""
        if self.look is None:
            self.look = asker.look(self.subject.image)
        return self.look

    def region(self, region: int) -> Found:
        """What was found, by its number.

        Raises:
            InputError: when there is none of this number.
        """
        if region >= len(self.found):
            raise InputError("there is no such region in this picture")
        return self.found[region]

    def remember(self, region: int, turn: Turn) -> None:
        """A turn of the conversation about a region."""
        turns = self.turns.setdefault(region, [])
        turns.append(turn)
        del turns[:-_MOST_TURNS]

    def add(self, found: Found) -> dict[str, Any]:
        """One more region, told as the page counts.

        Raises:
            ConfigError: when there are too many.
        """
        if len(self.found) >= MOST_MASKS:
            raise ConfigError("too much was asked about this picture; clear and begin anew")
        self.found.append(found)
        subject = self.subject
        box = tight_box(found.mask)
        x0, y0, x1, y1 = box
        crop = np.ascontiguousarray(found.mask[y0:y1, x0:x1].view(np.uint8))
        rings = rings_of_pixels(crop, x0 + subject.left_px, y0 + subject.top_px)
        return {
            "region": len(self.found) - 1,
            "rings": [_enlarged(ring, subject.shrink) for ring in rings],
            "box": list(subject.to_page(box)),
            "quality": round(found.quality, 3),
        }

    def points(self, places: Sequence[Point]) -> list[Point]:
        """Points of the page in the picture.

        Raises:
            ConfigError: when one lies outside.
        """
        height, width = self.subject.image.shape[:2]
        points = []
        for place in places:
            x, y = self.subject.to_picture(place.x_px, place.y_px)
            if not (0 <= x < width and 0 <= y < height):
                raise ConfigError(
                    f"the point {place.x_px:g}, {place.y_px:g} lies outside of the picture"
                )
            points.append(Point(x_px=x, y_px=y, inside=place.inside))
        return points

    def box(self, box: Sequence[float]) -> BoxXYXY:
        """A box of the page in the picture, clipped to it.

        Raises:
            ConfigError: when nothing of it is left.
        """
        height, width = self.subject.image.shape[:2]
        corners = self.subject.to_picture(*box[:2]), self.subject.to_picture(*box[2:])
        x0, x1 = sorted(round(min(max(x, 0), width)) for x, _ in corners)
        y0, y1 = sorted(round(min(max(y, 0), height)) for _, y in corners)
        if x1 - x0 < 2 or y1 - y0 < 2:
            raise ConfigError("the box has no area in the picture; drag a larger one")
        return x0, y0, x1, y1

    def box_there(self, points: Sequence[Point]) -> BoxXYXY | None:
        """The box of the smallest known thing under a single point: it tells far more than one."""
        if len(points) != 1 or not points[0].inside:
            return None
        x, y = int(points[0].x_px), int(points[0].y_px)
        under = [known for known in self.subject.known if known.holds(x, y)]
        return min(under, key=lambda known: known.area_px).box_xyxy if under else None

    def everything(self, look: Look) -> list[Found]:
        """What is known, the largest first, with its outline drawn anew, and what is found
        besides; at most MOST_REGIONS."""
        found: list[Found] = []
        largest = sorted(self.subject.known, key=lambda known: -known.area_px)[:MOST_REGIONS]
        anew = [look.region([], known.box_xyxy) for known in largest]
        for item in (*anew, *look.everything()):
            if item is not None and all(_iou(item.mask, other.mask) < _SAME for other in found):
                found.append(item)
        return found[:MOST_REGIONS]


class Desk:
    """The pictures asked about last, and the model, which answers one question at a time."""

    def __init__(self, make_asker: Callable[[], Asker] | None) -> None:
        self._make_asker = make_asker
        self._asker: Asker | None = None
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._model = threading.Lock()
        self._desk = threading.Lock()

    @contextmanager
    def model(self) -> Iterator[Asker]:
        """The model to oneself; loaded when first wanted."""
        if self._make_asker is None:
            raise ConfigError("asking is switched off; start `streamer view` without --no-ask")
        with self._model:
            if self._asker is None:
                self._asker = self._make_asker()
            yield self._asker

    def open(self, subject: Subject) -> str:
        """The key of a picture; the same one for one that lies there already."""
        with self._desk:
            for key, asked in self._asked.items():
                if asked.subject.key == subject.key:
                    self._asked.move_to_end(key)
                    return key
            key = secrets.token_hex(8)
            self._asked[key] = Asked(subject)
            while len(self._asked) > _MOST_LOOKS:
                self._asked.popitem(last=False)
        return key

    def get(self, key: str) -> Asked:
        """The picture of a key.

        Raises:
            InputError: when it is not there any more.
        """
        with self._desk:
            if key not in self._asked:
                raise InputError("this picture was put away; ask about it again")
            self._asked.move_to_end(key)
            return self._asked[key]


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _enlarged(ring: list[int], by: int) -> list[float]:
    """A ring through the middles of large pixels: the page adds the half of a small one."""
    if by == 1:
        return list(ring)
    middle = (by - 1) / 2
    return [ring[0] * by + middle, ring[1] * by + middle, *(step * by for step in ring[2:])]
