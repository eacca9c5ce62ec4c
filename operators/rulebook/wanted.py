"""Conditions on words: what a caption has to claim, read as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from streamer.records import Caption
from streamer.words import Said, check_category, check_colour, read_caption


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What was last said of a track, and how surely (mean token probability, 0..1)."""

    said: Said
    sure: float


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Empty sets want nothing."""

    categories: frozenset[str]
    colours: frozenset[str]
    sure: float = 0.0

    def fits(self, heard: Heard) -> bool:
        """Whether words fulfil the condition."""
        return (
            heard.sure >= self.sure
            and (not self.categories or heard.said.category in self.categories)
            and (not self.colours or heard.said.colour in self.colours)
        )


def hear(caption: Caption, categories: tuple[str, ...]) -> Heard:
    """What a caption claims; as sure as its record says, which is rounded. A captioner that does
    not say how sure it is counts as not sure."""
    said = read_caption(caption.text, categories)
    logprob = caption.mean_logprob
    return Heard(said=said, sure=0.0 if logprob is None else math.exp(round(logprob, 4)))


def read_wanted(data: Any, categories: tuple[str, ...]) -> Wanted:
    """A condition from a rule file: `{category: car, colour: [red, orange], sure: 0.8}`.

    Raises:
        ValueError: for unknown keys, categories or colours.
    """
    keys = {"category", "colour", "sure"}
    if not isinstance(data, dict) or not data or not data.keys() <= keys:
        raise ValueError(
            f"{data!r}: wanted {{category: car, colour: red, sure: 0.8}} or some of it"
        )
    sure = data.get("sure", 0.0)
    if not isinstance(sure, (int, float)) or not 0 <= sure <= 1:
        raise ValueError(f"sure is {sure!r}; a probability 0..1 is wanted")
    return Wanted(
        categories=frozenset(check_category(n, categories) for n in _names(data, "category")),
        colours=frozenset(check_colour(name) for name in _names(data, "colour")),
        sure=float(sure),
    )


def _names(data: dict[str, Any], key: str) -> list[str]:
    value = data.get(key, [])
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"{key} is {value!r}; a word or a list of words is wanted")
    return names
