"""One broker each with the sink for it, and what its consumer has got."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamer.sinks.delivered import Delivered
from streamer.sinks.kafka import Kafka
from streamer.sinks.mqtt import Mqtt
from streamer.sinks.postgres import Postgres
from streamer.sinks.redis import Redis
from streamer.sinks.webhook import Webhook
from tests.streamer.sinks.brokers import (
    KafkaCluster,
    Mosquitto,
    MqttConsumer,
    PostgresServer,
    Receiver,
    RedisServer,
)


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
        self.service = PostgresServer(folder)
        self.service.start()
        self.settings = {"url": self.service.url}

    def got(self) -> list[dict[str, Any]]:
        import psycopg

        address = self.service.url.replace("$PG_PASSWORD", "right")
        statement = "SELECT body FROM streamer_record ORDER BY stream_id, time_ns"
        try:
            with psycopg.connect(address) as connection:
                return [row[0] for row in connection.execute(statement)]
        except psycopg.errors.UndefinedTable:  # the sink has not made it yet
            return []

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

    def got(self, topic: str = "streamer") -> list[dict[str, Any]]:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        settings = {"bootstrap.servers": self.service.servers, "group.id": "g", "log_level": 0}
        consumer = Consumer({**settings, "enable.partition.eof": True})
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in partitions])
        records, ended = [], 0
        while ended < len(partitions):
            message = consumer.poll(20)
            assert message is not None
            if message.error() is None:
                records.append(json.loads(message.value() or b""))
            else:
                ended += 1
        consumer.close()
        return records


LABS: dict[str, type[Lab]] = {
    "mqtt": MqttLab,
    "webhook": WebhookLab,
    "redis": RedisLab,
    "postgres": PostgresLab,
    "kafka": KafkaLab,
}
