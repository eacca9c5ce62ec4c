"""PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamer.sinks.broker import (
    Broker,
    Message,
    UnavailableError,
    address_of,
    checked_url,
    needs,
    shown_url,
)
from streamer.sinks.delivered import Delivered

if TYPE_CHECKING:
    from psycopg import Connection

_SCHEMES = ("postgresql", "postgres")
_TIMEOUT_S = 10


class PostgresBroker(Broker):
    """Upserts into a table by the record's id; a batch is one transaction.

    The table is made when it is missing: id, stream_id, record (caption, event), kind, track_id,
    time_ns (a caption's start), end_ns, text, and body, which is the record as jsonb; stream_id
    and time_ns are indexed.

    Args:
        url: postgresql://USER:$PASSWORD@HOST:PORT/DATABASE
        table: its name, with a schema before it or without.
    """

    def __init__(self, url: str, table: str = "streamer_record") -> None:
        checked_url(url, _SCHEMES)
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", table, re.ASCII):
            raise ValueError(f"table is {table!r}; wanted NAME or SCHEMA.NAME")
        self.shown = shown_url(url)
        self._url = url
        self._table = table
        self._connection: Connection[Any] | None = None

    def ready(self) -> None:
        needs("psycopg", "brokers", self.shown)
        address_of(self._url, _SCHEMES, self.shown)

    def connect(self) -> None:
        import psycopg

        address = address_of(self._url, _SCHEMES, self.shown)
        path, _, query = address.path.partition("?")
        try:
            more = dict(part.split("=", 1) for part in query.split("&") if part)
            settings: dict[str, Any] = {
                "host": address.host,
                "port": address.port or 5432,
                "dbname": path.strip("/") or None,
                "user": address.user,
                "password": address.password,
                "connect_timeout": _TIMEOUT_S,
                "application_name": "streamer",
                "options": f"-c statement_timeout={_TIMEOUT_S * 1000}",
                "tcp_user_timeout": _TIMEOUT_S * 1000,
                **more,
            }
            self._connection = psycopg.connect(**settings)
            for statement in _made(self._table):
                self._connection.execute(statement)
            self._connection.commit()
        except (psycopg.Error, ValueError) as error:
            raise UnavailableError(_reason(error)) from None

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        import psycopg

        connection = self._connection
        if connection is None:
            raise UnavailableError("is not connected")
        refused: dict[int, str] = {}
        try:
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.executemany(_upsert(self._table), [_row(m) for m in messages])
            except (psycopg.DataError, psycopg.IntegrityError):
                refused = self._one_by_one(connection, messages)
            connection.commit()
        except psycopg.Error as error:
            raise UnavailableError(_reason(error)) from None
        return refused

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _one_by_one(
        self, connection: Connection[Any], messages: Sequence[Message]
    ) -> dict[int, str]:
        import psycopg

        refused = {}
        for message in messages:
            try:
                with connection.transaction():
                    connection.execute(_upsert(self._table), _row(message))
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                refused[message.seq] = _reason(error)
        return refused


class Postgres(Delivered):
    """Captions and events to PostgreSQL; see `Delivered` for how, `PostgresBroker` for where."""

    broker = PostgresBroker


def _made(table: str) -> list[Any]:
    index = table.replace(".", "_")
    return [
        f"CREATE TABLE IF NOT EXISTS {table} (id text PRIMARY KEY, stream_id text NOT NULL,"
        " record text NOT NULL, kind text NOT NULL, track_id bigint, time_ns bigint NOT NULL,"
        " end_ns bigint, text text, body jsonb NOT NULL)",
        f"CREATE INDEX IF NOT EXISTS {index}_by_time ON {table} (stream_id, time_ns)",
    ]


def _upsert(table: str) -> Any:
    names = ("id", "stream_id", "record", "kind", "track_id", "time_ns", "end_ns", "text", "body")
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"
        f" ON CONFLICT (id) DO UPDATE SET {changed}"
    )


def _row(message: Message) -> tuple[Any, ...]:
    data = json.loads(message.body)
    time_ns = data["start_ns"] if message.record == "caption" else data["time_ns"]
    return (
        data["id"], message.stream_id, message.record, message.kind, data["track_id"], time_ns,
        data.get("end_ns"), data.get("text"), message.body,
    )  # fmt: skip


def _reason(error: Exception) -> str:
    """The first line: what follows may tell the values of a row."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
