"""What a rule is: parameters, checked when it is made, and what it remembers of one stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from operators.rulebook.seen import Moment
from streamer.words import Said


@dataclass(frozen=True, kw_only=True)
class Found:
    """Something a rule saw: when it happened, to which track, and with which other one."""

    time_ns: int
    track_id: int | None = None
    other_track_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Rule(ABC):
    """A rule at work on one stream; a fresh copy is made for each.

    The fields of a rule are its keys in a rule file. `kind` is the kind of its events.
    `counts`: conditions on words choose the tracks it is shown, instead of what it finds.
    """

    kind: ClassVar[str]
    counts: ClassVar[bool] = False
    needs_words: ClassVar[bool] = False

    @abstractmethod
    def look(self, moment: Moment) -> Iterator[Found]:
        """What a frame shows; times lie at or before the frame's."""

    def hear(self, track_id: int, before: Said, now: Said, time_ns: int) -> Iterator[Found]:
        """New words about a track that had some."""
        return iter(())


def check_share(name: str, value: float) -> None:
    """Above 0 and at most 1.

    Raises:
        ValueError: naming the key.
    """
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value:g}; a share above 0 and at most 1 is wanted")


def check_positive(name: str, value: float) -> None:
    """More than 0.

    Raises:
        ValueError: naming the key.
    """
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value:g}; wanted more than 0")


def check_not_negative(name: str, value: float) -> None:
    """At least 0.

    Raises:
        ValueError: naming the key.
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value:g}; wanted at least 0")


def to_ns(seconds: float) -> int:
    """Seconds of a rule file in nanoseconds."""
    return round(seconds * 1e9)
