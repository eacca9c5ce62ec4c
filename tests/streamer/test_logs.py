"""Logs as JSON lines: of a film, of a batch, of a camera; and never a password."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.logs import LoggedLines, listen, log, log_record
from streamer.records import Event
from tests.media_factory import write_film
from tests.streamer.commands.test_streams import CONFIG as LIVE
from tests.streamer.sources.live_feeds import feed
from tests.streamer.test_batch import CONFIG


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    file, before = io.StringIO(), (log.handlers, log.propagate, log.level)
    listen(file)
    yield file
    log.handlers, log.propagate = before[:2]
    log.setLevel(before[2])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_a_line_holds(heard: io.StringIO) -> None:
    gap = Event(stream_id="gate", time_ns=5, kind="gap", data={"reason": "rtsp://a:b@h/1 broke"})
    log_record(gap)
    log_record(Event(stream_id="gate", time_ns=5, kind="track_start", track_id=1))
    log.warning("a worker died", extra={"step": "track"})
    print("stopping: once more\nto break", file=LoggedLines())
    first, second, third = lines(heard.getvalue())[:3]
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "warning", "message": "gap: rtsp://a:***@h/1 broke", "stream_id": "gate",
        "record_id": gap.id, "kind": "gap", "time_ns": 5,
    }  # fmt: skip
    assert (second["step"], second["level"]) == ("track", "warning")
    assert third["message"] == "stopping: once more"
    log.setLevel(logging.DEBUG)
    log_record(Event(stream_id="gate", time_ns=5, kind="track_start", track_id=1))
    assert lines(heard.getvalue())[-1]["track_id"] == 1


def said(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [sys.executable, "-m", "streamer", *map(str, arguments), "--log-format", "json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, lines(done.stderr)


def test_a_batch(tmp_path: Path) -> None:
    (tmp_path / "batch.yaml").write_text(CONFIG)
    write_film(tmp_path / "good.mp4", range(0, 200, 40))
    (tmp_path / "bad.mp4").write_text("no film")
    code, logged = said(
        "run", tmp_path / "batch.yaml", "--inputs", f"{tmp_path}/*.mp4", "-o", tmp_path / "out",
        "--attempts", 1,
    )  # fmt: skip
    assert code == 2
    units = {line["stem"]: (line["level"], line["state"]) for line in logged if "stem" in line}
    assert units == {"good": ("info", "done"), "bad": ("warning", "failed")}
    assert any(line.get("kind") == "stream_end" and line["record_id"] for line in logged)


def test_a_camera_and_its_password(tmp_path: Path) -> None:
    (tmp_path / "live.yaml").write_text(LIVE)
    with feed() as server:
        code, logged = said(
            "watch", f"a=http://me:s3cret@127.0.0.1:{server.port}/live?k=s3cret", "-o",
            tmp_path / "out", "-c", tmp_path / "live.yaml", "--for", 2,
        )  # fmt: skip
    assert code == 0
    assert "s3cret" not in json.dumps(logged)
    assert {"stream_id": "a", "kind": "stream_end"}.items() <= logged[-1].items() or any(
        line.get("kind") == "stream_end" and line["stream_id"] == "a" for line in logged
    )


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    code, (line,) = said("run", "quickstart", "--var", "input=none.mp4", "--var", "out=x",
                         "--var", "stem=x")  # fmt: skip
    assert (code, line["level"]) == (2, "error")
    assert "none.mp4" in line["message"]
