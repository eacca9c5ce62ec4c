"""Redis streams."""

from __future__ import annotations

from collections.abc import Sequence
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
)
from streamer.sinks.delivered import Delivered

if TYPE_CHECKING:
    from redis import Redis as Client

_SCHEMES = ("redis", "rediss")
_NOTHING = r"(?!)"  # any text is a key
_TIMEOUT_S = 10.0


class RedisBroker(Broker):
    """Appends to streams (XADD): the fields id, stream_id, record, kind, and json, which is the
    record. A batch is one transaction.

    Args:
        url: redis://USER:$PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS.
        key: of the stream; {stream}, {record} (caption, event) and {kind} in it are filled in.
        max_length: about how many entries a stream keeps, the oldest go; 0: all.
    """

    def __init__(self, url: str, key: str = "streamer:{stream}", max_length: int = 100_000) -> None:
        checked_url(url, _SCHEMES)
        checked_pattern(key, "key", _NOTHING)
        if max_length < 0:
            raise ValueError(f"max_length is {max_length}; at least 0")
        self.shown = shown_url(url)
        self._url = url
        self._key = key
        self._max_length = max_length
        self._client: Client | None = None

    def ready(self) -> None:
        needs("redis", "brokers", self.shown)
        address_of(self._url, _SCHEMES, self.shown)

    def connect(self) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        address = address_of(self._url, _SCHEMES, self.shown)
        database = address.path.strip("/") or "0"
        if not database.isdigit():
            raise UnavailableError("is no address of Redis: its path is the number of a database")
        self._client = redis.Redis(
            host=address.host,
            port=address.port or 6379,
            db=int(database),
            username=address.user or None,
            password=address.password,
            ssl=address.scheme == "rediss",
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the courier tries again
        )
        try:
            self._client.ping()
        except (redis.RedisError, OSError) as error:
            raise UnavailableError(_reason(error)) from None

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        import redis

        if self._client is None:
            raise UnavailableError("is not connected")
        pipeline = self._client.pipeline(transaction=True)
        for message in messages:
            fields: dict[Any, Any] = {
                "id": message.key,
                "stream_id": message.stream_id,
                "record": message.record,
                "kind": message.kind,
                "json": message.body,
            }
            key = filled(self._key, message, _NOTHING)
            pipeline.xadd(key, fields, maxlen=self._max_length or None, approximate=True)
        try:
            answers = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            raise UnavailableError(_reason(error)) from None
        refused: dict[int, str] = {}
        for message, answer in zip(messages, answers, strict=True):
            if isinstance(answer, Exception):
                if "WRONGTYPE" not in str(answer):
                    raise UnavailableError(_reason(answer))
                refused[message.seq] = f"{filled(self._key, message, _NOTHING)} is no stream there"
        return refused

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


class Redis(Delivered):
    """Captions and events to Redis streams; see `Delivered` for how, `RedisBroker` for where."""

    broker = RedisBroker


def _reason(error: Exception) -> str:
    import redis

    if isinstance(error, redis.AuthenticationError) or "NOAUTH" in str(error):
        return "refuses user or password"
    if isinstance(error, redis.TimeoutError):
        return "does not answer"
    if isinstance(error, (redis.ConnectionError, OSError)):
        return f"cannot be reached ({error})"
    return f"takes nothing ({error})"
