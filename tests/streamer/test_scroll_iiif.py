"""The IIIF manifest of a walk: valid by iiif-prezi3, complete, and true to the walk's times."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("pyvips")

from iiif_prezi3 import Manifest
from iiif_prezi3.skeleton import LngString

from streamer.clock import NS_PER_S
from streamer.errors import ContractError
from streamer.scroll.iiif import check_manifest, manifest
from streamer.scroll.narration import Scene, narrate
from streamer.sources.paths import Walk, plan_walk
from tests.streamer.scroll_stories import LONG, story

BASE = "https://museum.example/river"


def made(*, film: bool = True) -> tuple[dict[str, Any], Walk, list[Scene]]:
    walk = plan_walk(LONG, window_hw=(200, 800), speed_px_s=50.0, opening_s=1.0)
    scenes = narrate(story(), walk)
    data = manifest(
        story(), scenes, walk,
        title="River", base=BASE, image=f"{BASE}/picture.jpg", thumbnail_wh=(3000, 150),
        film=f"{BASE}/walk.mp4" if film else "", subtitles=f"{BASE}/narration.vtt",
    )  # fmt: skip
    return data, walk, scenes


def nodes(data: Any) -> list[dict[str, Any]]:
    """All objects of a JSON document."""
    if isinstance(data, list):
        return [node for item in data for node in nodes(item)]
    if isinstance(data, dict):
        return [data, *(node for item in data.values() for node in nodes(item))]
    return []


@pytest.mark.parametrize("film", [True, False])
def test_the_library_takes_it(film: bool) -> None:
    data, _, _ = made(film=film)
    assert len(Manifest.model_validate(data).items) == (2 if film else 1)
    # the one property of ours that the library's models lack, though IIIF has it
    for node in nodes(data):
        if node.get("type") == "Range" and "summary" in node:
            LngString.model_validate(node["summary"])


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("Manifest", "label", "River"),
        ("Canvas", "width", "4000"),
        ("Annotation", "target", None),
        ("Range", "items", "none"),
        ("Manifest", "viewingDirection", "sideways"),
        ("Annotation", "motive", "painting"),
    ],
)
def test_what_is_not_valid_is_refused(kind: str, key: str, value: object) -> None:
    data, _, _ = made()
    next(node for node in nodes(data) if node.get("type") == kind)[key] = value
    with pytest.raises(ContractError, match="not valid"):
        check_manifest(data)


def test_ids_are_unique_and_references_lead_somewhere() -> None:
    data, _, _ = made()
    canvases = {canvas["id"]: canvas for canvas in data["items"]}
    owners = [
        node["id"]
        for node in nodes(data)
        if node.get("type") in ("Manifest", "Canvas", "AnnotationPage", "Annotation", "Range")
        and len(node) > 2  # a reference has only id and type
    ]
    assert len(set(owners)) == len(owners)
    sources = [node["source"]["id"] for node in nodes(data) if "source" in node]
    assert set(sources) == set(canvases)
    for canvas in data["items"]:
        (page,) = canvas["items"]
        (painting,) = page["items"]
        assert (painting["motivation"], painting["target"]) == ("painting", canvas["id"])


def test_ranges_name_the_scenes_by_place_and_time() -> None:
    data, walk, scenes = made()
    picture, film = data["items"]
    assert film["duration"] == round(walk.duration_ns / NS_PER_S, 3)
    ranges = data["structures"][0]["items"]
    assert len(ranges) == len(scenes) > 2
    ended = 0.0
    for node, scene in zip(ranges, scenes, strict=True):
        place, time = node["items"]
        assert (place["source"]["id"], time["source"]["id"]) == (picture["id"], film["id"])
        x, y, w, h = map(int, re.findall(r"\d+", place["selector"]["value"]))
        assert (x, y, x + w, y + h) == scene.box_xyxy
        assert x + w <= picture["width"]
        assert y + h <= picture["height"]
        start, end = map(float, time["selector"]["value"].removeprefix("t=").split(","))
        assert start == pytest.approx(scene.start_ns / NS_PER_S, abs=1e-3)
        assert start == pytest.approx(ended, abs=1e-3)  # scenes follow one another without a hole
        assert start < end <= film["duration"]
        ended = end
        assert node["summary"]["en"] == [
            " ".join(s.text for s in scene.sentences) or "nothing found"
        ]
    assert ended == pytest.approx(film["duration"], abs=1e-3)


def test_annotations_say_what_and_where_and_the_film_has_its_subtitles() -> None:
    data, _, _ = made()
    picture, film = data["items"]
    (page,) = picture["annotations"]
    assert len(page["items"]) == len(story())
    for item, finding in zip(page["items"], story(), strict=True):
        assert item["motivation"] == "commenting"
        said, detail = (body["value"] for body in item["body"])
        assert re.fullmatch(rf"{finding.text}, (left|right|middle) of the picture", said)
        assert detail == f"{finding.text}, striped"
        box, outline = item["target"]["selector"]
        x, y, w, h = map(int, box["value"].removeprefix("xywh=").split(","))
        assert (x, y, x + w, y + h) == finding.box_xyxy
        points = [float(v) for v in re.findall(r"[\d.]+", outline["value"].split("d='")[1])]
        assert min(points[::2]) >= x - 1
        assert max(points[::2]) <= x + w + 1
        assert max(points[1::2]) <= y + h + 1
    ((words,),) = (page["items"] for page in film["annotations"])
    assert words["motivation"] == "supplementing"
    assert words["target"] == film["id"]
    assert words["body"]["id"] == f"{BASE}/narration.vtt"
    assert words["body"]["format"] == "text/vtt"
