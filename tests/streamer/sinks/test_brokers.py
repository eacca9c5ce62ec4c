"""Every broker for real: killed and started again in the middle of a run, and the process that
delivers killed once. Every record arrives, once for those who keep ids, in order per stream."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamer.commands.deliver import deliver
from streamer.errors import OutputError
from streamer.records import Event, StreamInfo
from streamer.sinks.kafka import Kafka
from streamer.sinks.mqtt import Mqtt
from streamer.sinks.outbox import Outbox
from streamer.sinks.postgres import Postgres
from streamer.sinks.redis import Redis
from streamer.sinks.webhook import Webhook
from streamer.testing import check_sink
from tests.streamer.sinks.brokers import PostgresServer, RedisServer, wait_until
from tests.streamer.sinks.labs import LABS, KafkaLab, Lab, PostgresLab, RedisLab, WebhookLab
from tests.streamer.sinks.sink_records import caption

STREAMS = [
    StreamInfo(stream_id=name, uri=name, width_px=160, height_px=120) for name in ("gate", "yard")
]


@pytest.fixture(params=list(LABS))
def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    monkeypatch.setenv("PG_PASSWORD", "right")
    made = LABS[request.param](tmp_path / "broker")
    yield made
    made.close()


def seen(n: int) -> Event:
    """The n-th event, of the two streams in turn."""
    return Event(stream_id=("gate", "yard")[n % 2], time_ns=n * 10**9, kind="seen", data={"n": n})


def numbers(records: list[dict[str, Any]], *, ordered: bool) -> list[int]:
    """The numbers of the records without doubled ids, stream by stream in the order they came."""
    firsts: dict[str, dict[str, Any]] = {}
    for record in records:
        firsts.setdefault(record["id"], record)
    by_stream: dict[str, list[int]] = {}
    for record in firsts.values():
        by_stream.setdefault(record["stream_id"], []).append(record["data"]["n"])
    if ordered:
        for found in by_stream.values():
            assert found == sorted(found)
    return sorted(n for found in by_stream.values() for n in found)


def arrived(lab: Lab, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
    end_s = time.monotonic() + seconds
    while len(numbers(got := lab.got(), ordered=lab.ordered)) < count:
        assert time.monotonic() < end_s, f"{len(got)} of {count} records came"
        time.sleep(0.1)
    return got


def test_the_contract_of_sinks(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "a.outbox"
    records = [seen(n) for n in range(20)]

    def read_back() -> list[int]:
        return numbers(arrived(lab, 20), ordered=lab.ordered)

    make = lambda: lab.sink(str(path), **lab.settings)  # noqa: E731
    assert check_sink(make, STREAMS, records, read_back) == list(range(20))
    if isinstance(lab, PostgresLab):
        assert len(lab.got()) == 20


def outage(lab: Lab, tmp_path: Path, seconds: float) -> None:
    """A run in whose middle the broker is away."""
    sink = lab.sink(str(tmp_path / "a.outbox"), retry_s=2.0, drain_s=60.0, **lab.settings)
    sink.open(STREAMS)
    slowest_s = 0.0
    rounds = max(20, round(seconds * 10))

    def write(first: int, last: int, pause_s: float) -> None:
        nonlocal slowest_s
        for n in range(first, last):
            begun_s = time.perf_counter()
            sink.write(seen(n))
            slowest_s = max(slowest_s, time.perf_counter() - begun_s)
            time.sleep(pause_s)

    write(0, 50, 0.002)
    arrived(lab, 1)
    lab.begin()
    write(50, 50 + rounds, seconds / rounds)
    lab.end()
    write(50 + rounds, 100 + rounds, 0.002)
    begun_s = time.perf_counter()
    sink.close()
    closed_s = time.perf_counter() - begun_s
    outbox = Outbox(tmp_path / "a.outbox")
    waiting = outbox.waiting
    outbox.close()
    if waiting:  # its last attempt at the end of the run was too early: the next run delivers
        sink = lab.sink(str(tmp_path / "a.outbox"), retry_s=1.0, drain_s=60.0, **lab.settings)
        sink.open(STREAMS)
        wait_until(lambda: not sink.waiting, 60.0)
        sink.close()
    got = arrived(lab, 100 + rounds)
    assert numbers(got, ordered=lab.ordered) == list(range(100 + rounds))
    assert slowest_s < 2.0  # a dead broker does not hold the run back
    print(
        f"{type(lab).__name__}: {len(got)} came for {100 + rounds}, slowest write "
        f"{1000 * slowest_s:.1f} ms, closed in {closed_s:.1f} s, {waiting} left for the next run"
    )


def test_a_broker_that_is_killed_and_comes_back(lab: Lab, tmp_path: Path) -> None:
    outage(lab, tmp_path, 1.5)


@pytest.mark.slow
def test_a_broker_that_is_away_for_a_minute(lab: Lab, tmp_path: Path) -> None:
    outage(lab, tmp_path, 60.0)


_RUN = """
import json, sys
from tests.streamer.sinks.test_brokers import STREAMS, seen
from streamer.sinks import kafka, mqtt, postgres, redis, webhook
name, path, settings = sys.argv[1:]
module = {"Kafka": kafka, "Mqtt": mqtt, "Postgres": postgres, "Redis": redis, "Webhook": webhook}
sink = getattr(module[name], name)(path, **json.loads(settings))
sink.open(STREAMS)
for n in range(10**6):
    sink.write(seen(n))
    print(n, flush=True)
