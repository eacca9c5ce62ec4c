"""What must be refused: other sites, wrong tokens, paths, large and malformed requests."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from streamer.sinks.newest import Newest
from streamer.testing import renamed
from streamer.viewer.guard import MOST_BODY_BYTES
from tests.streamer.sinks.sink_records import numbered_frames, tracked
from tests.streamer.test_catalog import NASTY
from tests.streamer.viewer.viewed_runs import (
    HOST,
    SCRIPT,
    TOKEN,
    client_of,
    write_run,
    write_scroll,
)

GETS = [
    "/", "/api/run", "/api/captions", "/api/events", "/api/facets", "/api/scroll", "/api/live",
    "/api/lanes?stream=film&start=0&end=9", "/api/masks?stream=film&start=0&end=9",
    "/api/best?stream=film&track=1", "/film?stream=film&kind=source", "/tiles/0/0_0.jpg",
    "/static/app.js", "/static/openseadragon.min.js", "/nothing", "/newest?stream=film",
]  # fmt: skip
POSTS = [f"/api/ask/{name}" for name in ("look", "view", "region", "words", "question", "save")]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("secret") / "out")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "notes.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def client(out: Path) -> Iterator[TestClient]:
    with client_of(out) as client:
        yield client


@pytest.fixture
def stranger(out: Path) -> Iterator[TestClient]:
    with client_of(out, entered=False) as client:
        yield client


def test_without_a_token_nothing_is_answered(stranger: TestClient) -> None:
    for path in GETS:
        assert stranger.get(path).status_code == 401, path
    for path in POSTS:
        assert stranger.post(path, json={}).status_code == 401, path
    for token in ("", "wrong", TOKEN[:-1], TOKEN + "x", "\u00e9"):
        assert stranger.get("/", params={"token": token}).status_code == 401
        headers = {"authorization": f"Bearer {token}".encode()}
        assert stranger.get("/api/run", headers=headers).status_code == 401
    cookie = {"cookie": "streamer_8080=wrong; \x7f;;="}
    assert stranger.get("/api/run", headers=cookie).status_code == 401
    # the address opens the page, nothing else
    assert stranger.get("/api/run", params={"token": TOKEN}).status_code == 401


def test_the_token_opens_by_address_cookie_and_header(stranger: TestClient) -> None:
    header = {"authorization": f"Bearer {TOKEN}"}
    assert stranger.get("/api/run", headers=header).status_code == 200
    answer = stranger.get("/", params={"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert cookie.startswith("streamer_8080=")  # viewers at several ports do not mix them up
    assert stranger.get("/api/run").status_code == 200
    assert "set-cookie" not in stranger.get("/api/run").headers


def test_other_names_for_this_machine_are_refused(client: TestClient) -> None:
    for host in ("evil.example", "evil.example:8080", "127.0.0.1", "127.0.0.1:81", "", HOST + "@x"):
        answer = client.get("/api/run", headers={"host": host})
        assert answer.status_code == 400, host


def test_other_sites_are_refused(client: TestClient) -> None:
    for site in ("cross-site", "same-site"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        for path in ("/api/run", "/film?stream=film&kind=source", "/", "/static/app.js"):
            assert client.get(path, headers=headers).status_code == 403, path
    for origin in ("http://evil.example", "null", "http://127.0.0.1:81", f"http://{HOST}.evil"):
        answer = client.post("/api/ask/look", json={}, headers={"origin": origin})
        assert answer.status_code == 403, origin
    # a link on another site may lead here, and shows the page only to whom has the token
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=headers).status_code == 200
    assert client.get("/api/run", headers=headers).status_code == 403


def test_no_header_lets_other_sites_read(client: TestClient) -> None:
    for path in GETS:
        if path == "/api/live":
            continue
        answer = client.get(path, headers={"origin": f"http://{HOST}"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    for method in ("OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"):
        assert client.request(method, "/api/run").status_code == 405
    form = client.post("/api/ask/look", content=b"{}", headers={"content-type": "text/plain"})
    assert form.status_code == 415  # what a form of another site can send


def test_the_page_has_no_script_in_it(client: TestClient) -> None:
    page = client.get("/").text
    assert '<script type="module" src=' in page
    assert page.count("<script") == 1
    assert not re.search(r"<[^>]*\son[a-z]+=", page)
    assert "style=" not in page


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd",
        "/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml", "/static/..\\app.py",
        "/tiles/..%2f..%2fnotes.txt", "/tiles/0/..%2fnotes.txt", "/tiles/%2e%2e/catalog.sqlite",
        "/tiles/0/0_0.jpg%00", "/catalog.sqlite", "/notes.txt", "/film.mp4", "/../secret.txt",
        "/static/", "/static/app.js%00.css", "/docs", "/openapi.json",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404), path
    assert "secret" not in answer.text


def test_tiles_of_a_scroll_and_nothing_else(tmp_path: Path) -> None:
    out = write_scroll(tmp_path / "out")
    (out / "secret.txt").write_text("secret")
    (tmp_path / "other.jpg").write_text("secret")
    (out / "page" / "tiles" / "9" / "5_5.jpg").symlink_to(tmp_path / "other.jpg")
    client = client_of(out)
    assert client.get("/tiles/10/1_0.jpg").content[:2] == b"\xff\xd8"
    for path in (
        "/tiles/9/5_5.jpg", "/tiles/9/9_9.jpg", "/tiles/..%2f../secret.txt", "/tiles/../secret.txt",
        "/tiles/9/..%2f..%2f..%2fsecret.txt", "/tiles/9/0_0.jpg%2f..%2f..%2f..%2f..%2fsecret.txt",
        "/tiles/010/0_0.jpg%0a",
    ):  # fmt: skip
        answer = client.get(path)
        assert answer.status_code in (400, 404), path
        assert "secret" not in answer.text
    assert client.get("/api/captions").status_code == 404
    assert SCRIPT in client.get("/api/scroll").json()["regions"][1]["properties"]["text"]


def write_camera(out: Path, name: str) -> Path:
    """A run on a camera with its newest picture; no film."""
    write_run(out, stream_id=name)
    (out / "film.mp4").unlink()
    sink = Newest(str(out / "newest"))
    sink.open([])
    sink.write(tracked(renamed(numbered_frames(1)[0], name)))
    return out


def test_the_newest_picture_and_no_other_file(tmp_path: Path) -> None:
    out = write_camera(tmp_path / "out", "gate")
    client = client_of(out)
    params: dict[str, object] = {"stream": "gate"}
    answer = client.get("/newest", params=params)
    assert (answer.status_code, answer.content[:2]) == (200, b"\xff\xd8")
    assert float(answer.headers["x-time-ms"]) == 0.0
    assert client.get("/newest", params=params | {"after": 0}).status_code == 204
    for after in ("nan", "inf", "1e99", "x"):
        assert client.get("/newest", params=params | {"after": after}).status_code == 422
    for name in ("other", "../gate", "newest/gate", "gate.jpg", "gate\0", "", SCRIPT):
        assert client.get("/newest", params={"stream": name}).status_code in (404, 422), name
    assert client.get("/newest", params={"stream": "x" * 401}).status_code == 422
    assert client.get("/newest/gate.jpg").status_code == 404
    # at other moments there is none to ask about, whatever is asked
    assert client.post("/api/ask/look", json={"stream": "gate", "t": 0}).status_code == 200
    for t in (-2, 2, 1e13, -1e13):
        refused = client.post("/api/ask/look", json={"stream": "gate", "t": t})
        assert (refused.status_code, "is kept" in refused.json()["error"]) == (404, True)


@pytest.mark.parametrize("name", ["gate", "../gate", "a/b", "/etc/passwd"])
def test_newest_pictures_lie_in_the_run(tmp_path: Path, name: str) -> None:
    """Streams of any name have theirs; links out of the run, other pictures, and what is no
    picture are none."""
    out = write_camera(tmp_path / "out", name)
    params = {"stream": name}
    assert client_of(out).get("/newest", params=params).status_code == 200
    (file,) = (out / "newest").iterdir()
    jpeg = file.read_bytes()
    (tmp_path / "other.jpg").write_bytes(jpeg)
    file.unlink()
    file.symlink_to(tmp_path / "other.jpg")
    assert client_of(out).get("/newest", params=params).status_code == 204
    file.unlink()
    for wrong in (
        b"secret",
        jpeg[:300],
        b"\xff\xd8\xff\xe0",
        jpeg.replace(b'"time_ns"', b'"time_ms"'),
    ):
        file.write_bytes(wrong)
        answer = client_of(out).get("/newest", params=params)
        assert (answer.status_code, answer.content) == (204, b"")
    file.unlink()
    (out / "newest").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / file.name).write_bytes(jpeg)
    (out / "newest").symlink_to(tmp_path / "elsewhere")
    assert client_of(out).get("/newest", params=params).status_code == 204


@pytest.mark.parametrize(
    "box",
    [
        b"[NaN, 0, 10, 10]", b"[0, 0, Infinity, 10]", b"[0, 0, 1e99, 10]", b"[0, 0, 10]",
        b"[0, 0, 10, 10, 10]", b"[]", b"null", b'"0,0,10,10"', b'[[0], 0, 10, 10]',
        b'["../../secret", 0, 1, 1]',
    ],
)  # fmt: skip
def test_malformed_views_of_a_scroll(tmp_path: Path, box: bytes) -> None:
    client = client_of(write_scroll(tmp_path / "out"))
    content, headers = b'{"box": ' + box + b"}", {"content-type": "application/json"}
    answer = client.post("/api/ask/view", content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_views_beyond_a_scroll(tmp_path: Path) -> None:
    """Whatever box is asked for, no more is read than is there, and never outside of the run."""
    out = write_scroll(tmp_path / "out")
    client = client_of(out)

    def view(*box: float) -> tuple[int, dict[str, object]]:
        answer = client.post("/api/ask/view", json={"box": box})
        return answer.status_code, answer.json()

    assert view(-1e7, -1e7, 1e7, 1e7)[1]["box"] == [0, 0, 600, 400]
    for box in ((-50, -50, -9, -9), (700, 0, 900, 9), (9, 9, 9, 9), (300, 300, 5, 5), (0, 0, 5, 5)):
        code, told = view(*box)
        assert (code, "zoom or move" in str(told["error"])) == (400, True), box
    # a tile that leads elsewhere, or is none, is not looked at
    (tmp_path / "other.jpg").write_bytes((out / "page/tiles/10/0_0.jpg").read_bytes())
    tile = out / "page" / "tiles" / "10" / "0_0.jpg"
    tile.unlink()
    tile.symlink_to(tmp_path / "other.jpg")
    assert "0_0 is missing" in str(view(0, 0, 600, 400)[1]["error"])
    tile.unlink()
    tile.write_bytes(b"\xff\xd8 secret")
    code, told = view(0, 0, 600, 400)
    assert (code, "secret" in str(told)) == (404, False)
    tile.write_bytes((out / "page/tiles/10/1_0.jpg").read_bytes())
    assert "smaller than" in str(view(0, 0, 600, 400)[1]["error"])
    # a film is no scroll
    client = client_of(write_run(tmp_path / "film"))
    assert "no scroll" in client.post("/api/ask/view", json={"box": [0, 0, 9, 9]}).json()["error"]


def test_places_outside_of_what_was_looked_at(tmp_path: Path) -> None:
    client = client_of(write_scroll(tmp_path / "out"))
    look = client.post("/api/ask/view", json={"box": [100, 100, 300, 300]}).json()["look"]

    def status(**where: object) -> int:
        return client.post("/api/ask/region", json={"look": look, **where}).status_code

    assert status(points=[{"x": 150, "y": 150}]) == 200
    for x, y in ((99, 150), (150, 99), (300, 150), (150, 1e7), (-1e7, 150)):
        assert status(points=[{"x": x, "y": y}]) == 400
    assert status(points=[{"x": 1e8, "y": 150}]) == 422
    assert status(box=[0, 0, 90, 90]) == 400
    assert status(box=[0, 0, 1e7, 1e7]) == 200


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/passwd", "film/../../secret.txt", "film\0", "*", SCRIPT]
)
def test_names_of_streams_and_films_are_only_names(client: TestClient, name: str) -> None:
    for params in ({"stream": name, "kind": "source"}, {"stream": "film", "kind": name[:20]}):
        assert client.get("/film", params=params).status_code == 404


def test_only_films_are_served_as_films(tmp_path: Path) -> None:
    """A catalog that names other files, and links out of the folder, give nothing away."""
    (tmp_path / "secret.mp4").write_text("secret")
    for uri in ("/etc/passwd", str(tmp_path / "secret.mp4"), "../secret.mp4", "\0", "x" * 9999):
        out = write_run(tmp_path / "out", stream_id="other")
        (out / "film.mp4").unlink()
        (out / "other.captioned.mp4").unlink(missing_ok=True)
        (out / "other.captioned.mp4").symlink_to(tmp_path / "secret.mp4")
        db = sqlite3.connect(out / "catalog.sqlite")
        db.execute("UPDATE stream SET uri = ?", (uri,))
        db.commit()
        db.close()
        client = client_of(out)
        assert client.get("/api/run").json()["streams"][0]["films"] == []
        for kind in ("source", "captioned"):
            answer = client.get("/film", params={"stream": "other", "kind": kind})
            assert answer.status_code == 404
            assert "secret" not in answer.text


def test_a_film_elsewhere_is_shown_only_when_that_is_wanted(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out")
    (out / "film.mp4").rename(tmp_path / "film.mp4")
    db = sqlite3.connect(out / "catalog.sqlite")
    db.execute("UPDATE stream SET uri = ?", (str(tmp_path / "film.mp4"),))
    db.commit()
    db.close()
    films = [client_of(out, source=s).get("/api/run").json()["streams"][0]["films"] for s in (1, 0)]
    assert films == [["source"], []]
    # a link in the folder to a film outside of it is outside of it
    (out / "film.captioned.mp4").symlink_to(tmp_path / "film.mp4")
    assert client_of(out, source=False).get("/api/run").json()["streams"][0]["films"] == []


@pytest.mark.parametrize("words", NASTY)
def test_search_terms_are_only_words(client: TestClient, words: str, out: Path) -> None:
    answer = client.get("/api/captions", params={"q": words})
    assert answer.status_code == 200
    for name in ("stream", "category"):
        assert client.get("/api/captions", params={name: words}).json()["items"] == []
    assert client.get("/api/events", params={"kind": words}).json()["items"] == []
    assert client.get("/api/captions").json()["total"] == 3


def test_script_in_words_and_names_arrives_as_text(tmp_path: Path) -> None:
    client = client_of(write_run(tmp_path / "out", stream_id=SCRIPT))
    about = client.get("/api/run")
    assert about.headers["content-type"] == "application/json"
    assert about.json()["streams"][0]["id"] == SCRIPT
    (hit,) = client.get("/api/captions", params={"q": "blue"}).json()["items"]
    assert SCRIPT in hit["text"]
    answer = client.get("/film", params={"stream": SCRIPT + "x", "kind": "source"})
    assert "script" not in answer.text
    assert answer.headers["content-type"] == "application/json"


def test_large_requests_are_refused(client: TestClient) -> None:
    large = json.dumps({"look": "x" * MOST_BODY_BYTES})
    headers = {"content-type": "application/json"}
    assert client.post("/api/ask/region", content=large, headers=headers).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"[" * 4096

    assert client.post("/api/ask/region", content=endless(), headers=headers).status_code == 413
    assert client.get("/api/captions", params={"q": "x" * 201}).status_code == 422
    for limits in ({"limit": 501}, {"limit": 0}, {"offset": -1}, {"offset": 10**9}):
        assert client.get("/api/captions", params=limits).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"look"', b"{}", b"[" * 20_000, b"\xff\xfe",
        b'{"look": 1}', b'{"look": "x", "points": [{"x": NaN, "y": 1}]}',
        b'{"look": "x", "points": [{"x": 1e999, "y": 1}]}', b'{"look": "x", "box": [1, 2, 3]}',
        b'{"look": "x", "more": 1, "everything": true}', b'{"stream": "film", "t": Infinity}',
        b'{"look": "x", "regions": [-1], "form": "short"}',
        b'{"look": "x", "regions": [0], "form": "other"}', b'{"look": "x", "region": 1e99}',
    ],
)  # fmt: skip
def test_malformed_requests_are_named(client: TestClient, body: bytes) -> None:
    for path in POSTS:
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), path
        assert answer.json()["error"]


@pytest.mark.parametrize(
    "query", ["start=nan&end=1", "start=0", "start=inf&end=1", "start=1e99&end=1", "start=x&end=1"]
)
def test_malformed_times(client: TestClient, query: str) -> None:
    for path in ("lanes", "masks"):
        assert client.get(f"/api/{path}?stream=film&{query}").status_code == 422
