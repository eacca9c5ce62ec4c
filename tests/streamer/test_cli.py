"""The command line as a user meets it: real processes, real files, exit codes.

A user's mistakes have a file of their own, `test_bad_input.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import jsonschema
import pytest

from streamer.schema import json_schema
from tests.media_factory import cut_off, write_film

ROOT = Path(__file__).resolve().parents[2]


def streamer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamer", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,
        check=False,
    )


def test_help_teaches() -> None:
    text = streamer("--help").stdout
    commands = "caption run check schema demo doctor models train bench evaluate rules search"
    commands += " deliver export"
    for command in commands.split():
        assert command in text
    assert json.loads(streamer("schema").stdout) == json_schema()


@pytest.mark.parametrize(
    "name", ["quickstart", "documentary", "surveillance", "private", "batch", "alerts"]
)
def test_the_configurations_that_come_along_are_fine(name: str) -> None:
    done = streamer("check", name)
    assert done.returncode == 0, done.stderr
    assert "is fine" in done.stdout


def test_caption_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    from streamer.commands.demo import write_film as render

    film = tmp_path / "film.mp4"
    render(film, tmp_path / "truth.json", seed=4321, seconds=4.0)
    for name in ("one", "two"):
        done = streamer("caption", film, "-o", tmp_path / name, "-q", "--json", tmp_path / "r.json")
        assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())[0]
    assert report["frames"] == 100
    assert report["tracks"] >= 4
    assert report["captions"] >= 4
    lines = (tmp_path / "one" / "film.jsonl").read_bytes()
    assert lines == (tmp_path / "two" / "film.jsonl").read_bytes()
    for line in lines.decode().splitlines():
        jsonschema.validate(json.loads(line), json_schema())
    for name in ("film.vtt", "film.srt", "film.tracks.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with av.open(str(tmp_path / "one" / "film.captioned.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100


def test_a_film_cut_off_is_partial(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", range(0, 6000, 40), options={"movflags": "+faststart"})
    cut_off(film, 0.6)
    done = streamer("caption", film, "-o", tmp_path / "out", "-q")
    assert done.returncode == 3, done.stderr
    assert "partial:" in done.stderr
    lines = [json.loads(x) for x in (tmp_path / "out" / "a.jsonl").read_text().splitlines()]
    assert any(line.get("kind") == "input_error" for line in lines)


def test_one_bad_file_does_not_keep_the_others(tmp_path: Path) -> None:
    good = write_film(tmp_path / "good.mp4", range(0, 400, 40))
    done = streamer("caption", tmp_path / "bad.mp4", good, "-o", tmp_path / "out", "-q")
    assert done.returncode == 2
    assert "bad.mp4: no such file" in done.stderr
    assert (tmp_path / "out" / "good.captioned.mp4").stat().st_size > 0


def test_ctrl_c_leaves_valid_files(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", range(0, 400_000, 40), hw=(240, 320))
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "streamer", "caption", str(film), "-o", str(out), "-q"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    tracks = out / "a.tracks.jsonl"
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s and not (tracks.is_file() and tracks.stat().st_size > 2000):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    frames = [json.loads(line) for line in tracks.read_text().splitlines()]
    with av.open(str(out / "a.captioned.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(frames) > 10
    records = [json.loads(line) for line in (out / "a.jsonl").read_text().splitlines()]
    end = next(i for i, r in enumerate(records) if r.get("kind") == "stream_end")
    # behind it stand at most captions that were asked for at the last frame
    assert {r.get("asked_ns") for r in records[end + 1 :]} <= {records[end]["time_ns"]}
    assert records[end]["data"]["frames"] == len(frames)
