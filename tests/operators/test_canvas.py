"""Regions of a canvas against exact truth: found once, whole, with one id, at every zoom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("pyvips")

from operators.canvas import TrackCanvas
from streamer.canvas_mask import CanvasMask
from streamer.errors import WeightsError
from streamer.mask import Mask
from streamer.records import CaptionRequest, Event
from streamer.sources.pan_image import PanImage
from streamer.testing import check_operator

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]
HW = (240, 2400)
# every 90 px a box or a disc: some always lie on the edge of a window
BOXES: list[Box] = [
    (40 + 190 * i, 30 + 60 * (i % 3), 90 + 190 * i, 74 + 60 * (i % 3)) for i in range(12)
]


def painted(boxes: list[Box], hw: tuple[int, int] = HW) -> U8:
    rng = np.random.default_rng(3)
    coarse = rng.normal(200, 12, (4, 24, 3)).astype(np.float32)
    image = cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        colour = ((200, 30, 30), (30, 60, 190), (20, 110, 40))[i % 3]
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour, -1)
    return np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def scroll(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("scroll") / "scroll.png"
    Image.fromarray(painted(BOXES)).save(path)
    return str(path)


Run = Callable[..., tuple[list[Event], list[CaptionRequest]]]


def walk(
    path: str, segmenter: object = None, **options: object
) -> tuple[list[Event], list[CaptionRequest]]:
    settings = {"window_width": 320, "window_height": 240, "overlap": 0.4, **options}
    source = PanImage(path, **settings)  # type: ignore[arg-type]
    source.open()
    operator = TrackCanvas(path, min_short_side_px=4)
    operator.setup()
    operator._segmenter = segmenter  # type: ignore[assignment]
    made = [r for record in source.read() for r in operator.process([record])]
    made += operator.flush(source.stream_id)
    events = [r for r in made if isinstance(r, Event) and r.kind == "region"]
    return events, [r for r in made if isinstance(r, CaptionRequest)]


def iou(event: Event, box: Box) -> float:
    shape = CanvasMask(tuple(event.data["box_xyxy"]), Mask.from_json(event.data["mask"]))
    whole = (0, 0, HW[1], HW[0])
    mine = shape.raster(whole, HW) > 0
    true = np.zeros(HW, bool)
    true[box[1] : box[3], box[0] : box[2]] = True
    return float((mine & true).sum() / (mine | true).sum())


def check_all_found(events: list[Event], boxes: list[Box], least: float = 0.8) -> None:
    for box in boxes:
        hits = [iou(e, box) for e in events]
        assert max(hits) >= least, (box, hits)
        assert sum(value > 0.05 for value in hits) == 1, (box, hits)


@pytest.mark.parametrize(
    "options",
    [
        {"walk": "right_to_left"},
        {"walk": "rows", "window_height": 150, "zooms": [1.0]},
        {"walk": "spiral", "window_height": 150, "zooms": [1.0]},
        {"walk": "rows", "zooms": [1.0, 2.0]},
    ],
)
def test_every_object_once_whole_and_with_one_id(scroll: str, options: dict[str, object]) -> None:
    events, requests = walk(scroll, **options)
    check_all_found(events, BOXES)
    assert len(events) == len(BOXES)
    ids = [event.track_id for event in events]
    assert ids == list(range(1, len(ids) + 1))
    asked = [region.track_id for request in requests for region in request.regions]
    assert sorted(asked) == ids


def test_requests_show_the_region_where_it_lies(scroll: str) -> None:
    events, requests = walk(scroll)
    by_id = {event.track_id: event for event in events}
    for request in requests:
        view, hw = request.frame.viewport, request.frame.hw
        for region in request.regions:
            x0, y0, x1, y1 = region.box_xyxy
            left, top = view.to_canvas(x0, y0, hw)
            right, bottom = view.to_canvas(x1, y1, hw)
            wanted = by_id[region.track_id].data["box_xyxy"]
            assert np.abs(np.array([left, top, right, bottom]) - wanted).max() <= 2
            inside = request.frame.image[region.mask.decode()]
            assert float(inside.min(axis=1).mean()) < 80  # paint, not ground


def test_a_region_longer_than_a_window_is_joined(tmp_path: Path) -> None:
    path = str(tmp_path / "wall.png")
    long: Box = (500, 100, 1600, 124)
    boxes = [(60, 40, 110, 90), long, (1900, 150, 1960, 190)]
    Image.fromarray(painted(boxes)).save(path)
    events, requests = walk(path)
    check_all_found(events, boxes)
    (wall,) = [event for event in events if event.data["joined"]]
    assert iou(wall, long) > 0.85
    (request,) = [r for r in requests if r.regions[0].track_id == wall.track_id]
    view = request.frame.viewport
    assert view.x_px < 500
    assert view.x_px + view.width_px > 1600
    x0, _, x1, _ = request.regions[0].box_xyxy
    assert x1 - x0 > 0.8 * request.frame.hw[1]


class Faint:
    """Proposes what is a little darker than a ground of 200."""

    def propose(self, image: U8) -> list[NDArray[np.bool_]]:
        smooth = cv2.GaussianBlur(image, (9, 9), 0).mean(axis=2)
        faint = ((smooth > 186) & (smooth < 196)).astype(np.uint8)
        faint = cv2.morphologyEx(faint, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
        count, labels = cv2.connectedComponents(faint)
        return [labels == i for i in range(1, count)]


def test_what_only_sam_sees_is_found_and_the_rest_once(tmp_path: Path) -> None:
    path = str(tmp_path / "faint.png")
    image = np.full((*HW, 3), 200, np.uint8)
    for i, (x0, y0, x1, y1) in enumerate(BOXES):
        colour = (192, 192, 192) if i % 2 else (30, 60, 190)
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), colour, -1)
    noise = np.random.default_rng(3).normal(0, 1.5, image.shape)
    Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(path)
    alone, _ = walk(path)
    check_all_found(alone, BOXES[::2])
    assert len(alone) == len(BOXES[::2])
    events, requests = walk(path, segmenter=Faint())
    check_all_found(events, BOXES)
    assert len(events) == len(BOXES)
    asked = {region.track_id for request in requests for region in request.regions}
    assert asked == {event.track_id for event in events}


def test_what_has_no_outline_stands_out_by_its_colour(tmp_path: Path) -> None:
    path = str(tmp_path / "soft.png")
    image = painted([]).astype(np.float32)
    y, x = np.mgrid[: HW[0], : HW[1]]
    centres = [((b[0] + b[2]) // 2, (b[1] + b[3]) // 2) for b in BOXES]
    for cx, cy in centres:
        image *= 1 - 0.7 * np.exp(-(((x - cx) ** 2 + (y - cy) ** 2) / 400))[..., None]
    Image.fromarray(image.astype(np.uint8)).save(path)
    events, _ = walk(path)
    check_all_found(events, [(x - 20, y - 20, x + 20, y + 20) for x, y in centres], least=0.5)
    assert len(events) == len(centres)


def test_a_sam_that_is_not_there_is_named(scroll: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.pth: no such SAM checkpoint"):
        TrackCanvas(scroll, sam=str(tmp_path / "nothing.pth")).setup()


def test_what_no_window_shows_whole_is_not_reported(tmp_path: Path) -> None:
    path = str(tmp_path / "cut.png")
    Image.fromarray(painted([(300, 60, 380, 120), (800, 60, 840, 100)])).save(path)
    source = PanImage(path, window_width=320, window_height=240, walk="left_to_right")
    source.open()
    operator = TrackCanvas(path)
    operator.setup()
    # only the first window, whose right edge cuts the first box
    records = [r for r in source.read() if r.order_ns == source.walk.stops[0].time_ns]  # type: ignore[union-attr]
    made = [r for record in records[:1] for r in operator.process([record])]
    made += operator.flush(source.stream_id)
    assert [r.kind for r in made if isinstance(r, Event)] == ["stream_end"]


def test_regions_are_decided_while_the_walk_goes_on(scroll: str) -> None:
    events, _ = walk(scroll)
    times = [event.time_ns for event in events]
    assert times == sorted(times)
    assert len(set(times)) > 4


def test_the_contract(scroll: str) -> None:
    source = PanImage(scroll, window_width=320, window_height=240)
    source.open()
    check_operator(lambda: TrackCanvas(scroll), list(source.read())[:7])


@pytest.mark.parametrize("hw", [(1, 500), (500, 1), (8, 8), (20, 30)])
def test_tiny_pictures_have_no_regions(tmp_path: Path, hw: tuple[int, int]) -> None:
    path = str(tmp_path / "tiny.png")
    Image.fromarray(np.full((*hw, 3), 90, np.uint8)).save(path)
    assert walk(path) == ([], [])


@pytest.mark.parametrize("bad", [{"min_area_share": 0.0}, {"min_short_side_px": 0}])
def test_settings_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        TrackCanvas("a.png", **bad)  # type: ignore[arg-type]


def test_what_a_coarse_window_shows_as_one_thing_stays_one(tmp_path: Path) -> None:
    path = str(tmp_path / "umbrella.png")
    image = painted([(400, 60, 560, 130), (800, 60, 860, 140)])
    cv2.rectangle(image, (472, 136), (488, 200), (180, 30, 30), -1)  # six pixels below the roof
    Image.fromarray(image).save(path)
    source = PanImage(path, window_width=640, window_height=480, zooms=[0.4, 1.0])
    source.open()
    operator = TrackCanvas(path)
    operator.setup()
    events = [r for item in source.read() for r in operator.process([item])]
    events += operator.flush(source.stream_id)
    regions = [e for e in events if isinstance(e, Event) and e.kind == "region"]
    assert len(regions) == 2
    (roof,) = [e for e in regions if e.data["box_xyxy"][0] < 600]
    assert abs(roof.data["box_xyxy"][3] - 200) < 6
    assert roof.data["scale"] == 1.0  # and has the outline of the fine windows
