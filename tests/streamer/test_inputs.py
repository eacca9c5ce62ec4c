"""Inputs of a batch: manifests of every kind, and films that lie elsewhere."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamer.batch import find_inputs
from streamer.commands.batch import run_batch
from streamer.errors import ConfigError, InputError
from streamer.remote import at_hand, find_remote, read_bytes
from streamer.units import Units
from tests.media_factory import write_film
from tests.streamer.test_batch import CONFIG

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    for n, name in enumerate(("a/one.mp4", "b/two.mp4")):
        (folder / name).parent.mkdir(parents=True)
        write_film(folder / name, range(0, 40 * (4 + n), 40))
    return folder


@pytest.fixture
def memory(films: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    for path in films.rglob("*.mp4"):
        files.pipe(f"/footage/{path.relative_to(films)}", path.read_bytes())
    yield "memory://footage"
    files.rm("/footage", recursive=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if "short" in self.path:  # it breaks off
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            return
        super().do_GET()


@pytest.fixture
def server(films: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    serving = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(films)))
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_address[1]}"
    serving.shutdown()
    serving.server_close()


def ran(tmp_path: Path, inputs: str, name: str = "out", **options: Any) -> int:
    config = tmp_path / "batch.yaml"
    config.write_text(CONFIG)
    settings: dict[str, Any] = {
        "config": str(config), "overrides": [], "variables": {}, "attempts": 1, "jobs": 1,
        "changed": "ask", "ray": None, "json_path": None, "quiet": True,
    }  # fmt: skip
    return run_batch(inputs, tmp_path / name, **(settings | options))


def made(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jsonl"))}


def test_films_in_memory_and_of_a_web_server_give_what_local_ones_give(
    tmp_path: Path, films: Path, memory: str, server: str
) -> None:
    assert ran(tmp_path, f"{films}/**/*.mp4", "local") == 0
    wanted = made(tmp_path / "local")
    assert sorted(wanted) == ["a/one.jsonl", "b/two.jsonl"]
    assert ran(tmp_path, f"{memory}/**/*.mp4", "memory") == 0
    assert made(tmp_path / "memory") == wanted
    assert ran(tmp_path, f"file://{films}/**/*.mp4", "file") == 0
    assert made(tmp_path / "file") == wanted
    listed = tmp_path / "list.csv"
    listed.write_text(f"url,stem\n{server}/a/one.mp4,a/one\n{server}/b/two.mp4,b/two\n")
    assert ran(tmp_path, str(listed), "http", manifest=True) == 0
    assert made(tmp_path / "http") == wanted
    for name in ("memory", "http"):  # nothing is left of what was fetched
        assert not (tmp_path / name / ".inputs").exists()
    assert films.joinpath("a/one.mp4").exists()


def test_one_that_cannot_be_fetched_is_set_aside_and_the_others_are_done(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = server.replace("http://", "http://me:s3cret@")
    lines = [f"{secret}/{name}" for name in ("a/one.mp4", "none.mp4", "short.mp4")]
    (tmp_path / "list.csv").write_text("input\n" + "\n".join(lines))
    assert ran(tmp_path, str(tmp_path / "list.csv")) == 2
    shown = capsys.readouterr()
    assert "1 of 3 done, 2 set aside" in shown.out
    assert "none.mp4 is not there" in shown.err
    assert "short.mp4 cannot be read" in shown.err
    assert "s3cret" not in shown.out + shown.err
    assert sorted(made(tmp_path / "out")) == ["one.jsonl"]
    assert not (tmp_path / "out" / ".inputs").exists()


def test_what_is_fetched_appears_whole_and_goes(tmp_path: Path, memory: str) -> None:
    with at_hand(f"{memory}/a/one.mp4", tmp_path / "here") as path:
        assert path == tmp_path / "here" / "one.mp4"
        assert path.read_bytes() == read_bytes(f"{memory}/a/one.mp4")
        assert os.listdir(tmp_path / "here") == ["one.mp4"]
    assert not (tmp_path / "here").exists()
    with at_hand(str(tmp_path / "x.mp4"), tmp_path / "here") as path:
        assert path == tmp_path / "x.mp4"


def test_urls_with_wildcards(memory: str) -> None:
    assert find_remote(f"{memory}/*/*.mp4") == [
        ("memory:///footage/a/one.mp4", "a/one.mp4"),
        ("memory:///footage/b/two.mp4", "b/two.mp4"),
    ]
    assert [stem for _, stem, _ in find_inputs(f"{memory}/b/two.mp4")] == ["two"]
    with pytest.raises(InputError, match="no input found"):
        find_inputs(f"{memory}/*.mkv")


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("s3://bucket/*.mp4", ConfigError, r"s3:// needs one more package \(.*s3fs"),
        ("abc://x/*.mp4", InputError, "abc"),
        ("http://127.0.0.1:1/*.mp4", InputError, r"^http://127.0.0.1:1/\*.mp4 "),
        ("http://me:s3cret@127.0.0.1:1/list.csv", InputError, r"^http://me:\*\*\*@127"),
    ],
)
def test_urls_that_cannot_be_read(url: str, error: type[Exception], said: str) -> None:
    if url.startswith("s3") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(error, match=said) as caught:
        find_inputs(url)
    assert "s3cret" not in str(caught.value)


def test_manifests_name_inputs_streams_and_outputs(tmp_path: Path) -> None:
    rows = [
        {"path": "a.mp4", "stream_id": "gate", "start": 3},
        {"path": "b/c.mp4", "stem": "x/y", "stream_id": None, "start": None},
    ]
    wanted = [
        ("a.mp4", "gate", {"stream_id": "gate", "start": "3"}),
        ("b/c.mp4", "x/y", {}),
    ]
    lines = tmp_path / "list.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert find_inputs(str(lines)) == wanted
    assert find_inputs(f"file://{lines}", manifest=True) == wanted
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "list.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"stem": None, **row} for row in rows]), path)
    assert find_inputs(str(path)) == wanted
    parquet.write_table(pyarrow.table({"film": ["a.mp4"]}), path)
    with pytest.raises(InputError, match="no column 'input'"):
        find_inputs(str(path))
    path.write_bytes(b"no Parquet")
    with pytest.raises(InputError, match=r"list\.parquet is no Parquet file"):
        find_inputs(str(path))


def test_the_stream_id_of_a_manifest_is_in_the_records(tmp_path: Path, films: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,stream_id\n{films}/a/one.mp4,gate\n")
    assert ran(tmp_path, str(tmp_path / "list.csv"), manifest=True) == 0
    line = (tmp_path / "out" / "gate.jsonl").read_text().splitlines()[-1]
    assert json.loads(line)["stream_id"] == "gate"


def test_changed_variables_are_noticed(tmp_path: Path) -> None:
    for start, state in (("1", "waiting"), ("1", "done"), ("2", "waiting")):
        units = Units(tmp_path)
        (unit,) = units.add([("memory://a.mp4", "a", {"start": start})])
        assert (unit.state, unit.variables) == (state, {"start": start})
        units.done(unit, config="1", seconds=0.0, report={})
        units.close()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.txt", "a.mp4", "is no manifest"),
        ("none.csv", None, "cannot be read"),
        ("x.csv", "input,url\na.mp4,http://b\n", "names the input as input and url"),
        ("x.jsonl", "[1]\n", "is no record"),
    ],
)
def test_bad_manifests(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        find_inputs(str(tmp_path / name), manifest=True)
