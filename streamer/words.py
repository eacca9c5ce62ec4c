"""What a short caption claims, as data: the category and the colour of its subject.

A small parser of English noun phrases, so that conditions on words never search for substrings:
"a car park" is no car, "a man in a red shirt" is not red, "no dog" is no dog.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from streamer.yaml_places import nearest

COLOURS: tuple[str, ...] = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip
# the categories of the synthetic world and of COCO; a rule file may add its own
CATEGORIES: tuple[str, ...] = (
    "airplane", "apple", "backpack", "ball", "banana", "baseball-bat", "baseball-glove", "bear",
    "bed", "bench", "bicycle", "bird", "boat", "book", "bottle", "bowl", "box", "broccoli", "bus",
    "cake", "car", "carrot", "cat", "cell-phone", "chair", "clock", "couch", "cow", "cup",
    "dining-table", "dog", "donut", "door", "elephant", "fire-hydrant", "fish", "flower", "fork",
    "frisbee", "giraffe", "hair-drier", "handbag", "hand", "head", "horse", "hot-dog", "house",
    "keyboard", "kite", "knife", "laptop", "microwave", "motorcycle", "mouse", "object", "orange",
    "oven", "parking-meter", "person", "pizza", "potted-plant", "refrigerator", "remote",
    "sandwich", "scissors", "sheep", "sink", "skateboard", "skis", "snowboard", "spoon",
    "sports-ball", "stop-sign", "suitcase", "surfboard", "teddy-bear", "tennis-racket", "tie",
    "toaster", "toilet", "toothbrush", "traffic-light", "train", "tree", "truck", "tv", "umbrella",
    "vase", "wheel", "window", "wine-glass", "zebra",
)  # fmt: skip
_SAME = {
    "grey": "gray", "violet": "purple", "man": "person", "woman": "person", "boy": "person",
    "girl": "person", "child": "person", "pedestrian": "person", "people": "person",
    "men": "person", "women": "person", "children": "person", "bike": "bicycle",
    "motorbike": "motorcycle", "plane": "airplane", "aeroplane": "airplane", "television": "tv",
    "sofa": "couch", "lorry": "truck", "phone": "cell phone", "mice": "mouse", "knives": "knife",
    "buses": "bus", "geese": "bird", "puppy": "dog", "kitten": "cat",
}  # fmt: skip
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
# words that end the subject of a caption
_ENDS = frozenset((
    "of", "with", "in", "on", "at", "near", "by", "behind", "beside", "under", "over", "and", "or",
    "from", "to", "that", "which", "who", "is", "are", "was", "for", "against", "next", "while",
    "partly", "between", "through", "above", "below", "inside", "outside",
))  # fmt: skip
_NONE = frozenset(("no", "not", "without", "nothing"))


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a caption claims of its subject; "" where it claims nothing."""

    category: str
    colour: str


@lru_cache(maxsize=4096)
def read_caption(text: str, extra_categories: tuple[str, ...] = ()) -> Said:
    """The category and colour that a short caption claims of its subject.

    Args:
        text: for instance "a small red car with a roof rack".
        extra_categories: words beyond CATEGORIES that count as categories.
    """
    known = {*CATEGORIES, *extra_categories}
    clause = re.split(r"[,.;:!?()\n]", text.lower())[0]
    words = [_SAME.get(word, word) for word in _WORD.findall(clause)]
    stops = (i for i in range(len(words)) if _ends(words, i, known))
    subject = words[: next(stops, len(words))]
    if _NONE & set(subject):
        return Said(category="", colour="")
    category = ""
    # the last words of the phrase name the thing: "a traffic light", but not "a bus shelter"
    for length in (3, 2, 1):
        name = "-".join(" ".join(subject[-length:]).split())
        if len(subject) >= length and (category := _category(name, known)):
            subject = subject[:-length]
            break
    return Said(category=category, colour=next((w for w in subject if w in COLOURS), ""))


def check_category(name: str, extra_categories: Iterable[str] = ()) -> str:
    """The category's own name, for "Traffic light" or "man" too.

    Raises:
        ValueError: for a word that is not one, with the nearest that is.
    """
    known = {*CATEGORIES, *extra_categories}
    wanted = "-".join(_SAME.get(name.lower(), name.lower()).split())
    found = _category(wanted, known)
    if not found:
        near = difflib.get_close_matches(wanted, sorted(known), n=1)
        hint = f"did you mean {near[0]!r}? Else" if near else "if it is one,"
        raise ValueError(f"unknown category {name!r}; {hint} name it under categories:")
    return found


def check_colour(name: str) -> str:
    """The colour's own name, for "grey" too.

    Raises:
        ValueError: for a word that is not one.
    """
    colour = _SAME.get(name.lower(), name.lower())
    if colour not in COLOURS:
        raise ValueError(f"unknown colour {name!r}{nearest(colour, COLOURS)}")
    return colour


def _ends(words: list[str], index: int, known: set[str]) -> bool:
    """Whether the subject of a caption ends before a word: "a car | parked", "a dog | running"."""
    word = words[index]
    if word in _ENDS:
        return True
    verb = index > 0 and word not in COLOURS and re.fullmatch(r"[a-z]{2,}(?:ing|ed)", word)
    return bool(verb and _category(words[index - 1], known))


def _category(name: str, known: set[str]) -> str:
    """A category by its name, singular or plural; "" when it is none."""
    tried = [name]
    if name.endswith("es"):
        tried.append(name[:-2])
    if name.endswith("s"):
        tried.append(name[:-1])
    return next((form for form in tried if form in known), "")
