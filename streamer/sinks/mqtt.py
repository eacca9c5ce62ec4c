"""MQTT, version 5, at QoS 1."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Condition
from typing import TYPE_CHECKING, Any

from streamer.sinks.broker import (
    Broker,
    Message,
    UnavailableError,
    address_of,
    checked_pattern,
    checked_url,
    filled,
    needs,
    shown_url,
    trusted,
)
from streamer.sinks.delivered import Delivered

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_SCHEMES = ("mqtt", "mqtts")
_LEVEL = r"[+#/\0]"  # what may not stand in a level of a topic
_TIMEOUT_S = 10.0
_FOR_ITSELF = {0x95, 0x99}  # packet too large, payload format invalid


class MqttBroker(Broker):
    """Publishes the records' JSON; done when the broker has acknowledged it (PUBACK).

    Args:
        url: mqtt://USER:$PASSWORD@HOST:PORT, or mqtts:// for TLS.
        topic: where to; {stream}, {record} (caption, event) and {kind} in it are filled in, with
            "_" for the characters that mean something in topics.
        client_id: "" lets the broker choose one.
        retain: let the broker keep the last record of each topic for those who come later.
        ca: a PEM file of the authorities that may vouch for the broker, in place of the usual ones.
    """

    def __init__(
        self,
        url: str,
        topic: str = "streamer/{stream}/{kind}",
        client_id: str = "",
        retain: bool = False,
        ca: str = "",
    ) -> None:
        checked_url(url, _SCHEMES)
        checked_pattern(topic, "topic", r"[+#\0]")
        self.shown = shown_url(url)
        self._url = url
        self._topic = topic
        self._client_id = client_id
        self._retain = retain
        self._ca = ca
        self._client: Client | None = None
        self._news = Condition()
        self._connected: str | None = None  # None: no answer yet, "": yes, else why not
        self._largest_bytes: int | None = None
        self._acknowledged: dict[int, int] = {}

    def ready(self) -> None:
        needs("paho.mqtt.client", "brokers", self.shown)
        address_of(self._url, _SCHEMES, self.shown)
        trusted(self._ca, self.shown)

    def connect(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        address = address_of(self._url, _SCHEMES, self.shown)
        tls = address.scheme == "mqtts"
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,  # the courier connects again, and sends again
        )
        client.max_queued_messages_set(0)
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if tls:
            client.tls_set_context(trusted(self._ca, self.shown))
        client.connect_timeout = _TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._client, self._connected, self._acknowledged = client, None, {}
        try:
            client.connect(address.host, address.port or (8883 if tls else 1883), keepalive=30)
        except (OSError, ValueError) as error:
            raise UnavailableError(f"cannot be reached ({_plain(error)})") from None
        client.loop_start()
        with self._news:
            self._news.wait_for(lambda: self._connected is not None, _TIMEOUT_S)
            if self._connected is None:
                raise UnavailableError("does not answer")
            if self._connected:
                raise UnavailableError(f"refuses the connection ({self._connected})")

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        client = self._client
        if client is None:
            raise UnavailableError("is not connected")
        refused: dict[int, str] = {}
        sent: dict[int, Message] = {}
        with self._news:
            self._acknowledged = {}
        for message in messages:
            topic = filled(self._topic, message, _LEVEL)
            body = message.body.encode()
            try:
                if self._largest_bytes and len(body) + len(topic) + 16 > self._largest_bytes:
                    raise ValueError(f"larger than the {self._largest_bytes} bytes it takes")
                info = client.publish(topic, body, qos=1, retain=self._retain)
            except ValueError as error:
                refused[message.seq] = str(error)
                continue
            sent[info.mid] = message
        end_s = time.monotonic() + _TIMEOUT_S
        with self._news:
            while len(self._acknowledged) < len(sent) and not self._connected:
                before = len(self._acknowledged)
                self._news.wait(max(0.0, end_s - time.monotonic()))
                if len(self._acknowledged) > before:
                    end_s = time.monotonic() + _TIMEOUT_S  # it is slow, but at work
                elif time.monotonic() >= end_s:
                    raise UnavailableError("does not acknowledge what it is sent")
            if len(self._acknowledged) < len(sent):
                raise UnavailableError(f"broke the connection ({self._connected})")
            answers = {sent[mid].seq: code for mid, code in self._acknowledged.items()}
        return refused | _refused(answers)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        with self._news:
            self._largest_bytes = getattr(properties, "MaximumPacketSize", None)
            self._connected = str(code) if code.is_failure else ""
            self._news.notify_all()

    def _on_disconnect(
        self, client: Any, data: Any, flags: Any, code: Any, properties: Any
    ) -> None:
        with self._news:
            self._connected = self._connected or str(code)
            self._news.notify_all()

    def _on_publish(self, client: Any, data: Any, mid: int, code: Any, properties: Any) -> None:
        with self._news:
            self._acknowledged[mid] = int(code.value)
            self._news.notify_all()


class Mqtt(Delivered):
    """Captions and events to an MQTT broker; see `Delivered` for how, `MqttBroker` for where."""

    broker = MqttBroker


def _refused(answers: dict[int, int]) -> dict[int, str]:
    refused = {}
    for seq, code in answers.items():
        if code in _FOR_ITSELF:
            refused[seq] = "too large for it" if code == 0x95 else "not in the format it wants"
        elif code >= 0x80:
            reasons = {0x87: "its credentials may not write to this topic", 0x97: "quota exceeded"}
            raise UnavailableError(f"takes nothing ({reasons.get(code, f'reason code {code:#x}')})")
    return refused


def _plain(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
