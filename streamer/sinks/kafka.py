"""Apache Kafka, through librdkafka."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from streamer.errors import OutputError
from streamer.sinks.broker import (
    Broker,
    Message,
    UnavailableError,
    checked_pattern,
    checked_secret,
    filled,
    from_environment,
    needs,
)
from streamer.sinks.delivered import Delivered

if TYPE_CHECKING:
    from confluent_kafka import Producer

_ILLEGAL = r"[^A-Za-z0-9._-]"  # in names of topics
_TIMEOUT_S = 10.0
_SECRETS = ("password", "secret", "key.pem", "jaas")


class KafkaBroker(Broker):
    """Produces the records' JSON with the stream's name as key, so that the records of a stream
    stay in one partition and in order; idempotent, so that the broker drops what a connection that
    breaks makes the client send twice. Done when all in-sync replicas have it.

    Args:
        servers: HOST:PORT of one or more brokers, separated by commas.
        topic: where to; {stream}, {record} (caption, event) and {kind} in it are filled in.
        options: more settings of librdkafka, such as security.protocol, sasl.username and
            sasl.password. $NAME in text is taken from the environment; what is secret has to be.
    """

    def __init__(
        self,
        servers: str,
        topic: str = "streamer",
        options: dict[str, str | int | bool] | None = None,
    ) -> None:
        if not servers.strip():
            raise ValueError("servers is empty; give HOST:PORT of a broker")
        checked_pattern(topic, "topic", _ILLEGAL)
        for name, value in (options or {}).items():
            if any(word in name for word in _SECRETS) and isinstance(value, str):
                checked_secret(value, f"options: {name}")
        self.shown = f"kafka://{servers}"
        self._servers = servers
        self._topic = topic
        self._options = options or {}
        self._producer: Producer | None = None
        self._trouble = ""

    def ready(self) -> None:
        module = needs("confluent_kafka", "brokers", self.shown)
        try:
            module.Producer(self._settings())
        except (module.KafkaException, TypeError) as error:
            reason = error.args[0]
            said = reason.str() if hasattr(reason, "str") else str(error)
            raise OutputError(f"{self.shown}: {said}; correct its settings") from None

    def connect(self) -> None:
        from confluent_kafka import KafkaException, Producer

        self._trouble = ""
        self._producer = Producer(self._settings())
        try:
            self._producer.list_topics(timeout=_TIMEOUT_S)
        except KafkaException as error:
            reason = self._trouble or error.args[0].str()
            raise UnavailableError(f"cannot be reached ({reason})") from None

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        from confluent_kafka import KafkaException

        producer = self._producer
        if producer is None:
            raise UnavailableError("is not connected")
        answers: dict[int, Any] = {}
        refused: dict[int, str] = {}
        for message in messages:
            try:
                producer.produce(
                    filled(self._topic, message, _ILLEGAL),
                    message.body.encode(),
                    key=message.stream_id.encode(),
                    headers={"id": message.key, "record": message.record, "kind": message.kind},
                    on_delivery=partial(_answered, answers, message.seq),
                )
            except KafkaException as error:  # larger than message.max.bytes
                if not _for_itself(error.args[0]):
                    raise UnavailableError(error.args[0].str()) from None
                refused[message.seq] = error.args[0].str()
        wanted = len(messages) - len(refused)
        end_s = time.monotonic() + _TIMEOUT_S
        while len(answers) < wanted:
            before = len(answers)
            producer.poll(0.1)
            if len(answers) > before:
                end_s = time.monotonic() + _TIMEOUT_S  # it is slow, but at work
            elif time.monotonic() > end_s:
                raise UnavailableError(self._trouble or "does not acknowledge what it is sent")
        for seq, answer in answers.items():
            if answer is not None:
                if not _for_itself(answer):
                    raise UnavailableError(f"takes nothing ({answer.str()})")
                refused[seq] = str(answer.str())
        return refused

    def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # what was under way is sent again by the next: it must not come after that
            producer.purge()
            producer.poll(0)

    def _settings(self) -> dict[str, Any]:
        def value(given: str | int | bool) -> str | int | bool:
            return from_environment(given, self.shown) if isinstance(given, str) else given

        return {
            "message.max.bytes": 1_000_000,
            **{name: value(given) for name, given in self._options.items()},
            "bootstrap.servers": value(self._servers),
            "enable.idempotence": True,
            # a record of a batch that timed out alone would arrive behind those after it
            "message.timeout.ms": 0,
            "linger.ms": 5,
            "error_cb": self._on_error,
            "log_level": 0,
        }

    def _on_error(self, error: Any) -> None:
        self._trouble = error.str()


class Kafka(Delivered):
    """Captions and events to Kafka; see `Delivered` for how, `KafkaBroker` for where."""

    broker = KafkaBroker


def _answered(answers: dict[int, Any], seq: int, error: Any, _: Mapping[str, Any]) -> None:
    answers[seq] = error


def _for_itself(error: Any) -> bool:
    from confluent_kafka import KafkaError

    return error.code() in (
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
    )
