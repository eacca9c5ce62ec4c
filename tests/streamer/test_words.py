from __future__ import annotations

import pytest

from model.synthetic.captions import parse_caption
from model.synthetic.palette import COLOURS as WORLD_COLOURS
from model.synthetic.shapes import CATEGORIES as WORLD_CATEGORIES
from streamer.words import CATEGORIES, COLOURS, check_category, check_colour, read_caption


@pytest.mark.parametrize(
    ("text", "category", "colour"),
    [
        ("a small red car with a roof rack", "car", "red"),
        ("a car park", "", ""),
        ("a bus shelter", "", ""),
        ("a car-free road", "", ""),
        ("a man in a red shirt", "person", ""),
        ("People walking", "person", ""),
        ("no dog", "", ""),
        ("not a red car", "", ""),
        ("a traffic light", "traffic-light", ""),
        ("two brown dogs running on grass", "dog", "brown"),
        ("a red car parked outside", "car", "red"),
        ("a red bus stopping at a corner", "bus", "red"),
        ("a dog, next to a red car", "dog", ""),
        ("an orange", "orange", ""),
        ("an orange ball", "ball", "orange"),
        ("a colored ball", "ball", ""),
        ("a grey SUV", "", "gray"),
        ("a wheel of a red car", "wheel", ""),
        ("yes", "", ""),
        ("", "", ""),
    ],
)
def test_what_a_caption_claims(text: str, category: str, colour: str) -> None:
    said = read_caption(text)
    assert (said.category, said.colour) == (category, colour)


def test_all_words_of_the_synthetic_world_are_known() -> None:
    assert set(WORLD_CATEGORIES) <= set(CATEGORIES)
    assert WORLD_COLOURS == COLOURS
    for category in WORLD_CATEGORIES:
        for colour in WORLD_COLOURS:
            text = f"a small {colour} {category}"
            said, truth = read_caption(text), parse_caption(text)
            assert (said.category, said.colour) == (truth["category"], truth["colour"])


def test_words_are_checked() -> None:
    assert check_category("Traffic light") == "traffic-light"
    assert check_category("women") == "person"
    assert check_category("fork lift", ["fork-lift"]) == "fork-lift"
    assert check_colour("grey") == "gray"
    with pytest.raises(ValueError, match="did you mean 'truck'"):
        check_category("trcuk")
    with pytest.raises(ValueError, match="unknown colour 'shiny'"):
        check_colour("shiny")
    assert read_caption("a yellow fork lift", ("fork-lift",)).category == "fork-lift"
