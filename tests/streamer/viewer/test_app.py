"""What the pages are told: moments, masks, words, films in parts, questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from streamer.catalog import Catalog
from streamer.errors import InputError
from streamer.mask import Mask
from streamer.records import caption_of_json
from streamer.sinks.catalog import Catalog as Sink
from streamer.viewer.live import pulses
from streamer.viewer.outlines import rings_of
from streamer.viewer.records import MOST_ROWS, Records
from streamer.viewer.run import Run
from tests.media_factory import number_in, write_film
from tests.streamer.sinks.sink_records import STREAM, caption, event
from tests.streamer.viewer.viewed_runs import client_of, write_run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_run(tmp_path / "out")


@pytest.fixture
def client(out: Path) -> Iterator[TestClient]:
    with client_of(out) as client:
        yield client


def test_the_run(client: TestClient) -> None:
    about = client.get("/api/run").json()
    (stream,) = about["streams"]
    assert (about["title"], about["scroll"]) == ("out", False)
    assert (stream["id"], stream["width"], stream["fps"]) == ("film", 160, 25.0)
    assert stream["films"] == ["source"]
    assert stream["last_ms"] == pytest.approx(2000, abs=40)
    assert client.get("/api/facets").json() == {
        "categories": ["car", "dog"], "kinds": ["cut", "line_cross", "track_start"],
    }  # fmt: skip


def test_search_and_filters(client: TestClient) -> None:
    def tracks(**params: object) -> list[int]:
        return [hit["track"] for hit in client.get("/api/captions", params=params).json()["items"]]

    assert tracks() == [1, 1, 2]
    assert tracks(q="car") == [1, 1]
    assert tracks(q="red car") == [1]
    assert tracks(q="dog*") == [2]
    assert tracks(category="dog") == [2]
    assert tracks(q="small", category="car") == []
    assert tracks(stream="film", q="dog") == [2]
    assert tracks(offset=1, limit=1) == [1]
    (hit,) = client.get("/api/captions", params={"q": "dog"}).json()["items"]
    assert (hit["t"], hit["end"], hit["text"]) == (1000.0, 1960.0, "a small dog")
    kinds = [e["kind"] for e in client.get("/api/events").json()["items"]]
    assert kinds == ["track_start", "cut", "line_cross", "track_start"]
    crossed = client.get("/api/events", params={"kind": "line_cross"}).json()
    assert [(e["t"], e["note"]) for e in crossed["items"]] == [(1000.0, "gate")]
    place = client.get("/api/events/place", params={"stream": "film", "t": 700}).json()
    assert place == {"place": 2}


def test_what_looks_like_a_track(client: TestClient) -> None:
    found = client.get("/api/captions", params={"q": "like:film#1"}).json()
    assert (found["total"], [hit["track"] for hit in found["items"]]) == (1, [2])
    (hit,) = client.get("/api/captions", params={"q": "like:film#2", "stream": "film"}).json()[
        "items"
    ]
    assert (hit["track"], hit["text"]) == (1, "a red car")  # its first words
    params: dict[str, object] = {"q": "like:film#2", "offset": 1}
    assert client.get("/api/captions", params=params).json()["items"] == []
    for wrong in ("like:film#9", "like:film", "like:#1' OR 1=1 --", f"like:film#{'9' * 30}"):
        refused = client.get("/api/captions", params={"q": wrong})
        assert refused.status_code == 404
        assert "like" in refused.json()["error"] or "look" in refused.json()["error"]


def test_lanes(client: TestClient) -> None:
    lanes = client.get("/api/lanes", params={"stream": "film", "start": 0, "end": 2000}).json()
    first, second = lanes["tracks"]
    assert (first["id"], first["from"], first["to"]) == (1, 0.0, 1960.0)
    assert first["captions"][0] == [0.0, 1000.0, "a red car"]
    assert [kind for _, kind in first["events"]] == ["track_start", "line_cross"]
    assert (second["from"], lanes["loose"]) == (1000.0, [[600.0, "cut"]])
    early = client.get("/api/lanes", params={"stream": "film", "start": 0, "end": 500}).json()
    assert [t["id"] for t in early["tracks"]] == [1]


def test_masks_come_by_span_as_outlines(client: TestClient) -> None:
    params = {"stream": "film", "start": 960, "end": 1040}
    frames = client.get("/api/masks", params=params).json()["frames"]
    assert [(t, [i for i, _ in regions]) for t, regions in frames] == [
        (960.0, [1]),
        (1000.0, [1, 2]),
    ]
    ring = frames[1][1][1][1][0]
    points = np.cumsum(np.reshape(ring, (-1, 2)), axis=0)
    assert points.min(axis=0).tolist() == [100, 10]
    assert points.max(axis=0).tolist() == [129, 49]
    longest = client.get("/api/masks", params=params | {"start": 0, "end": 1e12})
    assert len(longest.json()["frames"]) == 50


def test_outlines_with_holes_fill_to_the_mask() -> None:
    import cv2

    y, x = np.mgrid[:90, :120]
    dense = ((x - 60) ** 2 + (y - 45) ** 2 < 1500) & ((x - 60) ** 2 + (y - 45) ** 2 > 300)
    rings = rings_of(Mask.encode(dense))
    assert len(rings) == 2
    filled = np.zeros(dense.shape, np.uint8)
    shapes = [np.cumsum(np.reshape(r, (-1, 2)), axis=0).astype(np.int32) for r in rings]
    cv2.fillPoly(filled, shapes, 1)
    inside = filled.astype(bool)
    assert (inside & dense).sum() / (inside | dense).sum() > 0.93
    assert sum(map(len, rings)) < 120  # short to send
    assert rings_of(Mask.encode(np.zeros((4, 4), bool))) == []


def test_films_are_served_in_parts(client: TestClient, out: Path) -> None:
    params = {"stream": "film", "kind": "source"}
    data = (out / "film.mp4").read_bytes()
    whole = client.get("/film", params=params)
    assert (whole.status_code, whole.content) == (200, data)
    assert whole.headers["content-type"] == "video/mp4"
    part = client.get("/film", params=params, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(data)}"
    tail = client.get("/film", params=params, headers={"range": "bytes=-10"})
    assert tail.content == data[-10:]
    beyond = client.get("/film", params=params, headers={"range": f"bytes={len(data)}-"})
    assert beyond.status_code == 416
    assert client.get("/film", params={"stream": "film", "kind": "captioned"}).status_code == 404


def test_films_that_browsers_cannot_play_are_not_offered(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out")
    write_film(out / "film.mp4", codec="mpeg4")
    assert client_of(out).get("/api/run").json()["streams"][0]["films"] == []
    # the captioned film can be played, and begins where the run began
    write_film(out / "film.captioned.mp4")
    (out / "film.tracks.jsonl").write_text('{"record":"regions","time_ns":5000000000}\n')
    run = Run(out)
    (film,) = run.stream("film")["films"]
    assert (film.kind, film.begin_ns) == ("captioned", 5 * 10**9)
    time_ns, image = film.picture(5 * 10**9 + 410_000_000, 120)
    assert time_ns == pytest.approx(5_400_000_000, abs=100)
    assert number_in(image) == 10


def test_pictures_of_a_film_at_a_moment(out: Path) -> None:
    (film,) = Run(out).stream("film")["films"]
    for wanted_ms, number in ((0, 0), (39, 0), (40, 1), (1001, 25), (1999, 49), (9999, 49)):
        time_ns, image = film.picture(wanted_ms * 10**6, None)
        assert (time_ns, number_in(image)) == (number * 40_000_000, number), wanted_ms


def test_best_views(client: TestClient) -> None:
    jpeg = client.get("/api/best", params={"stream": "film", "track": 1})
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert jpeg.content[:2] == b"\xff\xd8"
    none = client.get("/api/best", params={"stream": "film", "track": 9})
    assert (none.status_code, none.headers["content-type"]) == (200, "image/svg+xml")


def test_point_box_everything_words_and_a_conversation(client: TestClient) -> None:
    def post(name: str, **body: object) -> dict[str, object]:
        answer = client.post(f"/api/ask/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    look = post("look", stream="film", t=1010)
    assert (look["t"], look["width"], look["height"]) == (1000.0, 160, 120)
    key = look["look"]
    # a box of the track that lies under the point goes with it
    (tracked,) = post("region", look=key, points=[{"x": 110, "y": 20}])["regions"]
    assert tracked["box"] == [100, 10, 130, 50]
    (free,) = post("region", look=key, points=[{"x": 10, "y": 100}])["regions"]
    assert free["box"] == [5, 95, 15, 105]
    (boxed,) = post("region", look=key, box=[150, 60, 120, 40])["regions"]
    assert boxed["box"] == [120, 40, 150, 60]
    everything = post("region", look=key, everything=True)["regions"]
    assert [r["box"] for r in everything] == [
        [45, 30, 85, 70], [100, 10, 130, 50], [0, 0, 20, 20], [140, 100, 160, 120],
    ]  # fmt: skip
    numbers = [r["region"] for r in everything]
    answers = post("words", look=key, regions=numbers, form="short")["answers"]
    assert [a["answer"] for a in answers][2:] == ["short 400 px", "short 400 px"]
    first = post("question", look=key, region=numbers[0], text="What is it?")
    second = post("question", look=key, region=numbers[0], text="And where?")
    assert [first["answer"], second["answer"]] == ["1 turns before", "2 turns before"]
    assert (
        post("question", look=key, region=boxed["region"], text="?")["answer"] == "0 turns before"
    )


def test_answers_are_saved_as_records(client: TestClient, out: Path) -> None:
    def post(name: str, **body: object) -> dict[str, object]:
        return dict(client.post(f"/api/ask/{name}", json=body).json())

    key = post("look", stream="film", t=1000)["look"]
    (there,) = post("region", look=key, points=[{"x": 110, "y": 20}])["regions"]
    assert "ask first" in str(post("save", look=key, region=there["region"])["error"])
    post("words", look=key, regions=[there["region"]], form="short")
    post("question", look=key, region=there["region"], text="Is it wet?")
    saved = post("save", look=key, region=there["region"])
    assert saved["track"] == 2  # that is what lies there
    again = post("save", look=key, region=there["region"])
    assert (again["track"], again["id"] == saved["id"]) == (2, False)
    (new,) = post("region", look=key, points=[{"x": 10, "y": 100}])["regions"]
    post("words", look=key, regions=[new["region"]], form="detailed")
    assert post("save", look=key, region=new["region"])["track"] == 3
    with Catalog(out) as catalog:
        hits = catalog.search("wet")
    assert [(h.track_id, h.text, h.start_ns, h.end_ns) for h in hits] == [
        (2, "short 1200 px", 10**9, 10**9)
    ] * 2
    lines = [json.loads(line) for line in (out / "asked.jsonl").read_text().splitlines()]
    captions = [caption_of_json(line) for line in lines]
    assert [c.id for c in captions] == [saved["id"], again["id"], lines[2]["id"]]
    assert (captions[0].why, captions[0].model, captions[0].frame_index) == ("asked", "bright", 25)
    assert captions[0].detail == "Is it wet? 1 turns before"


@pytest.mark.parametrize(
    ("name", "body", "match"),
    [
        ("look", {"stream": "none", "t": 0}, "no such stream"),
        ("region", {"look": "gone", "everything": True}, "put away"),
        ("region", {"look": "", "points": []}, "click a point"),
        ("region", {"look": "", "points": [{"x": 161, "y": 3}]}, "outside"),
        ("region", {"look": "", "box": [5, 5, 6, 90]}, "no area"),
        ("region", {"look": "", "box": [500, 500, 600, 900]}, "no area"),
        ("words", {"look": "", "regions": [7], "form": "short"}, "no such region"),
        ("question", {"look": "", "region": 0, "text": ""}, "at least 1"),
        ("question", {"look": "", "region": 0, "text": "x" * 501}, "at most 500"),
    ],
)
def test_questions_that_cannot_be_answered(
    client: TestClient, name: str, body: dict[str, object], match: str
) -> None:
    if body.get("look") == "":
        look = client.post("/api/ask/look", json={"stream": "film", "t": 0}).json()["look"]
        body = body | {"look": look}
    answer = client.post(f"/api/ask/{name}", json=body)
    assert answer.status_code in (400, 404, 422)
    assert match in answer.json()["error"]


def test_old_pictures_are_put_away(client: TestClient) -> None:
    looks = [
        client.post("/api/ask/look", json={"stream": "film", "t": t}).json()["look"]
        for t in range(0, 200, 40)
    ]

    def status(look: str) -> int:
        return client.post("/api/ask/region", json={"look": look, "everything": True}).status_code

    assert [status(look) for look in looks] == [404, 200, 200, 200, 200]


def test_who_watches_hears_when_something_is_written(tmp_path: Path) -> None:
    sink = Sink(str(tmp_path / "catalog.sqlite"))
    sink.open([STREAM])
    sink.write(event(0.5, "cut"))
    sink.flush()
    client = client_of(tmp_path)

    async def watch() -> list[int]:
        seen: list[int] = []

        async def gone() -> bool:
            return len(seen) == 3

        async for _ in pulses(Records(tmp_path), gone):
            seen.append(client.get("/api/events").json()["total"])
            sink.write(event(1.0 + len(seen), "cut"))
            sink.flush()
        return seen

    assert asyncio.run(asyncio.wait_for(watch(), 20)) == [1, 2, 3]
    sink.close()


def test_a_camera_counts_from_its_first_moment(tmp_path: Path) -> None:
    from streamer.records import StreamInfo

    begin_s = 1_780_000_000.0
    sink = Sink(str(tmp_path / "catalog.sqlite"))
    sink.open([StreamInfo(stream_id="test", uri="rtsp://x", width_px=160, height_px=120, fps=10.0)])
    sink.write(event(begin_s, "track_start", 1))
    sink.write(caption(begin_s + 2.5, None))
    sink.close()
    client = client_of(tmp_path)
    (stream,) = client.get("/api/run").json()["streams"]
    assert (stream["unix"], stream["films"]) == (True, [])
    assert stream["origin_ms"] == begin_s * 1000
    (hit,) = client.get("/api/captions").json()["items"]
    assert (hit["t"], hit["end"]) == (2500.0, None)
    refused = client.post("/api/ask/look", json={"stream": "test", "t": 0})
    assert "no film" in refused.json()["error"]


def test_a_list_that_is_too_long_says_so(tmp_path: Path) -> None:
    write_run(tmp_path)
    import sqlite3

    db = sqlite3.connect(tmp_path / "catalog.sqlite")
    db.executemany(
        "INSERT INTO event VALUES (?, 'film', ?, 'tick', NULL, '', '{}')",
        ((str(n), n * 10**6) for n in range(MOST_ROWS + 5)),
    )
    db.commit()
    db.close()
    page = client_of(tmp_path).get("/api/events", params={"offset": MOST_ROWS - 50}).json()
    assert page["total"] == page["most"] + 1 == MOST_ROWS + 1
    assert len(page["items"]) == 50


def test_folders_with_nothing_to_see(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the folder that"):
        Run(tmp_path)
    (tmp_path / "catalog.sqlite").write_text("no")
    with pytest.raises(InputError, match="cannot be searched"):
        Run(tmp_path)
