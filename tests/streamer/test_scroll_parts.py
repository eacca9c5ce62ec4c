"""What is made of a walk's findings: scores, scripts, GeoJSON, IIIF, page and film."""

from __future__ import annotations

import json
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest

pytest.importorskip("pyvips")

import itertools

from PIL import Image

from streamer.canvas_mask import CanvasMask
from streamer.mask import Mask
from streamer.records import Caption, Event, StreamInfo, caption_of_json, event_of_json
from streamer.schema import json_schema
from streamer.scroll.findings import Finding, finding_json
from streamer.scroll.geojson import feature_collection
from streamer.scroll.iiif import check_manifest
from streamer.scroll.narration import canvas_place, narrate, neighbours, reading_length
from streamer.scroll.score import score_scroll
from streamer.sinks.scroll_outputs import ScrollOutputs
from streamer.sources.pan_image import PanImage
from streamer.sources.paths import plan_walk
from streamer.sources.walk_record import walk_event
from streamer.testing import check_sink
from tests.streamer.scroll_stories import LONG, Box, found, region, story


def truth(*boxes: Box, mask: np.ndarray | None = None) -> dict[str, object]:
    objects = []
    for n, (x0, y0, x1, y1) in enumerate(boxes, 1):
        dense = np.ones((y1 - y0, x1 - x0), np.uint8) if mask is None else mask
        objects.append(
            {
                "object_id": n, "category": "car", "colour": "red", "box_xyxy": [x0, y0, x1, y1],
                "mask": Mask.encode(dense).to_json(),
            }
        )  # fmt: skip
    return {"objects": objects, "vocabulary": {"categories": ["car", "bus"], "colours": ["red"]}}


CAR: Box = (100, 50, 200, 110)


def sums(findings: list[Finding], wanted: dict[str, object]) -> dict[str, int]:
    result = score_scroll(findings, wanted)
    names = ("found", "doubled", "split", "in_pieces", "cut", "false_regions")
    return {name: result[name] for name in names if result[name]}


def test_scores_tell_the_ways_of_failing_apart() -> None:
    assert sums(found(region(1, CAR, "a red car")), truth(CAR)) == {"found": 1}
    assert sums([], truth(CAR)) == {}
    assert sums(found(region(1, (300, 0, 340, 40))), truth(CAR)) == {"false_regions": 1}
    twice = found(region(1, CAR), region(2, (102, 52, 198, 108)))
    assert sums(twice, truth(CAR)) == {"found": 1, "doubled": 1}
    halves = found(region(1, (100, 50, 150, 110)), region(2, (150, 50, 200, 110)))
    assert sums(halves, truth(CAR))["split"] == 1
    cut = found(region(1, (100, 50, 170, 110), window=(0, 0, 170, 200)))
    assert sums(cut, truth(CAR)) == {"found": 1, "cut": 1}
    apart = np.ones((60, 100), np.uint8)
    apart[:, 40:60] = 0
    pieces = found(region(1, (100, 50, 140, 110)), region(2, (160, 50, 200, 110)))
    assert sums(pieces, truth(CAR, mask=apart))["in_pieces"] == 1


def test_scores_judge_the_words() -> None:
    result = score_scroll(found(region(1, CAR, "a small red bus")), truth(CAR))
    assert (result["category_right"], result["category_judged"]) == (0, 1)
    assert (result["colour_right"], result["captioned"]) == (1, 1)
    assert result["median_iou"] == 1.0


def test_records_come_back_from_json() -> None:
    event, caption = region(3, CAR, "a car")
    assert event_of_json(json.loads(json.dumps(event.to_json()))) == event
    assert caption_of_json(json.loads(json.dumps(caption.to_json()))) == caption


def test_outlines_follow_the_mask_in_canvas_pixels() -> None:
    dense = np.zeros((30, 40), np.uint8)
    dense[5:25, 10:30] = 1
    shape = CanvasMask((100, 50, 180, 110), Mask.encode(dense))
    (event, *_) = region(1, CAR)
    finding = found([event])[0]
    ring = Finding(**{**finding.__dict__, "shape": shape}).outline()[0]
    points = np.array(ring)
    assert np.abs(points.min(0) - (120, 60)).max() <= 1.1
    assert np.abs(points.max(0) - (160, 100)).max() <= 1.1


def test_the_script_says_only_what_captions_say_in_the_order_of_reading() -> None:
    walk = plan_walk(LONG, window_hw=(200, 800), overlap=0.5, speed_px_s=50.0)
    scenes = narrate(story(), walk)
    sentences = [s for scene in scenes for s in scene.sentences]
    text = " ".join(s.text for s in sentences)
    assert text.index("brown bridge") < text.index("red car")
    assert "A small boat, to the left of a brown bridge." in text
    assert "a red car, 3 times" in text
    assert [i for s in sentences for i in s.region_ids] == [1, 2, 5, 4, 3]
    known = set(" ".join(f.text for f in story()).split())
    glue = "at the right left end percent of way from to above below times in"
    for word in text.lower().replace(".", "").replace(":", "").replace(",", "").split():
        assert word in known or word in glue or word.isdigit(), word


