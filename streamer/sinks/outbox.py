"""Records that wait on disk until a broker has taken them: SQLite, one file for each sink.

What `put` has come back for survives the process being killed. One process at a time may have an
outbox open; the system gives it back when that process ends, however it ends.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from streamer.errors import OutputError
from streamer.sinks.broker import Message

ENDING = ".outbox"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, stream_id TEXT NOT NULL,
    record TEXT NOT NULL, kind TEXT NOT NULL, unix_ns INTEGER, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS message_stream ON message (stream_id, seq);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_FIELDS = "seq, key, stream_id, record, kind, unix_ns, body"


class Outbox:
    """A queue on disk, in the order in which records were put; `close` it.

    Args:
        path: the file; it ends in .outbox. Records that a broker refuses for themselves go to
            PATH.dead.jsonl, with the reason.
        max_waiting: how many records may wait. When there are more, the oldest are dropped and
            counted: of a broker that is away for very long, the newest are worth most.

    Raises:
        OutputError: when the file cannot be written, is no outbox, or is in use.
    """

    def __init__(self, path: Path, max_waiting: int | None = None) -> None:
        self.path = path
        self.dead_path = path.with_name(f"{path.name}.dead.jsonl")
        self.max_waiting = max_waiting
        self.dropped = 0
        self.buried = 0
        self._lock = threading.Lock()
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=0.5, check_same_thread=False)
            self._db.isolation_level = None
            try:
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(_SCHEMA)
                self._waiting = int(self._db.execute("SELECT count(*) FROM message").fetchone()[0])
            except sqlite3.Error:
                self._db.close()
                raise

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return self._waiting

    @property
    def about(self) -> dict[str, Any]:
        """Which broker it is for; {} where nobody said."""
        with self._lock, self._writing():
            row = self._db.execute("SELECT value FROM about WHERE name = 'broker'").fetchone()
        return {} if row is None else dict(json.loads(row[0]))

    @about.setter
    def about(self, value: Mapping[str, Any]) -> None:
        with self._lock, self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO about VALUES ('broker', ?)", (json.dumps(value),)
            )

    def put(self, messages: Sequence[Message]) -> int:
        """Put records at the end, each that does not wait already; `seq` is given here. Returns
        how many were dropped for that."""
        with self._lock, self._writing(), self._transaction():
            for m in messages:
                values = (m.key, m.stream_id, m.record, m.kind, m.unix_ns, m.body)
                self._waiting += self._db.execute(
                    "INSERT OR IGNORE INTO message (key, stream_id, record, kind, unix_ns, body)"
                    " VALUES (?,?,?,?,?,?)",
                    values,
                ).rowcount
            over = 0 if self.max_waiting is None else max(0, self._waiting - self.max_waiting)
            if over:
                self._db.execute(
                    "DELETE FROM message WHERE seq IN (SELECT seq FROM message ORDER BY seq"
                    " LIMIT ?)",
                    (over,),
                )
                self._waiting -= over
                self.dropped += over
        return over

    def oldest(
        self, count: int, *, of: str | None = None, apart_from: Collection[str] = ()
    ) -> list[Message]:
        """The records that have waited longest, in order; those of one stream, or of all streams
        apart from some."""
        if of is not None:
            where, values = "WHERE stream_id = ?", [of]
        elif apart_from:
            marks = ",".join("?" * len(apart_from))
            where, values = f"WHERE stream_id NOT IN ({marks})", list(apart_from)
        else:
            where, values = "", []
        with self._lock, self._writing():
            rows = self._db.execute(
                f"SELECT {_FIELDS} FROM message WHERE seq IN"
                f" (SELECT seq FROM message {where} ORDER BY seq LIMIT ?) ORDER BY seq",
                (*values, count),
            ).fetchall()
        names = _FIELDS.split(", ")
        return [Message(**dict(zip(names, row, strict=True))) for row in rows]

    def settle(self, messages: Sequence[Message], refused: Mapping[int, str]) -> None:
        """The broker has taken these; those it refused go to the dead letters first."""
        for message in messages:
            if message.seq in refused:
                self._bury(message, refused[message.seq])
        with self._lock, self._writing(), self._transaction():
            for message in messages:  # some may have been dropped in the meantime
                self._waiting -= self._db.execute(
                    "DELETE FROM message WHERE seq = ?", (message.seq,)
                ).rowcount

    def revive(self) -> int:
        """Let the dead letters wait again, behind what waits; how many there were.

        Raises:
            OutputError: naming the line that is no dead letter.
        """
        aside = self.dead_path.with_name(f".{self.dead_path.name}.again")
        with self._writing():
            if self.dead_path.is_file():  # what a break in between has left aside comes first
                text = self.dead_path.read_text(encoding="utf-8")
                with aside.open("a", encoding="utf-8") as file:
                    file.write(text)
                self.dead_path.unlink()
            if not aside.is_file():
                return 0
            lines = aside.read_text(encoding="utf-8").splitlines()
        messages = [_message(f"{self.dead_path}:{n}", line) for n, line in enumerate(lines, 1)]
        before = self._waiting
        self.put(messages)
        aside.unlink()
        return self._waiting - before

    def flush(self) -> None:
        """After this, everything put so far survives a power failure too."""
        with self._lock, self._writing():
            self._db.execute("PRAGMA wal_checkpoint(FULL)")

    def close(self) -> None:
        """Give the file back."""
        with self._lock, self._writing():
            self._db.close()

    def _bury(self, message: Message, reason: str) -> None:
        line = {
            "reason": reason,
            "refused_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "key": message.key,
            "stream_id": message.stream_id,
            "record": message.record,
            "kind": message.kind,
            "unix_ns": message.unix_ns,
            "body": json.loads(message.body),
        }
        with self._writing(), self.dead_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.buried += 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        before = self._waiting
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._waiting = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise OutputError(
                    f"{self.path} is in use by another run; wait for it, or give each its own"
                ) from None
            raise OutputError(
                f"{self.path} cannot be written ({error}); free space or choose another folder"
            ) from None
        except sqlite3.DatabaseError as error:
            raise OutputError(
                f"{self.path} is no outbox ({error}); choose another file, or move it away"
            ) from None
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}); free space or choose another "
                "folder"
            ) from None


def _message(place: str, line: str) -> Message:
    try:
        data = json.loads(line)
        names = ("key", "stream_id", "record", "kind", "unix_ns")
        body = json.dumps(data["body"], ensure_ascii=False, separators=(",", ":"))
        return Message(seq=0, body=body, **{name: data[name] for name in names})
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{place}: no dead letter ({error}); correct or remove the line"
        ) from None
