"""Mistakes in rule files are named with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from operators.rulebook.book import KINDS, read_book
from operators.rulebook.shapes import line_of, zone_of
from streamer.errors import ConfigError
from streamer.mask import Mask
from tests.operators.rulebook.scenes import write_rules

SQUARE = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
RULE = {"name": "a", "kind": "zone_enter", "zone": "yard"}


def book(folder: Path, **data: Any) -> str:
    path = folder / "gate.yaml"
    path.write_text(json.dumps({"zones": {"yard": SQUARE}, "rules": [RULE], **data}, indent=1))
    return str(path)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"zones": {"yard": [[0, 0], [1, 1], [1, 0], [0, 1]]}}, ("crosses", "0.5 0.5")),
        ({"zones": {"yard": [[0.5, 0.5]]}}, ("1 different points", "3 at least")),
        ({"zones": {"yard": [[0.5, 0.5]] * 4}}, ("1 different points",)),
        ({"zones": {"yard": [[0, 0], [0.5, 0.5], [1, 1]]}}, ("yard", "one line")),
        ({"zones": {"yard": [[0, 0], [1.2, 0], [1, 1]]}}, ("[1.2, 0]", "outside the picture")),
        ({"zones": {"yard": [[0, 0], ["1", 0], [1, 1]]}}, ("['1', 0]", "not a point")),
        ({"zones": {"yard": "all"}}, ("list of points",)),
        ({"lines": {"door": [[0.5, 0.5]]}}, ("door", "1 different points", "2 at least")),
        ({"lines": {"door": [[0, 0], [1, 1], [1, 0], [0, 1]]}}, ("crosses itself",)),
        ({"units": "px", "picture_wh": [100, 100], "zones": {"yard": [[0, 0], [200, 0], [9, 9]]}},
         ("outside the picture",)),
        ({"units": "m"}, ("share (0..1) or px",)),
        ({"zonez": {}}, ("'zonez'", "did you mean 'zones'")),
        ({"rules": []}, ("rules is a list",)),
        ({"rules": [{"kind": "zone_enter"}]}, ("name and kind",)),
        ({"rules": [{**RULE, "kind": "zone_entre"}]}, ("did you mean 'zone_enter'",)),
        ({"rules": [{**RULE, "zone": "yrad"}]}, ("no zone 'yrad'", "did you mean 'yard'")),
        ({"rules": [{"name": "a", "kind": "line_cross", "line": "x"}]}, ("no line 'x'",)),
        ({"rules": [{"name": "a", "kind": "zone_enter"}]}, ("needs 'zone'",)),
        ({"rules": [{**RULE, "shore": 1}]}, ("'shore'", "did you mean 'share'")),
        ({"rules": [{**RULE, "share": 2}]}, ("share is 2",)),
        ({"rules": [{**RULE, "share": "half"}]}, ("'half'", "float")),
        ({"rules": [{**RULE, "kind": "dwell", "for_s": -1}]}, ("for_s is -1",)),
        ({"rules": [RULE, RULE]}, ("two rules have the name 'a'",)),
        ({"rules": [{**RULE, "of": {"category": "dragon"}}]}, ("unknown category 'dragon'",)),
        ({"rules": [{**RULE, "of": {"category": "trcuk"}}]}, ("did you mean 'truck'",)),
        ({"rules": [{**RULE, "of": {"colour": "rde"}}]}, ("did you mean 'red'",)),
        ({"rules": [{**RULE, "of": {"color": "red"}}]}, ("category", "colour")),
        ({"rules": [{**RULE, "other": {"category": "dog"}}]}, ("one track only",)),
        ({"rules": [{**RULE, "schedule": "nigth"}], "schedules": {"night": [{"media_to_s": 9}]}},
         ("did you mean 'night'",)),
        ({"rules": [{**RULE, "schedule": "night"}],
          "schedules": {"night": [{"from": "22:00", "to": "06:00"}]}}, ("clocks",)),
        ({"schedules": {"night": [{"from": "25:00", "to": "06:00"}]}}, ("no time of the day",)),
        ({"schedules": {"night": [{"days": ["tod"]}]}}, ("'tod' is no day",)),
        ({"clocks": {"gate": "noon"}}, ("'noon' is not a date",)),
        ({"lost_s": 0}, ("lost_s is 0",)),
        ({"geojson": "none.json"}, ("none.json", "no such GeoJSON file")),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, data: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as raised:
        read_book(book(tmp_path, **data))
    text = str(raised.value)
    assert "\n" not in text
    for part in parts:
        assert part in text
    if "GeoJSON" not in text:
        assert text.startswith(f"{tmp_path / 'gate.yaml'}:")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bundled rules: surveillance"):
        read_book(str(tmp_path / "nothing.yaml"))
    path = tmp_path / "a.yaml"
    path.write_text("zones: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_book(str(path))
    path.write_text("- a")
    with pytest.raises(ConfigError, match="a mapping with zones, lines and rules"):
        read_book(str(path))


def test_own_categories_count(tmp_path: Path) -> None:
    rules = [{**RULE, "of": {"category": "fork lift"}}]
    entry = read_book(book(tmp_path, categories=["Fork lift"], rules=rules)).entries[0]
    assert entry.of is not None
    assert entry.of.categories == {"fork-lift"}


def test_geojson(tmp_path: Path) -> None:
    ring = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
    hole = [[40, 40], [60, 40], [60, 60], [40, 60], [40, 40]]
    features = [
        {"type": "Feature", "properties": {"name": "yard"},
         "geometry": {"type": "Polygon", "coordinates": [ring, hole]}},
        {"type": "Feature", "properties": {"name": "door"},
         "geometry": {"type": "LineString", "coordinates": [[0, 50], [200, 50]]}},
    ]  # fmt: skip
    (tmp_path / "shapes.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    data = {"zones": {}, "geojson": "shapes.json", "units": "px", "picture_wh": [200, 100]}
    zones, lines = read_book(book(tmp_path, **data)).bind((50, 100))
    assert zones["yard"].area_px == 50 * 50 - 10 * 10
    assert lines["door"].path.length == 100
    features[0]["geometry"]["type"] = "Point"
    (tmp_path / "shapes.json").write_text(json.dumps({"features": features}))
    with pytest.raises(ConfigError, match=r"type 'Point'.*'yard' in .*shapes.json"):
        read_book(book(tmp_path, **data))
    (tmp_path / "shapes.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a GeoJSON FeatureCollection"):
        read_book(book(tmp_path, **data))


def test_pixels_shares_and_pixels_of_another_picture_are_the_same(tmp_path: Path) -> None:
    shares = {"zones": {"yard": [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75]]}}
    pixels = {"zones": {"yard": [[80, 50], [240, 50], [240, 150]]}, "units": "px"}
    larger = {"zones": {"yard": [[160, 100], [480, 100], [480, 300]]}, "units": "px",
              "picture_wh": [640, 400]}  # fmt: skip
    codes = [
        read_book(book(tmp_path, **data)).bind((200, 320))[0]["yard"].code
        for data in (shares, pixels, larger)
    ]
    assert codes[0] == codes[1] == codes[2]


def test_a_zone_holds_the_pixels_whose_centres_lie_inside() -> None:
    zone = zone_of("z", [[10, 10], [20.4, 10], [20.4, 20.6], [10, 20.6]], True).bind((40, 40))
    assert zone.area_px == 10 * 11
    half = np.zeros((40, 40), bool)
    half[12:16, 18:24] = True
    assert zone.share(Mask.encode(half)) == pytest.approx(2 / 6)
    assert zone.covered([Mask.encode(half), Mask.encode(half)]) == pytest.approx(8 / 110)


@pytest.mark.parametrize(
    ("points", "right_of"),
    [
        ([[20, 0], [20, 40]], (5, 20)),  # downwards: the right hand is at the picture's left
        ([[20, 40], [20, 0]], (35, 20)),
        ([[0, 20], [40, 20]], (20, 35)),
        ([[10, 10], [10, 30], [30, 30]], (2, 20)),  # a corner
        ([[30, 30], [10, 30], [10, 10]], (20, 20)),
    ],
)
def test_which_side_is_right(points: list[list[float]], right_of: tuple[int, int]) -> None:
    line = line_of("l", points, True).bind((40, 40))
    spot = np.zeros((40, 40), bool)
    spot[right_of[1] - 1 : right_of[1] + 1, right_of[0] - 1 : right_of[0] + 1] = True
    assert line.share_right(Mask.encode(spot)) == 1.0
    assert not line.touches(Mask.encode(spot))
    whole = Mask.encode(np.ones((40, 40), bool))
    other = line_of("l", points[::-1], True).bind((40, 40))
    assert line.share_right(whole) + other.share_right(whole) == pytest.approx(1, abs=0.03)
    assert line.touches(whole)


def test_a_line_without_two_sides() -> None:
    fork = line_of("l", [[10, 10], [30, 10], [30, 30], [20, 30], [20, 20]], True)
    assert shapely.is_simple(fork.geometry)
    with pytest.raises(ValueError, match="no two sides"):
        fork.bind((40, 40))


def test_the_rules_that_come_along_fit_any_picture() -> None:
    found = read_book("surveillance")
    for hw in ((64, 64), (720, 1280), (1920, 1080)):
        found.bind(hw)
    assert {type(e.prototype).kind for e in found.entries} <= set(KINDS)
    assert any(e.needs_words for e in found.entries)


def test_every_kind_says_what_it_is_and_explains_its_keys(tmp_path: Path) -> None:
    import inspect

    for name, kind in KINDS.items():
        text = inspect.cleandoc(kind.__doc__ or "")
        for key in inspect.signature(kind).parameters:
            assert f"{key}:" in text, f"{name} does not explain {key}"
    write_rules(tmp_path, {"kind": "stop"})