@pytest.mark.parametrize("kind", ["right_to_left", "rows", "spiral", "down", "auto"])
@pytest.mark.parametrize("hw", [(1500, 6000), (900, 1000), (200, 4000), (3000, 500)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_every_place_of_the_picture_has_its_scene(
    kind: str, hw: tuple[int, int], overlap: float
) -> None:
    walk = plan_walk(hw, window_hw=(180, 320), kind=kind, overlap=overlap)
    told = np.zeros(hw, np.uint8)
    scenes = narrate([], walk)
    for scene in scenes:
        x0, y0, x1, y1 = scene.box_xyxy
        told[y0:y1, x0:x1] = 1
    assert told.all()
    assert [s.start_ns for s in scenes[1:]] == [s.end_ns for s in scenes[:-1]]
    assert len(scenes) <= sum(stop.level == 0 for stop in walk.stops)


def test_the_script_is_paced() -> None:
    walk = plan_walk(LONG, window_hw=(200, 800), overlap=0.5)
    scenes = narrate(story(), walk, reading_length(120.0))
    sentences = [s for scene in scenes for s in scene.sentences]
    assert all(a.end_ns <= b.start_ns for a, b in itertools.pairwise(sentences))
    for scene in scenes:
        for sentence in scene.sentences:
            spoken_s = len(sentence.text.split()) / 2
            assert sentence.end_ns - sentence.start_ns == pytest.approx(spoken_s * 1e9)
            assert sentence.end_ns <= scene.end_ns
    hurried = narrate(story(), plan_walk(LONG, window_hw=(200, 800), speed_px_s=2000.0))
    assert sum(len(scene.left_out) for scene in hurried) > 0


def test_places_and_neighbours() -> None:
    findings = story()
    assert canvas_place(findings[0], LONG) == "right"
    assert neighbours(findings[0], findings) == [("to the right of", 2)]
    assert neighbours(findings[2], findings) == []  # its like are no landmarks


def test_geojson_is_closed_and_counterclockwise() -> None:
    data = feature_collection(story(), LONG)
    assert len(data["features"]) == 5
    for feature in data["features"]:
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))
        assert area > 0
    assert data["features"][0]["properties"]["text"] == "a brown bridge"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("picture") / "long_scroll.png"
    Image.fromarray(np.full((100, 1600, 3), (200, 190, 160), np.uint8)).save(path)
    return str(path)


def records_of(picture: str, *, end: bool = True) -> tuple[StreamInfo, list[Event | Caption]]:
    source = PanImage(picture, window_width=320, window_height=180, speed_px_s=900.0, opening_s=0.4)
    (info,) = source.open()
    assert source.walk is not None
    records: list[Event | Caption] = [walk_event(info.stream_id, source.walk)]
    records += region(1, (1300, 30, 1380, 70), "a <red> car")
    records += region(2, (400, 40, 460, 90), "a blue boat")
    if end:
        records.append(Event(stream_id=info.stream_id, time_ns=9, kind="stream_end"))
    return info, records


def test_all_outputs(tmp_path: Path, picture: str) -> None:
    info, records = records_of(picture)
    out = tmp_path / "out"

    def read_back() -> dict[str, object]:
        names = (
            "regions.jsonl",
            "regions.geojson",
            "manifest.json",
            "narration.md",
            "narration.json",
        )
        return {name: (out / name).read_text() for name in names}

    def make() -> ScrollOutputs:
        return ScrollOutputs(str(out), picture, film_width=320, film_height=180, fps=5)

    texts = check_sink(make, [info], records, read_back)
    lines = [json.loads(line) for line in texts["regions.jsonl"].splitlines()]
    assert [line["text"] for line in lines] == ["a <red> car", "a blue boat"]
    assert lines[0]["evidence"]["caption_id"]
    for line in lines:
        jsonschema.Draft202012Validator(json_schema()).validate(line)
    assert finding_json(found(region(1, CAR))[0])["text"] == ""
    manifest = json.loads(texts["manifest.json"])
    check_manifest(manifest)
    assert manifest["viewingDirection"] == "right-to-left"
    annotations = manifest["items"][0]["annotations"][0]["items"]
    assert annotations[0]["body"][0]["value"].startswith("a <red> car")
    page = out / "page"
    assert "window.SCROLL" in (page / "data.js").read_text()
    assert "openseadragon.min.js" in (page / "index.html").read_text()
    assert (page / "openseadragon.LICENSE.txt").is_file()
    data = json.loads((page / "data.js").read_text().removeprefix("window.SCROLL = ").rstrip(";\n"))
    low, high = data["levels"]
    assert all(list((page / "tiles" / str(level)).iterdir()) for level in range(low, high + 1))
    assert (page / "tiles" / str(high) / "3_0.jpg").is_file()
    with av.open(str(out / "walk.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    walk = plan_walk((100, 1600), window_hw=(180, 320), speed_px_s=900.0, opening_s=0.4)
    assert len(frames) >= walk.duration_ns * 5 // 10**9
    assert frames[0].shape == (180, 320, 3)
    # the opening shows the whole picture between bars, the walk fills the frame
    assert int(frames[0][5].max()) < 30
    assert float(frames[-1][5].mean()) > 120
    # somewhere the outline of the boat was drawn
    assert any(
        (np.abs(frame.astype(int) - (200, 190, 160)).sum(2) > 150).any() for frame in frames[3:]
    )


def test_a_walk_that_did_not_end_leaves_nothing(tmp_path: Path, picture: str) -> None:
    info, records = records_of(picture, end=False)
    sink = ScrollOutputs(str(tmp_path / "out"), picture)
    sink.open([info])
    for record in records:
        sink.write(record)
    sink.close()
    assert list((tmp_path / "out").iterdir()) == []
