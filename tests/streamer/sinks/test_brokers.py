"""Every broker for real: killed and started again in the middle of a run, and the process that
delivers killed once. Every record arrives, once for those who keep ids, in order per stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.records import Event, StreamInfo
from streamer.sinks.delivered import Delivered
from streamer.sinks.kafka import Kafka
from streamer.sinks.mqtt import Mqtt
from streamer.sinks.outbox import Outbox
from streamer.sinks.postgres import Postgres
from streamer.sinks.redis import Redis
from streamer.sinks.webhook import Webhook
from streamer.testing import check_sink
from tests.streamer.sinks.brokers import (
    KafkaCluster,
    Mosquitto,
    MqttConsumer,
    PostgresServer,
    Receiver,
    RedisServer,
    wait_until,
)
from tests.streamer.sinks.sink_records import caption

STREAMS = [
    StreamInfo(stream_id=name, uri=name, width_px=160, height_px=120) for name in ("gate", "yard")
]
KINDS = ["mqtt", "webhook", "redis", "postgres", "kafka"]


class Lab:
    """A broker, the sink for it, and what a consumer of it has got: the records in the order in
    which they came, doubled ones too."""

    sink: type[Delivered]
    ordered = True

    def __init__(self, folder: Path) -> None:
        self.service: Any = None
        self.settings: dict[str, Any] = {}

    def begin(self) -> None:
        """The broker is away: killed."""
        self.service.kill()

    def end(self) -> None:
        self.service.start()

    def got(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def close(self) -> None:
        self.service.kill()


class MqttLab(Lab):
    sink = Mqtt

    def __init__(self, folder: Path) -> None:
        self.service = Mosquitto(folder)
        self.service.start()
        self.settings = {"url": self.service.url}
        self.consumer = MqttConsumer(self.service.port)

    def got(self) -> list[dict[str, Any]]:
        return list(self.consumer.received)

    def close(self) -> None:
        self.consumer.close()
        super().close()


class WebhookLab(Lab):
    sink = Webhook

    def __init__(self, folder: Path) -> None:
        self.service = Receiver()
        self.service.start()
        self.settings = {"url": self.service.url, "allow_private": True}

    def got(self) -> list[dict[str, Any]]:
        return [event["data"] for event in self.service.received]


class RedisLab(Lab):
    sink = Redis

    def __init__(self, folder: Path) -> None:
        self.service = RedisServer(folder)
        self.service.start()
        self.settings = {"url": self.service.url}

    def got(self) -> list[dict[str, Any]]:
        import redis

        with redis.Redis(port=self.service.port, decode_responses=True) as client:
            keys = sorted(client.keys("streamer:*"))
            return [json.loads(row["json"]) for key in keys for _, row in client.xrange(key)]


class PostgresLab(Lab):
    sink = Postgres
    ordered = False  # a table has no order

    def __init__(self, folder: Path) -> None:
        os.environ["PG_PASSWORD"] = "right"
        self.service = PostgresServer(folder)
        self.service.start()
        self.settings = {"url": self.service.url}

    def got(self) -> list[dict[str, Any]]:
        import psycopg

        address = self.service.url.replace("$PG_PASSWORD", "right")
        with psycopg.connect(address) as connection:
            rows = connection.execute(
                "SELECT body FROM streamer_record ORDER BY stream_id, time_ns"
            )
            return [row[0] for row in rows]

    def close(self) -> None:
        self.service.remove()


class KafkaLab(Lab):
    sink = Kafka

    def __init__(self, folder: Path) -> None:
        self.service = KafkaCluster(folder)
        self.service.start()
        self.settings = {"servers": self.service.servers}

    def begin(self) -> None:
        self.service.freeze()

    def got(self) -> list[dict[str, Any]]:
        from confluent_kafka import Consumer

        consumer = Consumer(
            {
                "bootstrap.servers": self.service.servers,
                "group.id": str(time.monotonic_ns()),
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        consumer.subscribe(["streamer"])
        records, quiet_since_s = [], time.monotonic()
        while time.monotonic() - quiet_since_s < 2.0 or not consumer.assignment():
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                records.append(json.loads(message.value() or b""))
                quiet_since_s = time.monotonic()
            assert time.monotonic() - quiet_since_s < 30
        consumer.close()
        return records


@pytest.fixture(params=KINDS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    labs: dict[str, Callable[[Path], Lab]] = {
        "mqtt": MqttLab, "webhook": WebhookLab, "redis": RedisLab, "postgres": PostgresLab,
        "kafka": KafkaLab,
    }  # fmt: skip
    made = labs[request.param](tmp_path / "broker")
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
    assert slowest_s < 1.0  # a dead broker does not hold the run back
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
    delivered = subprocess.run(
        [sys.executable, "-m", "streamer", "deliver", str(tmp_path), "--wait", "30"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert delivered.returncode == 0, delivered.stderr
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
