"""Words for what is true of a region, and back from words to what they claim."""

from __future__ import annotations

import re
from typing import Protocol

from model.synthetic.palette import COLOURS
from model.synthetic.shapes import CATEGORIES, OBJECT, PART_NAMES, PARTS
from model.synthetic.sprites import TEXTURES

SIZES: tuple[str, ...] = ("small", "medium", "large")
PLACES: tuple[str, ...] = (
    "top left", "top", "top right", "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
SMALL_BELOW, LARGE_ABOVE = 0.01, 0.06


class Described(Protocol):
    """What a caption is made of."""

    @property
    def category(self) -> str: ...
    @property
    def colour(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def texture(self) -> str: ...
    @property
    def facing(self) -> str: ...
    @property
    def visible_fraction(self) -> float: ...


def size_word(share: float) -> str:
    """Size from a mask's share of the picture, 0..1."""
    return "small" if share < SMALL_BELOW else "large" if share > LARGE_ABOVE else "medium"


def place_word(x: float, y: float) -> str:
    """Place from a centroid in 0..1 of the picture's width and height."""
    column = min(2, max(0, int(x * 3)))
    row = min(2, max(0, int(y * 3)))
    return PLACES[3 * row + column]


def short_caption(obj: Described) -> str:
    """For instance "a small red car"; medium is not said."""
    words = [obj.colour, obj.category]
    if obj.size != "medium":
        words.insert(0, obj.size)
    return f"{_article(words[0])} {' '.join(words)}"


def detailed_caption(obj: Described) -> str:
    """The short form with texture, parts, facing, place and occlusion."""
    words = [obj.colour, obj.category]
    if obj.texture not in ("", "plain"):
        words.insert(1, obj.texture)
    if obj.size != "medium":
        words.insert(0, obj.size)
    text = f"{_article(words[0])} {' '.join(words)}"
    if obj.category in PARTS:
        text += f" with {_plural(PARTS[obj.category][0])}"
    if obj.facing:
        text += f", facing {obj.facing}"
    text += ", in the centre" if obj.place == "centre" else f", at the {obj.place}"
    if obj.visible_fraction < 0.7:
        text += ", partly hidden"
    return text


def part_caption(part: str, colour: str, category: str) -> str:
    """For instance "a black wheel of a car"."""
    return f"{_article(colour)} {colour} {part} of {_article(category)} {category}"


def parse_caption(text: str) -> dict[str, str]:
    """The category, colour, size and place that a caption claims; "" where it claims none.

    A part's caption claims the part as its category.
    """
    head = text.lower().split(" of ")[0].split(" with ")[0]
    words = re.findall(r"[a-z]+", head.split(",")[0])
    found = {
        "category": next((w for w in reversed(words) if w in CATEGORIES or w in PART_NAMES), ""),
        "colour": next((w for w in words if w in COLOURS), ""),
        "size": next((w for w in words if w in SIZES), "medium" if words else ""),
    }
    place = re.search(r"\b(?:at|in) the ((?:top|bottom)?\s?(?:left|right)?|centre)(?:,|$)", text)
    found["place"] = place.group(1).strip() if place else ""
    return found


def vocabulary() -> list[str]:
    """Every word and mark a caption can hold."""
    words = {"a", "an", "of", "with", ",", "facing", "at", "in", "the", "partly", "hidden"}
    for group in (CATEGORIES, COLOURS, SIZES, PART_NAMES, TEXTURES):
        words |= set(group)
    words |= {word for place in PLACES for word in place.split()}
    words |= {_plural(parts[0]) for parts in PARTS.values()}
    return sorted(words - {"medium", "plain"})


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _plural(part: str) -> str:
    single = ("trunk", "handle", "tail", "band", "cab", "head", "roof")
    return f"a {part}" if part in single else {"leg": "legs"}.get(part, f"{part}s")


__all__ = [
    "CATEGORIES", "COLOURS", "OBJECT", "PLACES", "SIZES", "Described", "detailed_caption",
    "parse_caption", "part_caption", "place_word", "short_caption", "size_word", "vocabulary",
]  # fmt: skip
