"""`streamer view`: what it prints, whom it serves, how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.view import is_loopback, listen, served_hosts
from streamer.errors import ConfigError, InputError
from tests.conftest import ROOT
from tests.streamer.viewer.viewed_runs import write_run


def test_it_serves_until_ctrl_c(tmp_path: Path) -> None:
    out = write_run(tmp_path / "out")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamer", "view", str(out), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"open (http://127\.0\.0\.1:\d+/)\?token=([\w-]{32})\n", line)
        assert match, line
        assert process.stdout.readline() == "Ctrl-C ends it\n"
        with urllib.request.urlopen(f"{match[1]}?token={match[2]}") as answer:
            assert b"Search the words" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(match[1])
        # somebody still watches when it is ended
        bearer = {"authorization": f"Bearer {match[2]}"}
        watching = urllib.request.urlopen(
            urllib.request.Request(f"{match[1]}api/live", headers=bearer)
        )
        assert watching.readline() == b"event: pulse\n"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert rest == ""  # no traceback
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_mistakes_are_named(tmp_path: Path) -> None:
    def view(*arguments: object) -> None:
        CliRunner().invoke(app, ["view", *map(str, arguments)], catch_exceptions=False)

    with pytest.raises(InputError, match="no such folder"):
        view(tmp_path / "none")
    with pytest.raises(InputError, match="give the folder that"):
        view(tmp_path)
    taken = listen("127.0.0.1", 0)
    try:
        port = taken.getsockname()[1]
        taken.listen()
        with pytest.raises(ConfigError, match="choose another --port"):
            view(write_run(tmp_path / "out"), "--port", port)
    finally:
        taken.close()


def test_names_that_are_served() -> None:
    assert served_hosts("127.0.0.1", 8080, []) == [
        "127.0.0.1:8080", "[::1]:8080", "localhost:8080",
    ]  # fmt: skip
    assert "cam.example:80" in served_hosts("10.0.0.7", 80, ["cam.example"])
    assert "cam.example" in served_hosts("10.0.0.7", 80, ["cam.example"])
    assert f"{socket.gethostname()}:9" in served_hosts("0.0.0.0", 9, [])
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "x.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip
