"""The newest picture of a camera: shown, kept while somebody asks about it, saved with its time."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from streamer.catalog import Catalog
from streamer.records import Frame, StreamInfo
from streamer.sinks.catalog import Catalog as Sink
from streamer.sinks.newest import Newest
from streamer.testing import renamed
from tests.media_factory import number_in
from tests.streamer.sinks.sink_records import event, numbered_frames, region, tracked
from tests.streamer.viewer.viewed_runs import client_of

BEGIN_NS = 1_780_000_000_123_456_789
INFO = StreamInfo(stream_id="gate", uri="rtsp://x", width_px=160, height_px=120, fps=25.0)


class Run:
    """A run on a camera that goes on when it is told to: a picture a second, a track in each."""

    def __init__(self, out: Path, **settings: Any) -> None:
        self.sink = Sink(str(out / "catalog.sqlite"))
        self.newest = Newest(str(out / "newest"), **settings)
        for sink in (self.sink, self.newest):
            sink.open([INFO])
        self.frames: Iterator[Frame] = (
            replace(renamed(frame, "gate"), time_ns=BEGIN_NS + 10**9 * frame.index,
                    uncertainty_ns=7)
            for frame in numbered_frames(200)
        )  # fmt: skip

    def go_on(self) -> int:
        """One picture more; its time."""
        frame = next(self.frames)
        record = tracked(frame, region((20, 30, 60, 70), 1))
        self.newest.write(record)
        self.sink.write(record)
        self.sink.flush()
        return frame.time_ns


def post(client: TestClient, name: str, **body: object) -> dict[str, Any]:
    answer = client.post(f"/api/ask/{name}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_it_is_shown_and_only_when_it_is_newer(tmp_path: Path) -> None:
    run, client = Run(tmp_path), client_of(tmp_path)
    for number in range(3):
        time_ns = run.go_on()
        time.sleep(0.45)  # streams are looked at twice a second
        (stream,) = client.get("/api/run").json()["streams"]
        assert (stream["films"], stream["unix"]) == ([], True)
        assert stream["origin_ms"] * 1e6 + stream["newest_ms"] * 1e6 == pytest.approx(time_ns)
        assert stream["last_ms"] >= stream["newest_ms"]
        answer = client.get("/newest", params={"stream": "gate"})
        at = float(answer.headers["x-time-ms"])
        assert at == pytest.approx(1000 * number)
        assert number_in(np.asarray(Image.open(io.BytesIO(answer.content)))) == number
        assert answer.headers["cache-control"] == "no-store"
        params: dict[str, object] = {"stream": "gate", "after": at}
        assert client.get("/newest", params=params).status_code == 204


def test_before_anything_is_found_there_is_a_picture(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.newest.write(tracked(next(run.frames)))
    client = client_of(tmp_path)
    (stream,) = client.get("/api/run").json()["streams"]
    assert (stream["origin_ms"], stream["newest_ms"]) == (BEGIN_NS / 1e6, 0)
    assert (stream["last_ms"], stream["known_ms"]) == (0, 0)
    look = post(client, "look", stream="gate", t=0)
    assert (look["width"], look["height"]) == (160, 120)


def test_what_is_frozen_can_be_asked_about_as_long_as_one_likes(tmp_path: Path) -> None:
    run, client = Run(tmp_path), client_of(tmp_path)
    time_ns = run.go_on()
    assert client.get("/newest", params={"stream": "gate"}).status_code == 200
    run.go_on()  # the file is replaced while the page still shows the first
    held = post(client, "look", stream="gate", t=0, ready=False)
    for _ in range(60):
        run.go_on()
        client.get("/newest", params={"stream": "gate"})
    look = held["look"]
    (there,) = post(client, "region", look=look, points=[{"x": 25, "y": 35}])["regions"]
    assert there["box"] == [20, 30, 60, 70]  # of the track that lies there
    (beside,) = post(client, "region", look=look, box=[100, 90, 120, 110])["regions"]
    for number in (there["region"], beside["region"]):
        post(client, "words", look=look, regions=[number], form="short")
    saved = [post(client, "save", look=look, region=r["region"])["track"] for r in (there, beside)]
    assert saved == [1, 10**6 + 1]
    run.sink.close()
    lines = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    for line in lines:
        assert (line["frame_time_ns"], line["frame_index"]) == (time_ns, 0)
        assert (line["uncertainty_ns"], line["why"]) == (7, "asked")
    with Catalog(tmp_path) as catalog:
        assert [h.track_id for h in catalog.search("short")] == saved


def test_masks_and_places_fit_a_picture_that_was_made_smaller(tmp_path: Path) -> None:
    run, client = Run(tmp_path, max_height=60), client_of(tmp_path)
    run.go_on()
    look = post(client, "look", stream="gate", t=0)
    assert (look["width"], look["height"]) == (160, 120)
    (there,) = post(client, "region", look=look["look"], points=[{"x": 55, "y": 65}])["regions"]
    assert there["box"] == [20, 30, 60, 70]


def test_a_film_goes_before_it(tmp_path: Path) -> None:
    from tests.streamer.viewer.viewed_runs import write_run

    write_run(tmp_path)
    newest = Newest(str(tmp_path / "newest"))
    newest.open([])
    newest.write(tracked(renamed(numbered_frames(30)[29], "film")))
    client = client_of(tmp_path)
    (stream,) = client.get("/api/run").json()["streams"]
    assert (stream["films"], stream["newest_ms"]) == (["source"], None)
    assert client.get("/newest", params={"stream": "film"}).status_code == 204


def test_saving_beside_a_run_that_writes_without_a_pause(tmp_path: Path) -> None:
    run, client = Run(tmp_path), client_of(tmp_path)
    run.go_on()
    look = post(client, "look", stream="gate", t=0)["look"]
    (found,) = post(client, "region", look=look, box=[100, 90, 120, 110])["regions"]
    post(client, "words", look=look, regions=[found["region"]], form="short")
    over = threading.Event()

    def write() -> None:
        n = 0
        while not over.is_set():
            record = replace(event(n * 0.01, "tick", 1), stream_id="gate")
            run.sink.write(record)
            n += 1
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(0.2)
        begun_s = time.monotonic()
        for _ in range(4):
            post(client, "save", look=look, region=found["region"])
        took_s = (time.monotonic() - begun_s) / 4
    finally:
        over.set()
        writer.join()
    run.sink.close()
    assert took_s < 3  # half a second: the run commits twice a second
    with Catalog(tmp_path) as catalog:
        assert len(catalog.search("short")) == 4
