"""A receiver that takes some records and not others: nothing else waits for those for ever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamer.records import Event
from streamer.sinks import webhook
from streamer.sinks.webhook import Webhook
from tests.streamer.sinks.brokers import Receiver, running, wait_until
from tests.streamer.sinks.sink_records import STREAM, event

Answer = tuple[int, dict[str, str]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as service:
        yield service


def hook(receiver: Receiver, tmp_path: Path, **settings: Any) -> Webhook:
    settings = {"url": receiver.url, "allow_private": True, "retry_s": 0.05, **settings}
    return Webhook(str(tmp_path / "a.outbox"), **settings)


def seen(n: int, stream_id: str) -> Event:
    return replace(event(float(n), "seen"), stream_id=stream_id)


def took(receiver: Receiver, stream_id: str) -> list[int]:
    """The numbers of a stream's records in the order in which they were taken."""
    return [
        r["data"]["time_ns"] // 10**9
        for r in receiver.received
        if r["data"]["stream_id"] == stream_id
    ]


def dead(tmp_path: Path) -> list[tuple[str, int, str]]:
    path = tmp_path / "a.outbox.dead.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    letters = [json.loads(line) for line in lines]
    return [(d["stream_id"], d["body"]["time_ns"] // 10**9, d["reason"]) for d in letters]


def number_and_stream(body: bytes) -> tuple[int, str]:
    data = json.loads(body)["data"]
    return data["time_ns"] // 10**9, data["stream_id"]


def test_one_record_is_given_up_and_its_stream_goes_on_in_order(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(_: str, body: bytes) -> Answer:
        return (500 if number_and_stream(body) in ((2, "a"), (3, "a")) else 204), {}

    receiver.answers = answer
    sink = hook(receiver, tmp_path)
    sink.open([STREAM])
    for n in range(7):
        sink.write(seen(n, "a"))
    wait_until(lambda: not sink.waiting)
    sink.close()
    assert took(receiver, "a") == [0, 1, 4, 5, 6]
    assert [(s, n) for s, n, _ in dead(tmp_path)] == [("a", 2), ("a", 3)]
    for _, _, reason in dead(tmp_path):
        assert reason.startswith("answers 500 (")
        assert int(reason.partition("(")[2].split()[0]) >= 8
    assert "refuses a record for itself (answers 500 (" in caplog.text
    tries = [number_and_stream(body)[0] for _, _, body in receiver.requests]
    assert tries.count(4) == tries.count(6) == 1  # nothing was sent twice that was taken


def test_a_stream_that_is_refused_keeps_only_itself_waiting(
    receiver: Receiver, tmp_path: Path
) -> None:
    well = threading.Event()

    def answer(_: str, body: bytes) -> Answer:
        _, stream_id = number_and_stream(body)
        return (204 if well.is_set() or stream_id == "b" else 503), {}

    receiver.answers = answer
    sink = hook(receiver, tmp_path)
    sink.open([STREAM])
    for n in range(20):
        for stream_id in ("a", "b"):
            sink.write(seen(n, stream_id))
    wait_until(lambda: len(took(receiver, "b")) == 20)
    assert took(receiver, "a") == []
    time.sleep(1.5)  # long beyond eight attempts
    assert not dead(tmp_path)  # that nothing of it is taken is no fault of a record's
    well.set()
    wait_until(lambda: not sink.waiting)
    sink.close()
    assert took(receiver, "b") == list(range(20))
    # one that was tried behind the others when it came back may be the first
    assert sorted(took(receiver, "a")) == list(range(20))
    assert took(receiver, "a")[1:] == sorted(took(receiver, "a")[1:])


def test_a_receiver_that_is_away_costs_no_record(receiver: Receiver, tmp_path: Path) -> None:
    """What stands in for it meanwhile answers 502 to all, far more than eight times."""
    receiver.answers = lambda *_: (502, {})
    sink = hook(receiver, tmp_path)
    sink.open([STREAM])
    for n in range(10):
        for stream_id in ("a", "b", "c"):
            sink.write(seen(n, stream_id))
    wait_until(lambda: len(receiver.requests) > 100)
    receiver.answers = lambda *_: (204, {})
    wait_until(lambda: not sink.waiting)
    sink.close()
    assert not dead(tmp_path)
    for stream_id in ("a", "b", "c"):
        # one that was tried behind the others when it came back may be the first
        assert sorted(took(receiver, stream_id)) == list(range(10))
        assert took(receiver, stream_id)[1:] == sorted(took(receiver, stream_id)[1:])


def test_what_is_not_taken_for_too_long_is_given_up_in_any_case(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = lambda *_: (503, {})
    sink = hook(receiver, tmp_path, give_up_s=0.4)
    sink.open([STREAM])
    for n in range(3):
        sink.write(seen(n, "a"))
    wait_until(lambda: len(dead(tmp_path)) == 3)
    sink.close()
    assert [(s, n) for s, n, _ in dead(tmp_path)] == [("a", 0), ("a", 1), ("a", 2)]
    assert all(reason.startswith("answers 503 (") for _, _, reason in dead(tmp_path))


@pytest.mark.parametrize("drip", [False, True])
def test_a_receiver_that_hangs_for_one_stream_does_not_stop_others(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drip: bool
) -> None:
    """It says nothing, or a byte now and then, which no limit on single reads notices."""
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 5.0 if drip else 0.3)
    monkeypatch.setattr(webhook, "_LIMIT_S", 0.6)
    over = threading.Event()

    def answer(_: str, body: bytes) -> Answer:
        if number_and_stream(body) != (0, "a"):
            return 204, {}
        if drip:
            connection = next(iter(c for c in list(receiver._open) if c.fileno() >= 0))
            for byte in b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 100:
                connection.sendall(bytes([byte]))
                if over.wait(0.1):
                    break
        else:
            over.wait(60.0)
        return 204, {}

    receiver.answers = answer
    sink = hook(receiver, tmp_path)
    sink.open([STREAM])
    for n in range(4):
        for stream_id in ("a", "b"):
            sink.write(seen(n, stream_id))
    begun_s = time.monotonic()
    wait_until(lambda: len(took(receiver, "b")) == 4)
    assert time.monotonic() - begun_s < 5.0
    assert 1 not in took(receiver, "a")
    over.set()
    sink.close()


def test_the_end_of_a_run_does_not_wait_for_a_refused_stream(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(_: str, body: bytes) -> Answer:
        return (503 if number_and_stream(body)[1] == "a" else 204), {}

    receiver.answers = answer
    sink = hook(receiver, tmp_path, retry_s=60.0, drain_s=30.0)
    sink.open([STREAM])
    for n in range(5):
        for stream_id in ("a", "b"):
            sink.write(seen(n, stream_id))
    begun_s = time.monotonic()
    sink.close()
    assert time.monotonic() - begun_s < 10.0
    assert took(receiver, "b") == list(range(5))
    assert "5 records wait in" in caplog.text
