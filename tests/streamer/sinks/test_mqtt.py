"""MQTT, with a real mosquitto."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.records import Event
from streamer.sinks.mqtt import Mqtt
from streamer.sinks.outbox import Outbox
from tests.streamer.sinks.brokers import (
    Mosquitto,
    MqttConsumer,
    certificate,
    program,
    running,
    wait_until,
)
from tests.streamer.sinks.sink_records import STREAM, caption, event


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(Mosquitto(tmp_path / "mosquitto")) as service:
        yield service


def test_records_arrive_under_their_topics(broker: Mosquitto, tmp_path: Path) -> None:
    consumer = MqttConsumer(broker.port)
    sink = Mqtt(str(tmp_path / "a.outbox"), url=broker.url, topic="streamer/{stream}/{kind}")
    sink.open([STREAM])
    odd = Event(stream_id="a/b+#", time_ns=5, kind="line", data={"rule": "Straße"})
    records = [caption(1.0, 2.0), event(3.0, "cut"), odd]
    for record in records:
        sink.write(record)
    sink.close()
    wait_until(lambda: len(consumer.received) == 3)
    consumer.close()
    assert consumer.received == [record.to_json() for record in records]
    assert consumer.topics == ["streamer/test/caption", "streamer/test/cut", "streamer/a_b__/line"]


def test_too_large_a_record_is_a_dead_letter(tmp_path: Path) -> None:
    settings = "allow_anonymous true\nmax_packet_size 2000"
    with running(Mosquitto(tmp_path / "mosquitto", settings)) as broker:
        consumer = MqttConsumer(broker.port)
        sink = Mqtt(str(tmp_path / "a.outbox"), url=broker.url)
        sink.open([STREAM])
        for record in (event(1.0, "cut"), event(2.0, "cut", note="x" * 3000), event(3.0, "cut")):
            sink.write(record)
        sink.close()
        wait_until(lambda: len(consumer.received) == 2)
        consumer.close()
    assert "2000 bytes" in (tmp_path / "a.outbox.dead.jsonl").read_text()


def test_refused_credentials_are_told_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = tmp_path / "passwords"
    tool = program("mosquitto_passwd")
    subprocess.run([tool, "-b", "-c", str(passwords), "me", "right p@ss/"], check=True)
    with running(Mosquitto(tmp_path / "m", f"password_file {passwords}")) as broker:
        url = f"mqtt://me:$SECRET_WORD@127.0.0.1:{broker.port}"
        monkeypatch.setenv("SECRET_WORD", "hunter2")
        sink = Mqtt(str(tmp_path / "a.outbox"), url=url, retry_s=0.2)
        sink.open([STREAM])
        sink.write(event(1.0, "cut"))
        wait_until(lambda: "refuses the connection" in caplog.text)
        sink.close()
        assert f"mqtt://127.0.0.1:{broker.port}: refuses" in caplog.text
        assert "1 records wait" in caplog.text
        assert "hunter2" not in caplog.text
        assert b"hunter2" not in (tmp_path / "a.outbox").read_bytes()
        monkeypatch.setenv("SECRET_WORD", "right p@ss/")
        sink = Mqtt(str(tmp_path / "a.outbox"), url=url)
        sink.open([STREAM])  # and what waited goes first
        sink.close()
    outbox = Outbox(tmp_path / "a.outbox")
    assert outbox.waiting == 0
    outbox.close()


def test_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cert, key = certificate(tmp_path, "localhost")
    settings = f"allow_anonymous true\ncertfile {cert}\nkeyfile {key}"
    with running(Mosquitto(tmp_path / "mosquitto", settings)) as broker:
        url = f"mqtts://localhost:{broker.port}"
        sink = Mqtt(str(tmp_path / "a.outbox"), url=url, ca=str(cert))
        sink.open([STREAM])
        sink.write(event(1.0, "cut"))
        sink.close()
        assert not caplog.messages
        sink = Mqtt(str(tmp_path / "a.outbox"), url=url)
        sink.open([STREAM])
        sink.write(event(2.0, "cut"))
        sink.close()
        assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
