"""Words: what is claimed is what was true, for every combination."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.synthetic.captions import (
    CATEGORIES,
    COLOURS,
    LARGE_ABOVE,
    PLACES,
    SIZES,
    SMALL_BELOW,
    detailed_caption,
    parse_caption,
    part_caption,
    place_word,
    short_caption,
    size_word,
    vocabulary,
)
from model.synthetic.scene import size_and_place
from model.synthetic.shapes import OBJECT, PARTS
from model.synthetic.sprites import TEXTURES
from model.training.tokenizer import build_tokenizer, words_of

described = st.builds(
    SimpleNamespace,
    category=st.sampled_from(CATEGORIES),
    colour=st.sampled_from(COLOURS),
    size=st.sampled_from(SIZES),
    place=st.sampled_from(PLACES),
    texture=st.sampled_from(("", *TEXTURES)),
    facing=st.sampled_from(("", "left", "right")),
    visible_fraction=st.floats(0, 1),
)
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


def test_the_world_is_wide_enough() -> None:
    assert len(set(CATEGORIES) - {OBJECT}) >= 12
    assert set(PARTS) == set(CATEGORIES) - {OBJECT}
    assert len(COLOURS) == 11


@SETTINGS
@given(described)
def test_what_a_caption_claims_comes_back(obj: Any) -> None:
    for text, place in ((short_caption(obj), ""), (detailed_caption(obj), obj.place)):
        claims = {"category": obj.category, "colour": obj.colour, "size": obj.size, "place": place}
        assert parse_caption(text) == claims
        assert parse_caption(text[0].upper() + text[1:]) == claims
        first, second = text.split()[:2]
        assert first == ("an" if second[0] in "aeiou" else "a")
    detail = detailed_caption(obj)
    assert ("partly hidden" in detail) == (obj.visible_fraction < 0.7)
    assert (f"facing {obj.facing}" in detail) == bool(obj.facing)
    if obj.texture not in ("", "plain"):
        assert f" {obj.texture} " in detail


@SETTINGS
@given(st.sampled_from([(c, p) for c, parts in PARTS.items() for p in parts]),
       st.sampled_from(COLOURS))  # fmt: skip
def test_a_part_claims_itself(pair: tuple[str, str], colour: str) -> None:
    category, part = pair
    said = parse_caption(part_caption(part, colour, category))
    assert (said["category"], said["colour"], said["place"]) == (part, colour, "")


@SETTINGS
@given(st.lists(described, min_size=1, max_size=3))
def test_the_vocabulary_holds_every_word(objects: list[Any]) -> None:
    texts = [f(obj) for obj in objects for f in (short_caption, detailed_caption)]
    assert set(words_of(texts)) <= set(vocabulary())


def test_the_tokenizer_gives_captions_back() -> None:
    tokenizer = build_tokenizer(vocabulary())
    rng = np.random.default_rng(0)
    for _ in range(100):
        obj = SimpleNamespace(
            category=rng.choice(CATEGORIES), colour=rng.choice(COLOURS), size=rng.choice(SIZES),
            place=rng.choice(PLACES), texture=rng.choice(TEXTURES), facing="left",
            visible_fraction=rng.random(),
        )  # fmt: skip
        text = detailed_caption(obj)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=60))
def test_any_text_can_be_parsed(text: str) -> None:
    claims = parse_caption(text)
    assert set(claims) == {"category", "colour", "size", "place"}


@pytest.mark.parametrize("text", ["", "nothing in particular", "42", "at the"])
def test_what_claims_nothing(text: str) -> None:
    claims = parse_caption(text)
    assert (claims["category"], claims["colour"], claims["place"]) == ("", "", "")


def test_words_at_the_borders() -> None:
    assert size_word(np.nextafter(SMALL_BELOW, 0)) == "small"
    assert size_word(SMALL_BELOW) == size_word(LARGE_ABOVE) == "medium"
    assert size_word(np.nextafter(LARGE_ABOVE, 1)) == "large"
    assert (size_word(0.0), size_word(1.0)) == ("small", "large")
    below, above = np.nextafter(1 / 3, 0), np.nextafter(2 / 3, 1)
    assert (place_word(0, 0), place_word(1, 1)) == ("top left", "bottom right")
    assert (place_word(below, 0.5), place_word(1 / 3, 0.5)) == ("left", "centre")
    assert (place_word(0.5, below), place_word(0.5, 1 / 3)) == ("top", "centre")
    assert (place_word(above, 0.5), place_word(0.5, above)) == ("right", "bottom")
    assert (place_word(1, 0), place_word(0, 1)) == ("top right", "bottom left")


@pytest.mark.parametrize("hw", [(90, 90), (60, 120), (91, 45)])
def test_size_and_place_of_masks(hw: tuple[int, int]) -> None:
    height, width = hw
    for y, x in ((0, 0), (0, width - 1), (height - 1, 0), (height // 2, width // 2)):
        mask = np.zeros(hw, bool)
        mask[y, x] = True
        assert size_and_place(mask) == ("small", place_word((x + 0.5) / width, (y + 0.5) / height))
    assert size_and_place(np.ones(hw, bool)) == ("large", "centre")
    # exactly the limits: 1 % and 6 % of 100 x 100
    for cells, word in ((99, "small"), (100, "medium"), (600, "medium"), (601, "large")):
        mask = np.zeros((100, 100), bool)
        mask.reshape(-1)[:cells] = True
        assert size_and_place(mask)[0] == word
    # the centroid decides, not the box
    mask = np.zeros((90, 90), bool)
    mask[:, :10] = True
    mask[0, :] = True
    assert size_and_place(mask)[1] == "left"
