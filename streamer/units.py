"""The units of a batch in a SQLite file: what is waiting, running, done, set aside, and why."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from streamer.errors import OutputError
from streamer.records import record_id

State = Literal["waiting", "running", "done", "failed"]
FILE_NAME = "catalog.sqlite"

_TABLE = """
CREATE TABLE IF NOT EXISTS units (
    id TEXT PRIMARY KEY, input TEXT NOT NULL, stem TEXT NOT NULL UNIQUE,
    variables TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    not_before_s REAL NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    config TEXT NOT NULL DEFAULT '', stamp TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0, report TEXT NOT NULL DEFAULT '')
"""
_COLUMNS = "id, input, stem, variables, state, attempts, reason, config, stamp"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """An input with its place in the catalog.

    `stem` names its outputs. `config` and `stamp` are fingerprints of the configuration and of
    the input with which it was done; `reason` says what went wrong last.
    """

    id: str
    input: str
    stem: str
    variables: Mapping[str, str] = field(default_factory=dict)
    state: State = "waiting"
    attempts: int = 0
    reason: str = ""
    config: str = ""
    stamp: str = ""


class Units:
    """The catalog of a batch; every change is on disk when the method returns.

    Args:
        folder: where the outputs lie; made if it does not exist.

    Raises:
        OutputError: when the catalog cannot be opened, or another process works with it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._guard = (folder / ".catalog.lock").open("a+")
        except OSError as error:
            raise OutputError(
                f"{folder} cannot be written ({error.strerror}); choose another folder"
            ) from None
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._guard.close()
            raise OutputError(
                f"{folder} is being worked on by another process; wait for it, or choose another "
                "folder"
            ) from None
        try:
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_TABLE)
            self._db.execute("UPDATE units SET state = 'waiting' WHERE state = 'running'")
        except sqlite3.Error as error:
            self._guard.close()
            raise OutputError(
                f"{self.path} is not a catalog that can be used ({error}); move it away"
            ) from None

    def close(self) -> None:
        """Let others work with the catalog."""
        self._db.close()
        self._guard.close()

    def add(self, wanted: Sequence[tuple[str, str, Mapping[str, str]]]) -> list[Unit]:
        """Put inputs into the catalog, each as (input, stem, variables), unless they are there.

        An input that has changed since it was done, or whose variables have, waits again; one that
        is a URL is not looked at. Two inputs never share a stem.

        Returns:
            The units, in the order given.
        """
        with self._changing():
            for source, stem, variables in wanted:
                unit_id = record_id("unit", source)
                text = json.dumps(dict(variables), sort_keys=True)
                known = self._one("SELECT stamp, state, variables FROM units WHERE id = ?", unit_id)
                if known is None:
                    taken = self._one("SELECT 1 FROM units WHERE stem = ?", stem)
                    self._db.execute(
                        "INSERT INTO units (id, input, stem, variables, state) "
                        "VALUES (?, ?, ?, ?, 'waiting')",
                        (unit_id, source, f"{stem}-{unit_id[:6]}" if taken else stem, text),
                    )
                    continue
                if known[1] == "done" and known[0] != stamp(source):
                    self._set(unit_id, state="waiting", attempts=0, reason="the input has changed")
                elif known[1] == "done" and known[2] != text:
                    reason = "its variables have changed"
                    self._set(unit_id, state="waiting", attempts=0, reason=reason)
                self._set(unit_id, variables=text)
        return [self.get(record_id("unit", source)) for source, _, _ in wanted]

    def get(self, unit_id: str) -> Unit:
        """A unit by its id."""
        row = self._one(f"SELECT {_COLUMNS} FROM units WHERE id = ?", unit_id)
        if row is None:
            raise KeyError(unit_id)
        return _unit(row)

    def all(self, state: State | None = None) -> list[Unit]:
        """All units, or those in a state, in the order in which they came."""
        where = "" if state is None else "WHERE state = ?"
        arguments = () if state is None else (state,)
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM units {where} ORDER BY rowid", arguments
            ).fetchall()
        return [_unit(row) for row in rows]

    def take(self, ids: Sequence[str]) -> tuple[Unit | None, float]:
        """The next of some units that waits and is due, now running; else None, and in how many
        seconds one will be due (infinite: never)."""
        now_s = time.time()
        wanted = set(ids)
        with self._changing():
            rows = self._db.execute(
                f"SELECT {_COLUMNS}, not_before_s FROM units WHERE state = 'waiting' "
                "ORDER BY not_before_s > ?, rowid",
                (now_s,),
            ).fetchall()
            rows = [row for row in rows if row[0] in wanted]
            due = next((row for row in rows if row[-1] <= now_s), None)
            if due is None:
                return None, min((row[-1] - now_s for row in rows), default=float("inf"))
            self._set(due[0], state="running")
        return _unit(due[:-1]), 0.0

    def done(self, unit: Unit, *, config: str, seconds: float, report: Mapping[str, Any]) -> None:
        """A unit's outputs are in their place; `report["input_errors"]` may say what is missing."""
        reason = "; ".join(report.get("input_errors", ()))
        with self._changing():
            self._set(
                unit.id,
                state="done",
                config=config,
                stamp=stamp(unit.input),
                reason=reason,
                seconds=seconds,
                report=json.dumps(report),
            )

    def failed(self, unit: Unit, reason: str, *, retry_in_s: float | None) -> None:
        """A unit could not be done: it waits for another try, or is set aside."""
        with self._changing():
            self._set(
                unit.id,
                state="failed" if retry_in_s is None else "waiting",
                attempts=unit.attempts + 1,
                not_before_s=time.time() + (retry_in_s or 0.0),
                reason=reason,
            )

    def wait_again(self, units: Sequence[Unit]) -> None:
        """Units are to be done as if for the first time."""
        with self._changing():
            for unit in units:
                self._set(unit.id, state="waiting", attempts=0, not_before_s=0.0)

    def _set(self, unit_id: str, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE units SET {names} WHERE id = ?", (*values.values(), unit_id))

    def _one(self, query: str, *arguments: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(query, arguments).fetchone()
        return row

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise OutputError(f"{self.path} cannot be written ({error})") from None
                raise


def stamp(source: str) -> str:
    """What tells that a file has changed: its size and time; "" where there is no file."""
    try:
        status = os.stat(source)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _unit(row: Sequence[Any]) -> Unit:
    unit_id, source, stem, variables, state, attempts, reason, config, seen = row
    return Unit(
        id=unit_id,
        input=source,
        stem=stem,
        variables=json.loads(variables),
        state=state,
        attempts=attempts,
        reason=reason,
        config=config,
        stamp=seen,
    )
