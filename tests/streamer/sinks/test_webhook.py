"""Webhooks, with a real web server on loopback; the addresses that are refused."""

from __future__ import annotations

import base64
import email.utils
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from streamer.errors import OutputError
from streamer.records import StreamInfo
from streamer.sinks.targets import is_public
from streamer.sinks.webhook import Webhook, retry_after_s
from tests.streamer.sinks.brokers import (
    Receiver,
    certificate,
    free_port,
    running,
    valid_signature,
    wait_until,
)
from tests.streamer.sinks.sink_records import STREAM, caption, event


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as service:
        yield service


def hook(receiver: Receiver, tmp_path: Path, **settings: Any) -> Webhook:
    settings = {"url": receiver.url, "allow_private": True, "retry_s": 0.1, **settings}
    return Webhook(str(tmp_path / "a.outbox"), **settings)


def send(sink: Webhook, *records: Any, streams: Any = (STREAM,)) -> None:
    sink.open(streams)
    for record in records:
        sink.write(record)
    sink.close()


def test_records_arrive_as_signed_cloud_events(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = b"0123456789abcdef01234567"
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(key).decode())
    monkeypatch.setenv("TOKEN", "t0ken")
    records = [caption(1.0, 2.0, "ein rotes Fahrrad, außen"), event(3.0, "cut")]
    headers = {"Authorization": "Bearer $TOKEN"}
    send(hook(receiver, tmp_path, secret="$HOOK_SECRET", headers=headers), *records)
    assert [r["data"] for r in receiver.received] == [record.to_json() for record in records]
    for (_, headers, body), record in zip(receiver.requests, records, strict=True):
        assert headers["idempotency-key"] == record.id
        assert headers["authorization"] == "Bearer t0ken"
        assert headers["host"] == f"127.0.0.1:{receiver.port}"
        assert valid_signature(key, headers, body)
        assert not valid_signature(key, headers, body + b" ")
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        parsed = from_structured_event(HTTPMessage(headers=headers, body=body))
        assert parsed.get_id() == record.id
        assert parsed.get_data() == record.to_json()
        assert "time" not in json.loads(body)  # media time is none of the clock's
    assert [r["type"] for r in receiver.received] == [
        "osprey-streamer.caption",
        "osprey-streamer.event.cut",
    ]


def test_live_streams_tell_the_time(receiver: Receiver, tmp_path: Path) -> None:
    live = StreamInfo(stream_id="test", uri="x", width_px=2, height_px=2, begin_ns=10**18)
    send(
        hook(receiver, tmp_path),
        replace(event(0.0, "cut"), time_ns=1_700_000_000_250_000_999),
        streams=[live],
    )
    assert receiver.received[0]["time"] == "2023-11-14T22:13:20.250000Z"


def test_later_means_later_and_no_means_no(receiver: Receiver, tmp_path: Path) -> None:
    answers = iter([503, 429, 200, 422, 500, 200])
    receiver.answers = lambda *_: (next(answers), {"retry-after": "0"})
    sink = hook(receiver, tmp_path)
    sink.open([STREAM])
    for n in range(3):
        sink.write(event(float(n), "cut"))
    wait_until(lambda: len(receiver.received) == 2)
    sink.close()
    assert [r["data"]["time_ns"] for r in receiver.received] == [0, 2 * 10**9]
    (line,) = (tmp_path / "a.outbox.dead.jsonl").read_text().splitlines()
    dead = json.loads(line)
    assert (dead["reason"], dead["body"]["time_ns"]) == ("answer 422", 10**9)


