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
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import StreamerError
from streamer.sinks.outbox import Outbox
from tests.media_factory import write_film
from tests.streamer.sinks.brokers import Receiver, running, wait_until
from tests.streamer.sinks.test_outbox import message

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

    def deliver(self, *arguments: object, exits: int) -> str:
        """What `streamer deliver` says, in this process."""
        command = ["deliver", str(self.out), *map(str, arguments)]
        done = CliRunner().invoke(app, command, env=self.env, catch_exceptions=False)
        assert done.exit_code == exits, done.output
        assert "s3cr3t-key" not in done.output
        return done.stdout

    def streamer(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output, standard error, of a process."""
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

    out = place.deliver("--wait", "1", exits=3)
    assert "0 delivered" in out
    assert "301 wait: it cannot be reached (Connection refused)" in out

    place.receiver.start()
    code, out, _ = place.streamer("deliver", place.out, "--json", place.out / "d.json")
    assert code == 0
    assert "301 delivered to http://127.0.0.1" in out
    assert place.came == place.kept
    (delivery,) = json.loads((place.out / "d.json").read_text())
    assert (delivery["delivered"], delivery["waiting"]) == (301, 0)

    assert "nothing waits" in place.deliver(exits=0)
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
        assert err.count("refuses a record for itself (answer 422)") == 1
        assert "refused 2 records for themselves; `streamer deliver --dead" in err
        assert len(place.came) == 299
        assert "2 refused (see " in place.deliver("--dead", exits=3)
        assert len((place.out / "a.outbox.dead.jsonl").read_text().splitlines()) == 2
        place.receiver.answers = lambda *_: (200, {})
        assert "2 delivered" in place.deliver("--dead", exits=0)
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
    place.deliver(exits=0)
    assert len(place.came) >= first
    code, _, err = place.streamer("run", place.config, "-q")
    assert code == 0, err
    assert place.came == place.kept  # each once, and in order
    assert len(place.came) == 301


def test_a_missing_secret_is_one_line(place: Place) -> None:
    del place.env["HOOK_SECRET"]
    code, _, err = place.streamer("run", place.config, "-q")
    assert code == 2
    (line,) = err.strip().splitlines()
    assert line.startswith("error: http://127.0.0.1:")
    assert line.endswith("the environment has no HOOK_SECRET; set it: export HOOK_SECRET=...")


def test_mistakes(place: Place, tmp_path: Path) -> None:
    def mistake(*arguments: object) -> str:
        with pytest.raises(StreamerError) as caught:
            CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no *.outbox in it" in mistake("deliver", tmp_path)
    url = mistake("run", place.config, "--set", "hook.url=ftp://x")
    assert "a.yaml:5: Webhook: url is no address that begins with http:// or https://HOST" in url
    assert "Webhook has no 'secrets'" in mistake("run", place.config, "--set", "hook.secrets=a")


def test_outboxes_that_cannot_be_used_do_not_keep_the_others(place: Place) -> None:
    place.out.mkdir()
    (place.out / "a.outbox").write_text("no outbox at all" * 100)
    busy = Outbox(place.out / "b.outbox")
    odd = Outbox(place.out / "c.outbox")
    odd.about = {"broker": "subprocess.Popen", "settings": {"args": ["touch", "x"]}}
    odd.close()
    good = Outbox(place.out / "d.outbox")
    settings = {"url": place.receiver.url, "allow_private": True}
    good.about = {"broker": "streamer.sinks.webhook.WebhookBroker", "settings": settings}
    good.put([message(1)])
    good.close()
    with running(place.receiver):
        place.deliver("--json", place.out / "d.json", exits=2)
    busy.close()
    found = json.loads((place.out / "d.json").read_text())
    reasons = ("a.outbox is no outbox", "b.outbox is in use by another run", "does not say", "")
    for delivery, reason in zip(found, reasons, strict=True):
        assert reason in delivery["reason"]
        assert delivery["delivered"] == (not reason)
    assert len(place.receiver.received) == 1
