"""Parts of a scroll to ask about: cut from the tiles, in canvas pixels, saved beside the run."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from fastapi.testclient import TestClient

from streamer.schema import json_schema
from streamer.viewer.canvas import LONGEST_PX, cut
from streamer.viewer.run import Run
from tests.streamer.viewer.viewed_runs import client_of, write_scroll

WIDTH, HEIGHT = 5000, 1300


def write_large(out: Path) -> np.ndarray[Any, Any]:
    """A scroll of WIDTH x HEIGHT px whose pixels tell where they are; returns it (RGB)."""
    write_scroll(out)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) // 60 % 2 * 255], -1)
    image = image.astype(np.uint8)
    for old in (out / "page" / "tiles").glob("*/*.jpg"):
        old.unlink()
    for level in range(9, 14):
        shrink = 1 << (13 - level)
        size = (-(-WIDTH // shrink), -(-HEIGHT // shrink))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        folder = out / "page" / "tiles" / str(level)
        folder.mkdir(exist_ok=True)
        for row in range(-(-size[1] // 512)):
            for column in range(-(-size[0] // 512)):
                rows, columns = (slice(512 * n, 512 * n + 512) for n in (row, column))
                tile = small[rows, columns][..., ::-1]
                cv2.imwrite(str(folder / f"{column}_{row}.jpg"), tile, [1, 95])
    geojson = json.loads((out / "regions.geojson").read_text())
    geojson["canvas"] = {"width_px": WIDTH, "height_px": HEIGHT}
    (out / "regions.geojson").write_text(json.dumps(geojson))
    return image


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray[Any, Any]]:
    out = tmp_path_factory.mktemp("large") / "walk"
    return out, write_large(out)


@pytest.mark.parametrize(
    ("box", "shrink"),
    [
        ((0, 0, WIDTH, HEIGHT), 8), ((100, 50, 1124, 500), 1), ((100, 50, 1125, 500), 2),
        ((470.5, 480.2, 1300.7, 1299.9), 1), ((4900, 1200, 9999, 9999), 1),
        ((-400, -400, 1900, 900), 2),
    ],
)  # fmt: skip
def test_the_cut_is_what_is_in_view(
    large: tuple[Path, np.ndarray[Any, Any]], box: tuple[float, ...], shrink: int
) -> None:
    out, image = large
    found = cut(Run(out), box)
    assert found.shrink == shrink  # the finest level that is not too large
    height, width = found.image.shape[:2]
    assert max(height, width) <= LONGEST_PX
    x, y = found.left_px * shrink, found.top_px * shrink
    assert x <= max(0, box[0]) < x + shrink
    assert y <= max(0, box[1]) < y + shrink
    wanted = image[y : y + height * shrink, x : x + width * shrink]
    wanted = cv2.resize(wanted, (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(wanted[..., :2].astype(int) - found.image[..., :2]).mean() < 4
    assert x + width * shrink >= min(WIDTH, box[2])
    assert y + height * shrink >= min(HEIGHT, box[3])


class Page:
    def __init__(self, client: TestClient, box: list[float]) -> None:
        self.client = client
        self.look = self.post("view", box=box)["look"]

    def post(self, name: str, **body: object) -> dict[str, Any]:
        known = {} if name == "view" else {"look": self.look}
        answer = self.client.post(f"/api/ask/{name}", json={**known, **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def test_places_are_in_canvas_pixels(large: tuple[Path, np.ndarray[Any, Any]]) -> None:
    page = Page(client_of(large[0]), [1000, 200, 3000, 1200])  # at half the resolution
    (boxed,) = page.post("region", box=[1200, 300, 1600, 500])["regions"]
    assert boxed["box"] == [1200, 300, 1600, 500]
    ring = np.cumsum(np.reshape(boxed["rings"][0], (-1, 2)), axis=0) + 0.5  # as the page does
    assert ring.min(axis=0).tolist() == [1201, 301]  # the middles of large pixels
    assert ring.max(axis=0).tolist() == [1599, 499]
    (pointed,) = page.post("region", points=[{"x": 2000, "y": 700}])["regions"]
    assert pointed["box"] == [1990, 690, 2010, 710]
    everything = page.post("region", everything=True)["regions"]
    assert everything[0]["box"] == [1000, 200, 1040, 240]


def test_regions_of_the_run_say_where_things_are(tmp_path: Path) -> None:
    page = Page(client_of(write_scroll(tmp_path / "walk")), [100, 50, 500, 350])
    (there,) = page.post("region", points=[{"x": 290, "y": 110}])["regions"]
    assert there["box"] == [150, 100, 300, 200]
    (beside,) = page.post("region", points=[{"x": 310, "y": 110}])["regions"]
    assert beside["box"] == [305, 105, 315, 115]
    everything = [r["box"] for r in page.post("region", everything=True)["regions"]]
    assert everything[0] == [150, 100, 300, 200]
    assert len(everything) == 3  # two regions of the run are in the same place
    # what is not in view as a whole says nothing
    page = Page(page.client, [200, 50, 500, 350])
    (there,) = page.post("region", points=[{"x": 290, "y": 110}])["regions"]
    assert there["box"] == [285, 105, 295, 115]


def test_the_same_view_is_looked_at_once(large: tuple[Path, np.ndarray[Any, Any]]) -> None:
    client = client_of(large[0])
    first, again = (Page(client, [0, 0, 900, 900]).look for _ in range(2))
    assert first == again
    assert Page(client, [0, 0, 900, 901]).look != first


def test_answers_are_saved_as_regions(tmp_path: Path) -> None:
    out = write_scroll(tmp_path / "walk")
    before = (out / "regions.geojson").read_bytes()
    page = Page(client_of(out), [0, 0, 600, 400])
    (region,) = page.post("region", box=[300, 200, 400, 250])["regions"]
    number = region["region"]
    refused = page.client.post("/api/ask/save", json={"look": page.look, "region": number})
    assert "ask first" in refused.json()["error"]
    page.post("words", regions=[number], form="short")
    first = page.post("save", region=number)["region"]
    page.post("question", region=number, text="Is it wet?")
    saved = page.post("save", region=number)["region"]
    assert saved["id"] == first["id"]  # the same place, with more words
    assert saved["bbox"] == [300, 200, 400, 250]
    assert saved["properties"]["detail"] == "Is it wet? 1 turns before"
    # the run's own files are its own; who opens the page anew sees both
    assert (out / "regions.geojson").read_bytes() == before
    regions = client_of(out).get("/api/scroll").json()["regions"]
    assert [r["id"] for r in regions] == [1, 2, saved["id"]]
    assert regions[2]["properties"] == saved["properties"]
    ring = np.array(regions[2]["geometry"]["coordinates"][0])
    assert np.abs([*ring.min(axis=0), *ring.max(axis=0)] - np.array([300, 200, 400, 250])).max() < 1
    lines = [json.loads(line) for line in (out / "asked.jsonl").read_text().splitlines()]
    for line in lines:
        jsonschema.validate(line, json_schema())
    assert lines[1]["evidence"]["window_xyxy"] == [0, 0, 600, 400]
    assert lines[1]["evidence"]["model"] == "bright"


def test_lines_that_are_damaged_or_not_of_this_canvas_are_passed_over(tmp_path: Path) -> None:
    out = write_scroll(tmp_path / "walk")
    page = Page(client_of(out), [0, 0, 600, 400])

    def save(box: list[int]) -> None:
        (region,) = page.post("region", box=box)["regions"]
        page.post("words", regions=[region["region"]], form="short")
        page.post("save", region=region["region"])

    save([10, 10, 60, 60])
    path = out / "asked.jsonl"
    line = path.read_text()
    far = line.replace('"box_xyxy":[10,10,60,60]', '"box_xyxy":[10,10,60,9000]')
    with path.open("a") as file:
        file.write(far + "null\n[]\n{}\n\xff\n" + line[:40])  # the last one was cut short
    save([20, 20, 70, 70])
    boxes = [r["bbox"] for r in client_of(out).get("/api/scroll").json()["regions"][2:]]
    assert boxes == [[10, 10, 60, 60], [20, 20, 70, 70]]


def test_many_that_save_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    out = write_scroll(tmp_path / "walk")
    boxes = [[10 * n, 10, 10 * n + 20, 200] for n in range(16)]

    def work(mine: list[list[int]]) -> None:
        page = Page(client_of(out), [0, 0, 600, 400])
        for box in mine:
            (region,) = page.post("region", box=box)["regions"]
            page.post("words", regions=[region["region"]], form="short")
            page.post("save", region=region["region"])

    threads = [threading.Thread(target=work, args=(boxes[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    regions = client_of(out).get("/api/scroll").json()["regions"][2:]
    assert sorted(r["bbox"] for r in regions) == sorted(boxes)
