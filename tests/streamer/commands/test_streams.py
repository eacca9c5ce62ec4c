"""`streamer streams` against a `streamer watch` that runs: real processes, real feeds."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.watch import controllable
from streamer.config import load_pipeline
from streamer.control import Control
from streamer.errors import ConfigError, InputError
from streamer.passwords import expanded, hidden
from streamer.records import StreamLeft
from streamer.sources.live import LiveVideo
from streamer.sources.live_ring import Ring
from tests.streamer.sources.live_feeds import feed
from tests.streamer.sources.test_live import drained, frame

SECRET = "s3cret-w0rd"
CONFIG = """
source:
  use: streamer.sources.live.LiveVideo
  with: {urls: {cam: "${input}"}, sample_fps: 10, connect_s: 3, stall_s: 5}
steps:
  track: {use: operators.track.Track, with: {work_height_px: 64, sam: none}}
sinks:
  - {use: streamer.sinks.console.Console, from: [track]}
  - {use: streamer.sinks.jsonl.JsonLines, from: [track], with: {path: "${out}/live.jsonl"}}
  - {use: streamer.sinks.catalog.Catalog, from: [track], with: {path: "${out}/catalog.sqlite"}}
"""


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamer", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@contextmanager
def watching(folder: Path, *addresses: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    config = folder / "live.yaml"
    config.write_text(CONFIG)
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamer", "watch", *addresses, "-o", str(folder / "out"),
             "-c", str(config)],
            stdout=said, stderr=said, text=True, env={**os.environ, **environment},
        )  # fmt: skip
    try:
        until(lambda: (folder / "out" / "control.json").exists(), process)
        yield process
    finally:
        process.kill()
        process.wait()


def until(reached: Callable[[], Any], process: subprocess.Popen[str], limit_s: float = 60) -> None:
    deadline_s = time.monotonic() + limit_s
    while not reached():
        assert process.poll() is None, "the run has ended"
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.1)


def refused(*arguments: object) -> str:
    """What a command that is a mistake says, without a process of its own."""
    result = CliRunner().invoke(app, ["streams", *map(str, arguments)])
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def asked(told: dict[str, str], token: str | None, method: str = "GET") -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(told["url"] + "/streams", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_streams_come_and_go_and_others_are_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def listed() -> dict[str, Any]:
        path = tmp_path / "list.json"
        result = CliRunner().invoke(app, ["streams", "list", "-o", str(out), "--json", str(path)])
        assert result.exit_code == 0, result.exception
        return {row["name"]: row for row in json.loads(path.read_text())}

    def events() -> list[dict[str, Any]]:
        path = out / "live.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    with feed() as first, feed() as second:
        address = f"http://127.0.0.1:{first.port}/live"
        with watching(tmp_path, f"a={address}") as process:
            control = out / "control.json"
            assert stat.S_IMODE(control.stat().st_mode) == 0o600
            told = json.loads(control.read_text())
            for token in (None, "", "wrong", told["token"][:-1], "é"):
                for method in ("GET", "POST", "DELETE"):
                    assert asked(told, token and token.encode().decode("latin-1"), method) == 401
            assert asked(told, told["token"]) == 200
            monkeypatch.setenv("STREAMER_TOKEN", "another one")
            assert "refuses the token" in refused("list", "-o", out)
            monkeypatch.delenv("STREAMER_TOKEN")
            until(lambda: listed()["a"]["frames"] > 5, process)

            other = f"http://me:$CAMERA@127.0.0.1:{second.port}/live?key=${{CAMERA}}"
            added = command("streams", "add", f"b={other}", "-o", out, CAMERA=SECRET)
            assert (added.returncode, added.stdout) == (0, "b is watched\n"), added.stderr
            assert listed()["b"]["address"] == f"http://me:***@127.0.0.1:{second.port}/live?***"
            until(lambda: listed()["b"]["frames"] > 5, process)
            os.mkfifo(tmp_path / "pipe")
            away = CliRunner().invoke(
                app, ["streams", "add", f"c={tmp_path / 'pipe'}", "-o", str(out)]
            )
            assert away.exit_code == 0
            assert listed()["c"]["state"] == "away"

            shown = command("streams", "list", "-o", out)
            assert (shown.returncode, SECRET in shown.stdout) == (0, False)
            assert "nobody writes into the pipe" in shown.stdout
            monkeypatch.setenv("CAMERA", SECRET)
            for wrong, said in (
                (("add", f"b={other}"), "there is a stream 'b' already"),
                (("add", f"a b={other}"), "no name of a stream"),
                (("add", "d=film.mp4"), "neither a network address"),
                (("add", "d"), "NAME=ADDRESS"),
                (("remove", "d"), "there is no stream 'd'; there are: a, b, c"),
            ):
                told_why = refused(*wrong, "-o", out)
                assert said in told_why
                assert SECRET not in told_why

            assert command("streams", "remove", "b", "-o", out).returncode == 0
            until(lambda: any(e["stream_id"] == "b" for e in events()), process)
            (end,) = [e for e in events() if e["kind"] == "stream_end"]
            assert (end["stream_id"], end["data"]["frames"] > 5) == ("b", True)
            assert "has had a stream 'b'" in refused("add", f"b={other}", "-o", out)
            before = listed()
            assert set(before) == {"a", "c"}
            until(lambda: listed()["a"]["frames"] > before["a"]["frames"] + 5, process)

            title = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert b"watch" in title
    assert not control.exists()
    ends = {e["stream_id"]: e["data"]["frames"] for e in events() if e["kind"] == "stream_end"}
    assert ends["a"] >= before["a"]["frames"]
    assert not [
        e for e in events() if e["stream_id"] == "a" and e["kind"] in ("gap", "input_error")
    ]
    for path in (*out.iterdir(), tmp_path / "said.txt"):
        assert SECRET.encode() not in path.read_bytes(), path
    gone = command("streams", "list", "-o", out)
    assert (gone.returncode, "is `streamer watch -o" in gone.stderr) == (2, True)


def test_a_token_of_ones_own_and_no_password_among_the_processes(tmp_path: Path) -> None:
    with feed() as server:
        address = f"http://me:{SECRET}@127.0.0.1:{server.port}/live?key={SECRET}"
        with watching(tmp_path, f"a={address}", STREAMER_TOKEN="1234567890abcdef") as process:
            assert "token" not in json.loads((tmp_path / "out" / "control.json").read_text())
            assert "set $STREAMER_TOKEN" in refused("list", "-o", tmp_path / "out")
            given = command(
                "streams", "list", "-o", tmp_path / "out", STREAMER_TOKEN="1234567890abcdef"
            )
            assert (given.returncode, "me:***@" in given.stdout) == (0, True), given.stderr
            title = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
            assert SECRET not in title
            assert "me:***@127.0.0.1" in title


def test_passwords_in_texts() -> None:
    text = "watch a=rtsp://me:x@y@h/1 b=http://h/p?key=x c=/dev/video0 rtsp://h:554/1 12:30 a@b"
    assert hidden(text) == (
        "watch a=rtsp://me:***@h/1 b=http://h/p?*** c=/dev/video0 rtsp://h:554/1 12:30 a@b"
    )


def test_names_in_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "of the environment")
    monkeypatch.delenv("NOWHERE", raising=False)
    assert expanded("$HERE ${THERE} $NOWHERE", {"THERE": "a$HERE"}) == (
        "of the environment a$HERE $NOWHERE"
    )


def test_nothing_of_a_stream_comes_behind_its_end() -> None:
    ring = Ring(2)
    for i in range(3):
        ring.put(frame(i))
    ring.put(StreamLeft(stream_id="a"))
    ring.put(frame(3))
    ring.put(frame(0, "b"))
    kinds = [type(i).__name__ for i in drained(ring)]
    assert kinds == ["Event", "Frame", "Frame", "StreamLeft", "Frame"]


def test_what_cannot_be_controlled(tmp_path: Path) -> None:
    source = LiveVideo({"a": "rtsp://h/1"})
    for address in ("port", "h:", "999999"):
        with pytest.raises(ConfigError, match="control: "):
            Control(source, tmp_path, address=address)
    with pytest.raises(ConfigError, match="short"):
        Control(source, tmp_path, token="1234")
    with pytest.raises(InputError, match="neither"):
        source.add("b", str(tmp_path / "film.mp4"))
    with (
        Control(source, tmp_path, no_more="subtitles of this run is for one stream") as control,
    ):
        request = urllib.request.Request(
            f"http://127.0.0.1:{control.port}/streams",
            data=b'{"name": "b", "address": "rtsp://h/2"}',
            headers={"Authorization": f"Bearer {control.token}"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert b"subtitles of this run" in caught.value.read()
        for body in (b"x", b"[]", b'{"name": 1, "address": "a"}', b'{"name": "a"}'):
            request.data = body
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=10)
            assert caught.value.code == 400


def test_on_ray_there_is_no_control(tmp_path: Path) -> None:
    (tmp_path / "live.yaml").write_text(CONFIG)
    pipeline = load_pipeline(
        tmp_path / "live.yaml", variables={"input": "rtsp://h/1", "out": str(tmp_path)}
    )
    with pytest.raises(ConfigError, match="not there with --ray"):
        controllable(pipeline, tmp_path, "9999", "local")
    same, serving = controllable(pipeline, tmp_path, None, "local")
    with serving:
        assert same is pipeline
        assert not (tmp_path / "control.json").exists()