def test_a_full_outbox_is_told_and_keeps_the_newest(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = lambda *_: (503, {"retry-after": "60"})
    send(hook(receiver, tmp_path, max_waiting=5), *(event(float(n), "cut") for n in range(12)))
    assert "a.outbox is full (5 records); the oldest are dropped" in caplog.text
    assert "a.outbox was full: 7 records were dropped" in caplog.text
    assert caplog.text.count("is full") == 1
    receiver.answers = lambda *_: (200, {})
    send(hook(receiver, tmp_path))
    assert [r["data"]["time_ns"] for r in receiver.received] == [n * 10**9 for n in range(7, 12)]


def test_retry_after_is_kept(receiver: Receiver, tmp_path: Path) -> None:
    answers = iter([(503, {"retry-after": "1"}), (200, {})])
    at_s: list[float] = []

    def answer(*_: object) -> tuple[int, dict[str, str]]:
        at_s.append(time.monotonic())
        return next(answers)

    receiver.answers = answer
    sink = hook(receiver, tmp_path)
    sink.open([STREAM])
    sink.write(event(1.0, "cut"))
    wait_until(lambda: receiver.received)
    sink.close()
    assert at_s[1] - at_s[0] >= 1.0
    assert retry_after_s("7") == 7.0
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 25 < retry_after_s(date) < 31
    assert retry_after_s("soon") == retry_after_s("") == 0.0


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_an_answer_that_any_record_would_get_keeps_them_waiting(
    receiver: Receiver, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = lambda *_: (status, {})
    send(hook(receiver, tmp_path), event(1.0, "cut"))
    assert f"answers {status}; " in caplog.text
    assert "1 records wait" in caplog.text
    receiver.answers = lambda *_: (200, {})
    send(hook(receiver, tmp_path))
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.1.2.3",
             "192.168.1.1", "172.16.0.9", "100.64.0.1", "[fe80::1]", "[fd00::1]",
             "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1"],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(
    tmp_path: Path, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    with running(receiver):
        url = f"http://{host}:{receiver.port}/hook"
        send(Webhook(str(tmp_path / "a.outbox"), url=url), event(1.0, "cut"))
    assert "not of the public internet; allow_private: true allows it" in caplog.text
    assert not receiver.requests


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("224.0.0.1", False), ("240.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("::", False), ("ff02::1", False),
        ("fe80::1%eth0", False), ("255.255.255.255", False), ("198.18.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_name_that_changes_its_mind_is_caught(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The check and the connection use one answer of the resolver, asked anew each time."""
    asked: list[str] = []
    answers = iter(["93.184.215.14", "127.0.0.1"])

    def lookup(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    connected: list[str] = []

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", connect)
    url = f"http://rebinding.example:{receiver.port}/"
    sink = Webhook(str(tmp_path / "a.outbox"), url=url, retry_s=0.1)
    sink.open([STREAM])
    sink.write(event(1.0, "cut"))
    wait_until(lambda: "not of the public internet" in caplog.text)
    monkeypatch.undo()
    sink.close()
    assert connected == ["93.184.215.14"]  # the public one was tried, the other never
    assert asked[:2] == ["rebinding.example"] * 2
    assert not receiver.requests


def test_redirects_are_followed_when_they_keep_the_record(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "t0ken")
    with running(Receiver()) as other:
        receiver.answers = lambda *_: (307, {"location": other.url})
        headers = {"Authorization": "Bearer $TOKEN"}
        send(hook(receiver, tmp_path, headers=headers), event(1.0, "cut"))
        assert len(other.received) == 1
        assert "authorization" in receiver.requests[0][1]
        assert "authorization" not in other.requests[0][1]  # it is for the first host only


def test_redirects_are_checked_too(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The first address passes for public; where it redirects to does not."""
    from streamer.sinks import targets

    real = targets.is_public
    monkeypatch.setattr(targets, "is_public", lambda a: a == "127.0.0.1" or real(a))
    for location in ("http://169.254.169.254/latest/meta-data", "http://[::1]/", "ftp://x/y", "@"):
        caplog.clear()
        receiver.answers = lambda *_, to=location: (308, {"location": to})
        send(hook(receiver, tmp_path, allow_private=False), event(1.0, "cut"))
        assert "not of the public internet" in caplog.text or "redirects" in caplog.text
    receiver.answers = lambda *_: (308, {"location": "/hook"})
    caplog.clear()
    send(hook(receiver, tmp_path), event(1.0, "cut"))
    assert "redirects in a circle" in caplog.text


def test_tls_checks_the_name_although_the_address_is_pinned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    right, wrong = (certificate(tmp_path, host) for host in ("localhost", "other.example"))
    with running(Receiver(right)) as receiver:
        send(hook(receiver, tmp_path, ca=str(right[0])), event(1.0, "cut"))
        assert len(receiver.received) == 1
        assert receiver.names == ["localhost"]
        assert receiver.requests[0][1]["host"] == f"localhost:{receiver.port}"
        assert not caplog.messages
        send(hook(receiver, tmp_path), event(2.0, "cut"))  # nobody known vouches for it
        assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
        assert len(receiver.received) == 1
    caplog.clear()
    with running(Receiver(wrong)) as receiver:
        send(hook(receiver, tmp_path, ca=str(wrong[0])), event(1.0, "cut"))
        assert "Hostname mismatch" in caplog.text
        assert not receiver.received
    with pytest.raises(OutputError, match=r"localhost\.key cannot be read"):
        hook(receiver, tmp_path, ca=str(right[1])).open([STREAM])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "ftp://x"}, "http:// or https://HOST"),
        ({"url": "http://me:secret@x"}, "has a password in it"),
        ({"url": "http://x:99999"}, "no address"),
        ({"url": "http://x", "secret": "abc"}, "stands in the file"),
        ({"url": "http://x", "headers": {"Authorization": "Bearer abc"}}, "stands in the file"),
        ({"url": "http://x", "retry_s": 0.0}, "more than 0"),
        ({"url": "http://x", "max_waiting": 0}, "at least 1"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Webhook(str(tmp_path / "a.outbox"), **settings)
    assert "secret@" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    sink = Webhook(str(tmp_path / "a.outbox"), url="https://example.org", secret="$NO_SUCH_SECRET")
    with pytest.raises(OutputError, match="environment has no NO_SUCH_SECRET"):
        sink.open([STREAM])
    sink.close()


def test_an_address_from_the_environment_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{free_port()}/T0/S3CR3T?key=K3Y")
    sink = Webhook(str(tmp_path / "a.outbox"), url="$HOOK_URL", allow_private=True)
    send(sink, event(1.0, "cut"))
    assert "$HOOK_URL: cannot be reached (Connection refused)" in caplog.text
    kept = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    for secret in ("S3CR3T", "K3Y"):
        assert secret not in caplog.text
        assert secret.encode() not in kept


def test_a_host_that_does_not_exist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    send(Webhook(str(tmp_path / "a.outbox"), url="https://no.such.host.invalid"), event(1.0, "cut"))
    assert "https://no.such.host.invalid: has a host that is not found" in caplog.text
