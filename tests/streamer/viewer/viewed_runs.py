"""Folders of runs to look at, and something that answers questions about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from streamer.geometry import BoxXYXY
from streamer.records import StreamInfo
from streamer.sinks.catalog import Catalog
from streamer.viewer.app import make_app
from streamer.viewer.asking import Asker, Found, Look, Point, Turn
from streamer.viewer.run import Run
from tests.media_factory import write_film
from tests.streamer.sinks.sink_records import caption, event, numbered_frames, region, tracked

TOKEN, HOST = "a-token-of-a-test", "127.0.0.1:8080"
SCRIPT = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
FRAMES = 50


def write_run(out: Path, stream_id: str = "film", uri: str = "") -> Path:
    """A film of 2 s with two tracks, their masks, words and events, as a run leaves them."""
    out.mkdir(parents=True, exist_ok=True)
    film = write_film(out / "film.mp4")
    info = StreamInfo(
        stream_id=stream_id, uri=uri or str(film), width_px=160, height_px=120, fps=25.0,
        duration_ns=2 * 10**9,
    )  # fmt: skip
    sink = Catalog(str(out / "catalog.sqlite"))
    sink.open([info])
    for n, frame in enumerate(numbered_frames(FRAMES)):
        regions = [region((20 + n, 30, 60 + n, 70), 1)]
        if n >= 25:
            regions.append(region((100, 10, 130, 50), 2))
        sink.write(tracked(replace(frame, stream_id=stream_id), *regions))
    for record in (
        event(0.0, "track_start", 1),
        event(1.0, "line_cross", 1, rule="gate"),
        event(1.0, "track_start", 2),
        event(0.6, "cut"),
        caption(0.0, 1.0, text="a red car", detail="a red car, at the left"),
        caption(1.0, 1.96, text=f"a blue car {SCRIPT}"),
        caption(1.0, 1.96, text="a small dog", track_id=2),
    ):
        sink.write(replace(record, stream_id=stream_id))
    sink.close()
    return out


def write_scroll(out: Path) -> Path:
    """What a walk along a picture of 600x400 px leaves, as far as the viewer reads it."""
    image = np.full((400, 600, 3), 180, np.uint8)
    image[100:200, 150:300] = (40, 40, 220)
    for level, shrink in ((9, 2), (10, 1)):
        folder = out / "page" / "tiles" / str(level)
        folder.mkdir(parents=True)
        small = image[::shrink, ::shrink]
        for column in range(-(-small.shape[1] // 512)):
            tile = small[:, column * 512 : (column + 1) * 512]
            cv2.imwrite(str(folder / f"{column}_0.jpg"), tile)
    ring = [[150, 100], [150, 200], [300, 200], [300, 100], [150, 100]]
    features = [
        {
            "type": "Feature", "id": n, "bbox": [150, 100, 300, 200],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"text": text, "detail": "", "place": "left", "neighbours": []},
        }
        for n, text in ((1, "a red house"), (2, SCRIPT))
    ]  # fmt: skip
    geojson = {"canvas": {"width_px": 600, "height_px": 400}, "features": features}
    (out / "regions.geojson").write_text(json.dumps(geojson))
    scene = {"scene": 1, "box_xyxy": [0, 0, 600, 400], "sentences": [{"text": "A red house."}]}
    (out / "narration.json").write_text(json.dumps({"scenes": [scene]}))
    return out


class BrightLook(Look):
    """Finds squares, and says what it was asked."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.hw = image.shape[:2]

    def region(self, points: Sequence[Point], box_xyxy: BoxXYXY | None) -> Found | None:
        mask = np.zeros(self.hw, bool)
        if box_xyxy is not None:
            x0, y0, x1, y1 = box_xyxy
            mask[y0:y1, x0:x1] = True
        else:
            x, y = int(points[0].x_px), int(points[0].y_px)
            mask[max(0, y - 5) : y + 5, max(0, x - 5) : x + 5] = True
        return Found(mask=mask, quality=0.9)

    def everything(self) -> list[Found]:
        boxes: list[BoxXYXY] = [(0, 0, 20, 20), (140, 100, 160, 120)]
        found = (self.region([], box) for box in boxes)
        return [item for item in found if item is not None]

    def describe(self, masks: NDArray[np.bool_], asked: str) -> list[Turn]:
        return [Turn(asked=asked, answer=f"{asked} {m.sum()} px", mean_logprob=-0.1) for m in masks]

    def answer(self, mask: NDArray[np.bool_], turns: Sequence[Turn], question: str) -> Turn:
        return Turn(asked=question, answer=f"{len(turns)} turns before", mean_logprob=-0.2)


class BrightAsker(Asker):
    name = "bright"
    weights_hash = "0"

    def look(self, image: NDArray[np.uint8]) -> Look:
        return BrightLook(image)


def client_of(out: Path, *, source: bool = True, entered: bool = True) -> TestClient:
    """A browser that has opened the address with the token, or has not."""
    app = make_app(Run(out, source=source), token=TOKEN, hosts=[HOST], make_asker=BrightAsker)
    client = TestClient(app, base_url=f"http://{HOST}")
    if entered:
        assert client.get("/", params={"token": TOKEN}).status_code == 200
    return client
