"""The contract of everything that puts regions into words. Imports no model.

A captioner is configured by its constructor, which must be cheap; `setup` loads what costs. A
newcomer writes one class, names it in the configuration (`captioner: my_module.MyCaptioner`) and
runs the checks of `tests/operators/captioning/test_contract.py` over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Picture:
    """HxWx3 uint8 RGB, and the masks of its regions, HxW boolean each."""

    image: NDArray[np.uint8]
    masks: Sequence[NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is said of a region: the short form, the long form ("" where none was asked for), and
    the mean natural-log probability of the short form (None where the captioner does not tell), and
    how many tokens were generated (0 where it does not tell)."""

    text: str
    detail: str = ""
    mean_logprob: float | None = None
    tokens: int = 0


@dataclass(frozen=True)
class Refusal:
    """Why one region got no words; the others of its picture have theirs."""

    reason: str


class Captioner(ABC):
    """Words for regions. A region's words depend on its picture and its mask alone, not on the
    other regions or pictures of the call.

    `name` and `weights_hash` say whose words they are; they are known after `setup`. A captioner
    without weights of its own has the hash "".
    """

    name: str = ""
    weights_hash: str = ""

    @abstractmethod
    def setup(self) -> None:
        """Load weights, open connections; runs once in the worker.

        Raises:
            StreamerError: in one line that says what is wrong and what to do.
        """

    @abstractmethod
    def words(
        self, pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    ) -> list[list[Words | Refusal]]:
        """Words for the regions of pictures: HxWx3 images with R x H x W masks, none of them
        empty, R at least 1. One list a picture, in the order of its masks."""

    def close(self) -> None:  # noqa: B027 - nothing to release is the common case
        """Must survive a failed `setup`, and may be called twice."""

    def describe(self, pictures: Sequence[Picture]) -> list[list[Words | Refusal]]:
        """Words for every region, in order. Masks that cannot be described (of another size than
        their picture, or without a pixel) are refused, each for itself."""
        answers: list[list[Words | Refusal]] = []
        asked: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]] = []
        places: list[tuple[int, list[int]]] = []
        for picture in pictures:
            refused = [_problem(mask, picture.image.shape[:2]) for mask in picture.masks]
            good = [i for i, problem in enumerate(refused) if problem is None]
            answers.append([Refusal(problem or "") for problem in refused])
            if good:
                asked.append((picture.image, np.stack([picture.masks[i] for i in good])))
                places.append((len(answers) - 1, good))
        for (at, good), given in zip(places, self.words(asked) if asked else [], strict=True):
            for i, words in zip(good, given, strict=True):
                answers[at][i] = words
        return answers


def _problem(mask: NDArray[np.bool_], hw: tuple[int, ...]) -> str | None:
    if mask.shape != hw:
        return (
            f"the mask is {' x '.join(map(str, mask.shape))} pixels, its picture "
            f"{' x '.join(map(str, hw))}"
        )
    return None if mask.any() else "the mask has no pixel inside its picture"