"""


def test_the_process_is_killed_while_it_delivers(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "a.outbox"
    arguments = [lab.sink.__name__, str(path), json.dumps(lab.settings)]
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    written = [int(next(lines)) for _ in range(500)]
    process.send_signal(signal.SIGKILL)
    written += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    assert deliver(tmp_path, dead=False, wait_s=30, json_path=None, quiet=True) == 0
    came = numbers(arrived(lab, len(written)), ordered=lab.ordered)
    assert came[: len(written)] == written
    assert len(came) <= len(written) + 1  # the last was put, and its number not yet said


def test_captions_wait_for_their_end_unless_wanted_at_once(tmp_path: Path) -> None:
    lab = WebhookLab(tmp_path)
    records = [caption(1.0), caption(1.0, 2.0)]
    for partial, ends in ((False, [2 * 10**9]), (True, [2 * 10**9, None, 2 * 10**9])):
        sink = Webhook(str(tmp_path / f"{partial}.outbox"), partial=partial, **lab.settings)
        sink.open(STREAMS)
        for record in records:
            sink.write(record)
        sink.close()
        assert [record["end_ns"] for record in lab.got()] == ends
    keys = [headers["idempotency-key"] for _, headers, _ in lab.service.requests]
    assert keys == [records[0].id, f"{records[0].id}-open", records[0].id]
    lab.close()


def put(lab: Lab, tmp_path: Path, *records: Any, **changes: Any) -> list[str]:
    """Send records and end; the reasons of the dead letters."""
    path = tmp_path / "a.outbox"
    sink = lab.sink(str(path), **{**lab.settings, "retry_s": 0.2, **changes})
    sink.open(STREAMS)
    for record in records:
        sink.write(record)
    sink.close()
    dead = path.with_name("a.outbox.dead.jsonl")
    lines = dead.read_text().splitlines() if dead.exists() else []
    return [json.loads(line)["reason"] for line in lines]


def odd(n: int, note: str) -> Event:
    return replace(seen(n), data={"n": n, "note": note})


@pytest.mark.parametrize("lab", ["postgres"], indirect=True)
def test_postgres_refuses_what_it_cannot_store(lab: Lab, tmp_path: Path) -> None:
    assert isinstance(lab, PostgresLab)
    (reason,) = put(lab, tmp_path, seen(0), odd(1, "a\0b"), odd(2, "'); DROP TABLE x; --"))
    assert "Unicode" in reason
    assert numbers(lab.got(), ordered=False) == [0, 2]
    assert lab.got()[1]["data"]["note"] == "'); DROP TABLE x; --"


@pytest.mark.parametrize("lab", ["kafka"], indirect=True)
def test_kafka_topics_have_legal_names(lab: Lab, tmp_path: Path) -> None:
    assert isinstance(lab, KafkaLab)
    odd_name = replace(seen(0), stream_id="Tür/1")
    assert put(lab, tmp_path, odd_name, topic="of.{stream}.{kind}") == []
    assert lab.got("of.T_r_1.seen")[0]["stream_id"] == "Tür/1"


@pytest.mark.parametrize("lab", ["kafka"], indirect=True)
def test_kafka_refuses_what_is_too_large(lab: Lab, tmp_path: Path) -> None:
    assert isinstance(lab, KafkaLab)
    (reason,) = put(lab, tmp_path, seen(0), odd(1, "x" * 1_100_000), seen(2))
    assert "too large" in reason
    assert numbers(lab.got(), ordered=True) == [0, 2]


@pytest.mark.parametrize("lab", ["redis"], indirect=True)
def test_redis_refuses_a_key_of_another_kind_and_keeps_to_its_length(
    lab: Lab, tmp_path: Path
) -> None:
    assert isinstance(lab, RedisLab)
    import redis

    with redis.Redis(port=lab.service.port) as client:
        client.set("streamer:gate", "something")
        reasons = put(lab, tmp_path, *(seen(n) for n in range(4)))
        assert reasons == ["streamer:gate is no stream there"] * 2
        client.delete("streamer:gate")
    assert deliver(tmp_path, dead=True, wait_s=30, json_path=None, quiet=True) == 0
    assert numbers(lab.got(), ordered=True) == [0, 1, 2, 3]
    put(lab, tmp_path, *(seen(2 * n) for n in range(1000)), max_length=100)
    with redis.Redis(port=lab.service.port) as client:
        assert 100 <= client.xlen("streamer:gate") < 300


@pytest.mark.parametrize("kind", ["redis", "postgres"])
def test_refused_credentials(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server: Any = RedisServer(tmp_path / "x", "right") if kind == "redis" else None
    server = server or PostgresServer(tmp_path / "x")
    sink: Any = Redis if kind == "redis" else Postgres
    path = tmp_path / "a.outbox"
    server.start()
    try:
        url = server.url.replace("$PG_PASSWORD", "$WORD").replace("//127", "//:$WORD@127")
        monkeypatch.setenv("WORD", "hunter2")
        made = sink(str(path), url=url, retry_s=0.2)
        made.open(STREAMS)
        made.write(seen(1))
        made.close()
        assert "refuses user or password" in caplog.text or "authentication failed" in caplog.text
        assert "1 records wait" in caplog.text
        assert "hunter2" not in caplog.text
        monkeypatch.setenv("WORD", "right")
        made = sink(str(path), url=url, retry_s=0.2)
        made.open(STREAMS)
        wait_until(lambda: not made.waiting)
        made.close()
    finally:
        getattr(server, "remove", server.kill)()
    assert not any(b"hunter2" in p.read_bytes() for p in tmp_path.glob("a.*"))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: Mqtt(p, url="http://x"), "mqtt:// or mqtts://HOST"),
        (lambda p: Mqtt(p, url="mqtt://a:b@x"), "has a password in it"),
        (lambda p: Mqtt(p, url="mqtt://x", topic="{strem}"), "{stream}, {record}, {kind}"),
        (lambda p: Mqtt(p, url="mqtt://x", topic="a/#"), "'#' may not stand in it"),
        (lambda p: Kafka(p, servers="x", topic="a/b"), "'/' may not stand in it"),
        (lambda p: Redis(p, url="redis:/x"), "redis:// or rediss://HOST"),
        (lambda p: Postgres(p, url="postgresql://x", table="a;b"), "wanted NAME or SCHEMA.NAME"),
        (lambda p: Kafka(p, servers=" "), "servers is empty"),
        (lambda p: Kafka(p, servers="x", options={"sasl.password": "b"}), "stands in the file"),
        (lambda p: Redis(p[:-1], url="redis://x"), "ends in .outbox"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        make(str(tmp_path / "a.outbox"))


def test_settings_that_librdkafka_does_not_know(tmp_path: Path) -> None:
    sink = Kafka(str(tmp_path / "a.outbox"), servers="127.0.0.1:1", options={"sasl.user": "x"})
    with pytest.raises(OutputError, match=r"kafka://127.0.0.1:1: No such configuration property"):
        sink.open(STREAMS)
    sink.close()


@pytest.mark.parametrize("sink", [Mqtt, Redis, Postgres, Webhook])
def test_a_host_that_does_not_exist(
    sink: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheme = {Mqtt: "mqtt", Redis: "redis", Postgres: "postgresql", Webhook: "https"}[sink]
    made = sink(str(tmp_path / "a.outbox"), url=f"{scheme}://no.such.host.invalid", retry_s=60.0)
    made.open(STREAMS)
    made.write(seen(1))
    made.close()
    first = caplog.messages[0]
    assert first.startswith(f"{scheme}://no.such.host.invalid: ")
    assert "not known" in first or "not found" in first or "resolve" in first
