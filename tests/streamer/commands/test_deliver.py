"""`streamer deliver`, and runs whose broker is away or refuses: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.sinks.outbox import Outbox
from tests.media_factory import write_film
from tests.streamer.sinks.brokers import Receiver, running, wait_until

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """\
source: {{use: streamer.sources.video_file.VideoFile, with: {{path: "{film}"}}}}
steps:
  mark: {{use: tests.streamer.example_parts.Mark, with: {{every: 1}}}}
sinks:
  - use: streamer.sinks.webhook.Webhook
    name: hook
    with: {{outbox: "{out}/a.outbox", url: "{url}", allow_private: true, secret: $HOOK_SECRET}}
  - {{use: streamer.sinks.jsonl.JsonLines, with: {{path: "{out}/a.jsonl"}}}}
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.receiver = Receiver()
        self.config = folder / "a.yaml"
        film = write_film(folder / "a.mp4", range(0, 12000, 40))
        self.config.write_text(CONFIG.format(film=film, out=self.out, url=self.receiver.url))
        self.env = {**os.environ, "HOOK_SECRET": "s3cr3t-key"}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "streamer", *map(str, arguments)], cwd=ROOT, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def streamer(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        assert "s3cr3t-key" not in out + err
        return process.returncode, out, err

    @property
    def kept(self) -> list[str]:
        """The ids in the JSON Lines file beside the webhook."""
        lines = (self.out / "a.jsonl").read_text().splitlines()
        return [json.loads(line)["id"] for line in lines]

    @property
    def came(self) -> list[str]:
        """The ids that came, without what a consumer knows already."""
        return list(dict.fromkeys(event["id"] for event in self.receiver.received))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.receiver.kill()


def test_what_a_run_could_not_send_is_delivered_later(place: Place) -> None:
    code, _, err = place.streamer("run", place.config, "-q")
    assert code == 0
    told = [line for line in err.splitlines() if place.receiver.url.removesuffix("/hook") in line]
    assert "cannot be reached (Connection refused)" in told[0]
    assert f"`streamer deliver {place.out}/a.outbox` sends them" in told[-1]
    assert len(told) == 2
    assert len(place.kept) == 301  # the other sink goes on

    code, out, _ = place.streamer("deliver", place.out, "--wait", "1")
    assert code == 3
    assert "0 delivered" in out
    assert "301 wait: it cannot be reached (Connection refused)" in out

    place.receiver.start()
    code, out, _ = place.streamer("deliver", place.out, "--json", place.out / "d.json")
    assert code == 0
    assert "301 delivered to http://127.0.0.1" in out
    assert place.came == place.kept
    (delivery,) = json.loads((place.out / "d.json").read_text())
    assert (delivery["delivered"], delivery["waiting"]) == (301, 0)

    code, out, _ = place.streamer("deliver", place.out)
    assert code == 0
    assert "nothing waits" in out
    assert b"s3cr3t-key" not in (place.out / "a.outbox").read_bytes()


def test_dead_letters_are_replayed(place: Place) -> None:
    odd: set[str] = set()

    def answer(_: str, body: bytes) -> tuple[int, dict[str, str]]:
        event: Any = json.loads(body)
        if event["data"]["time_ns"] in (40_000_000, 400_000_000):
            odd.add(event["id"])
            return 422, {}
        return 200, {}

    place.receiver.answers = answer
    with running(place.receiver):
        code, _, err = place.streamer("run", place.config, "-q")
        assert code == 0
        assert "refuses 1 records for themselves (answer 422)" in err
        assert len(place.came) == 299
        code, out, _ = place.streamer("deliver", place.out, "--dead")
        assert code == 3
        assert "2 refused (see " in out
        assert len((place.out / "a.outbox.dead.jsonl").read_text().splitlines()) == 2
        place.receiver.answers = lambda *_: (200, {})
        code, out, _ = place.streamer("deliver", place.out, "--dead")
        assert code == 0
        assert "2 delivered" in out
    assert set(place.came) == set(place.kept)
    assert set(place.came[-2:]) == odd
    assert not (place.out / "a.outbox.dead.jsonl").exists()


def test_a_run_that_is_killed_and_run_again(place: Place) -> None:
    place.receiver.start()
    process = place.start("run", place.config, "-q")
    wait_until(lambda: len(place.receiver.received) >= 20, 60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = len(place.came)
    assert first < 301
    code, _, err = place.streamer("deliver", place.out)
    assert code == 0, err
    assert len(place.came) >= first
    code, _, err = place.streamer("run", place.config, "-q")
    assert code == 0, err
    assert place.came == place.kept  # each once, and in order
    assert len(place.came) == 301


def test_mistakes_are_one_line(place: Place, tmp_path: Path) -> None:
    def mistake(*arguments: object) -> str:
        code, _, err = place.streamer(*arguments)
        assert code == 2, err
        (line,) = err.strip().splitlines()
        assert line.startswith("error: ")
        return line

    assert "no *.outbox in it" in mistake("deliver", tmp_path)
    del place.env["HOOK_SECRET"]
    assert "the environment has no HOOK_SECRET; set it" in mistake("run", place.config, "-q")
    url = mistake("run", place.config, "--set", "hook.url=ftp://x")
    assert "a.yaml:5: Webhook: url is no address that begins with http:// or https://HOST" in url
    assert "Webhook has no 'secrets'" in mistake("run", place.config, "--set", "hook.secrets=a")
    (tmp_path / "b.outbox").write_text("no outbox at all" * 100)
    assert "is no outbox" in mistake("deliver", tmp_path / "b.outbox")
    outbox = Outbox(tmp_path / "c.outbox")
    assert "c.outbox is in use by another run" in mistake("deliver", tmp_path / "c.outbox")
    outbox.about = {"broker": "subprocess.Popen", "settings": {"args": ["touch", "x"]}}
    outbox.close()
    assert "does not say for which broker" in mistake("deliver", tmp_path / "c.outbox")
