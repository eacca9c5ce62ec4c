"""What is known of one object."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.appearance import Histogram, spread
from operators.tracking.candidate import Candidate

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Beside:
    """The `place`s of a small track and of the `large` one that it touches, at a time, and
    where the camera had panned to."""

    large: Track
    small_place: NDArray[np.float64]
    large_place: NDArray[np.float64]
    panned: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Began:
    """A track's `place` and `flowed` when it was first located, and where the camera had panned
    to."""

    place: NDArray[np.float64]
    flowed: NDArray[np.float64]
    panned: NDArray[np.float64]


@dataclass(eq=False)
class Track:
    """An object on its way. `track_id` is 0 until it is confirmed.

    `soft` is a uint8 crop at (`left`, `top`) of a picture of `hw` = (height, width): 255 inside
    and between at the edge, so that being moved again and again does not wear the mask down.
    `inside` is its 0/1 form in the tight `box` (x0, y0, x1, y1). `look` is the histogram of its
    colours and `wide_look` the same spread over neighbouring cells. `velocity` is in pixels a
    frame against the resting world, `flowed` their sum, `place` where its centre lies in that
    world, and `began` how it was at first. `hits` and `misses` count rounds of proposals. Before it
    had an id, `moving` counts those in a row in which it moved, and `plain` and `veil` say that it
    looked like a patch of the ground, or like a shadow on it. What was `given` by hand keeps its
    own mask: proposals only find it again when it was hidden. `larger` is the last proposal that
    held it, and more.

    `part_of` is the track it belongs to, `together` the rounds for which it has moved as one with
    one, `beside` how it lay to a larger one when they were first seen to touch or to belong
    together, `alone` whether it has moved otherwise; `undecided` says that it may turn out to be a
    part. `parting` is the way between two pieces of it when they were first seen apart, and the
    smaller one's area; `split_from_id` is the track that held it before it was found to be a thing
    of its own. What was `merged_into` another track was found to be a piece of it, and is over.
    What is `sure` is confirmed by one proposal; `refined` says that a segmenter was asked about
    its outline, `doubted_hits` how often it had been proposed when one made nothing of it.
    """

    soft: U8
    left: int
    top: int
    hw: tuple[int, int]
    look: Histogram
    strength: float
    first_ns: int
    last_ns: int
    track_id: int = 0
    frames: int = 1
    hits: int = 1
    moving: int = 0
    plain: bool = False
    veil: bool = False
    misses: int = 0
    grown: int = 0
    larger: Candidate | None = None
    shrunk: int = 0
    unlike: int = 0
    score: float = 1.0
    visible: bool = True
    given: bool = False
    part_of: Track | None = None
    together: int = 0
    beside: Beside | None = None
    alone: bool = False
    undecided: bool = False
    merged_into: Track | None = None
    split_from_id: int = 0
    parting: tuple[NDArray[np.float64], int] | None = None
    usual_area_px: float = 0.0
    sure: bool = False
    refined: bool = False
    doubted_hits: int = 0
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    place: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    flowed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    began: Began | None = None
    wide_look: Histogram = field(init=False)
    _owed: NDArray[np.float64] = field(init=False, default_factory=lambda: np.zeros(2))
    inside: U8 = field(init=False)
    box: Box = field(init=False)
    area_px: int = field(init=False)
    _centre: tuple[float, float] | None = field(init=False, default=(0.0, 0.0))

    def __post_init__(self) -> None:
        self.set_look(self.look)
        self.set_mask(self.soft, self.left, self.top)
        self.usual_area_px = self.usual_area_px or float(self.area_px)

    def set_mask(self, soft: U8, left: int, top: int) -> None:
        """Take a new mask; the centre stays where it was when nothing is left of it."""
        inside = (soft > 127).view(np.uint8)
        x, y, w, h = cv2.boundingRect(inside)
        if w:
            self._centre = None  # found out when it is asked for
        elif self._centre is None:
            self._centre = self._middle()
        self.soft, self.left, self.top = soft, left, top
        self.box = (left + x, top + y, left + x + w, top + y + h)
        self.inside = inside[y : y + h, x : x + w]
        self.area_px = cv2.countNonZero(self.inside) if w else 0

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of its mass."""
        if self._centre is None:
            self._centre = self._middle()
        return self._centre

    @centre.setter
    def centre(self, centre: tuple[float, float]) -> None:
        self._centre = centre

    def _middle(self) -> tuple[float, float]:
        moments = cv2.moments(self.inside, binaryImage=True)
        x, y = self.box[:2]
        return x + moments["m10"] / moments["m00"], y + moments["m01"] / moments["m00"]

    def shift(self, way: NDArray[np.float64]) -> None:
        """Move the mask as a whole, by (x, y) pixels; whole ones at a time, so that a thin one does
        not wear off."""
        self._owed = self._owed + way
        dx, dy = (int(v) for v in np.rint(self._owed))
        self._owed = self._owed - (dx, dy)
        left, top = self.left + dx, self.top + dy
        a, c = max(0, -left), max(0, -top)
        soft = self.soft[c : max(c, self.hw[0] - top), a : max(a, self.hw[1] - left)]
        if soft.size:
            self.set_mask(soft, left + a, top + c)
        else:
            self.set_mask(np.zeros((1, 1), np.uint8), 0, 0)

    def set_look(self, look: Histogram) -> None:
        self.look, self.wide_look = look, spread(look)

    def padded(self, by_px: int) -> Box:
        """The box with a rim, within the picture."""
        x0, y0, x1, y1 = self.box
        height, width = self.hw
        return (
            max(0, x0 - by_px),
            max(0, y0 - by_px),
            min(width, x1 + by_px),
            min(height, y1 + by_px),
        )

    def window(self, box: Box) -> U8:
        """The soft mask in a box of the picture; 0 where nothing is known of it."""
        x0, y0, x1, y1 = box
        height, width = self.soft.shape
        left, top, right, bottom = x0 - self.left, y0 - self.top, x1 - self.left, y1 - self.top
        if left >= 0 and top >= 0 and right <= width and bottom <= height:
            return self.soft[top:bottom, left:right].copy()
        out = np.zeros((y1 - y0, x1 - x0), np.uint8)
        a, b = max(0, left), min(right, width)
        c, d = max(0, top), min(bottom, height)
        if a < b and c < d:
            out[c - top : d - top, a - left : b - left] = self.soft[c:d, a:b]
        return out

    def cut_share(self) -> float:
        """How much of its outline is the picture's border: there it may go on."""
        height, width = self.hw
        x0, y0, x1, y1 = self.box
        inside = self.inside
        ends = ((x0 <= 0, inside[:, 0]), (x1 >= width, inside[:, -1]),
                (y0 <= 0, inside[0]), (y1 >= height, inside[-1]))  # fmt: skip
        cut_px = sum(cv2.countNonZero(end) for touches, end in ends if touches)
        padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        rim_px = self.area_px - cv2.countNonZero(cv2.erode(padded, np.ones((3, 3), np.uint8)))
        return float(cut_px / max(1, rim_px))

    def touches_border(self) -> bool:
        """Whether a part of it may lie outside the picture."""
        height, width = self.hw
        x0, y0, x1, y1 = self.box
        return x0 <= 1 or y0 <= 1 or x1 >= width - 1 or y1 >= height - 1

    def hide(self, time_ns: int) -> None:
        """It cannot be seen any more; it is remembered for a while."""
        self.visible = False
        self.unlike = 0
