"""What the viewer needs of models: masks at points, in boxes, of everything, and words for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.geometry import BoxXYXY

MOST_REGIONS = 64


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a picture, in pixels; `inside` says whether the object is there, or is not."""

    x_px: float
    y_px: float
    inside: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A mask (HxW bool, at least one pixel) and what its finder holds its IoU to be."""

    mask: NDArray[np.bool_]
    quality: float


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What was asked ("short", "detailed", or a question in words) and what was answered."""

    asked: str
    answer: str
    mean_logprob: float | None = None


class Look(ABC):
    """One picture. Whatever is asked about it, it is encoded once. For one thread at a time."""

    @abstractmethod
    def region(self, points: Sequence[Point], box_xyxy: BoxXYXY | None) -> Found | None:
        """The object at points, in a box (pixels, half-open), or both; None when there is none."""

    @abstractmethod
    def everything(self) -> list[Found]:
        """All objects, the most certain first, at most MOST_REGIONS."""

    @abstractmethod
    def describe(self, masks: NDArray[np.bool_], asked: str) -> list[Turn]:
        """Words for R x H x W masks, `asked` "short" or "detailed".

        Raises:
            StreamerError: when a region cannot be described.
        """

    @abstractmethod
    def answer(self, mask: NDArray[np.bool_], turns: Sequence[Turn], question: str) -> Turn:
        """The answer to a question about an HxW mask, after the turns so far.

        Raises:
            StreamerError: when it cannot be answered; a conversation too long for the model too.
        """


class Asker(ABC):
    """Looks at pictures. `name` and `weights_hash` go into records that are saved."""

    name: str = ""
    weights_hash: str = ""

    @abstractmethod
    def look(self, image: NDArray[np.uint8]) -> Look:
        """Look at an HxWx3 uint8 RGB picture."""
