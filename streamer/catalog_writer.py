"""Writes the catalog of a folder of results: SQLite with full-text search over captions.

One file holds many streams; a stream that is run again replaces what it had. It is written in WAL
mode, so that it can be searched while a run goes on. Masks are COCO run-length codes, times
integer nanoseconds of media time.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import OutputError
from streamer.records import Caption, Event, Region, StreamInfo
from streamer.words import read_caption

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stream (
    stream_id TEXT PRIMARY KEY, uri TEXT NOT NULL, width_px INTEGER NOT NULL,
    height_px INTEGER NOT NULL, fps REAL, duration_ns INTEGER, started_utc TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS track (
    stream_id TEXT NOT NULL, track_id INTEGER NOT NULL, first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL, frames INTEGER NOT NULL, best_frame_index INTEGER NOT NULL,
    best_ns INTEGER NOT NULL, best_mask TEXT NOT NULL, best_score REAL NOT NULL, best_jpeg BLOB,
    part_of INTEGER,
    PRIMARY KEY (stream_id, track_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS track_look (
    stream_id TEXT NOT NULL, track_id INTEGER NOT NULL, look BLOB NOT NULL,
    PRIMARY KEY (stream_id, track_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS track_mask (
    stream_id TEXT NOT NULL, track_id INTEGER NOT NULL, time_ns INTEGER NOT NULL,
    frame_index INTEGER NOT NULL, score REAL NOT NULL, mask TEXT NOT NULL,
    PRIMARY KEY (stream_id, track_id, time_ns)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS caption (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, stream_id TEXT NOT NULL,
    track_id INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER, text TEXT NOT NULL,
    detail TEXT NOT NULL, category TEXT NOT NULL, colour TEXT NOT NULL, why TEXT NOT NULL,
    asked_ns INTEGER NOT NULL, frame_index INTEGER NOT NULL, frame_time_ns INTEGER NOT NULL,
    mask TEXT NOT NULL, mean_logprob REAL, model TEXT NOT NULL, weights_hash TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS caption_by_time ON caption (stream_id, start_ns);
CREATE INDEX IF NOT EXISTS caption_by_track ON caption (stream_id, track_id, start_ns);
CREATE INDEX IF NOT EXISTS caption_by_category ON caption (category);
CREATE INDEX IF NOT EXISTS track_by_time ON track (stream_id, first_ns, last_ns);
CREATE TABLE IF NOT EXISTS event (
    id TEXT PRIMARY KEY, stream_id TEXT NOT NULL, time_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    track_id INTEGER, rule TEXT NOT NULL, data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS event_by_time ON event (stream_id, time_ns);
CREATE INDEX IF NOT EXISTS event_in_order ON event (time_ns);
CREATE INDEX IF NOT EXISTS event_by_kind ON event (kind, time_ns);
CREATE VIRTUAL TABLE IF NOT EXISTS caption_fts USING fts5(
    text, detail, content='caption', content_rowid='row', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER IF NOT EXISTS caption_came AFTER INSERT ON caption BEGIN
    INSERT INTO caption_fts (rowid, text, detail) VALUES (new.row, new.text, new.detail);
END;
CREATE TRIGGER IF NOT EXISTS caption_went AFTER DELETE ON caption BEGIN
    INSERT INTO caption_fts (caption_fts, rowid, text, detail)
    VALUES ('delete', old.row, old.text, old.detail);
END;
"""
_COMMIT_EVERY_S = 0.5
_TURN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best view of a track so far; `jpeg` is a small picture of it, or None, `look` is that of
    `streamer.looks`, or b""."""

    frame_index: int
    time_ns: int
    region: Region
    jpeg: bytes | None
    look: bytes = b""


@dataclass(kw_only=True)
class TrackRow:
    """A track as far as it was seen; `part_of` as in `Region`, of its last frame."""

    stream_id: str
    track_id: int
    first_ns: int
    last_ns: int
    frames: int
    best: Best
    part_of: int | None = None


class CatalogWriter:
    """Writes records; what is written twice under one id is kept once.

    Changes become visible to readers twice a second and with `commit`.

    Raises:
        OutputError: when the file cannot be written.
    """

    def __init__(self, path: Path, streams: Sequence[StreamInfo]) -> None:
        self.path = path
        self._committed_s = time.monotonic()
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            # the executor opens, writes and closes in different threads, one after the other
            self._db = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            self._widen()
            for info in streams:
                self._start(info)
            self._db.commit()

    def start(self, info: StreamInfo) -> None:
        """One more stream; what the file had of it goes."""
        with self._writing():
            self._start(info)

    def begin(self) -> None:
        """Wait for one's turn, where a run writes too. Between its commits and what it writes next
        there is but a moment; SQLite's own waiting, which looks ten times a second, misses it."""
        with self._writing():
            self._db.execute("PRAGMA busy_timeout = 0")
            end_s = time.monotonic() + _TURN_S
            while True:
                try:
                    self._db.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError:
                    if time.monotonic() > end_s:
                        raise
                    time.sleep(0.001)

    def caption(self, caption: Caption) -> None:
        """A caption, open or closed."""
        said = read_caption(caption.text)
        values = (
            caption.id, caption.stream_id, caption.track_id, caption.start_ns, caption.end_ns,
            caption.text, caption.detail, said.category, said.colour, caption.why,
            caption.asked_ns, caption.frame_index, caption.frame_time_ns,
            json.dumps(caption.mask.to_json()), caption.mean_logprob, caption.model,
            caption.weights_hash,
        )  # fmt: skip
        self._run(
            "INSERT INTO caption (id, stream_id, track_id, start_ns, end_ns, text, detail,"
            " category, colour, why, asked_ns, frame_index, frame_time_ns, mask, mean_logprob,"
            " model, weights_hash) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT (id) DO UPDATE SET end_ns = coalesce(excluded.end_ns, end_ns)",
            values,
        )

    def event(self, event: Event) -> None:
        """An event; its data as JSON."""
        values = (
            event.id, event.stream_id, event.time_ns, event.kind, event.track_id,
            str(event.data.get("rule", "")), json.dumps(event.data, ensure_ascii=False),
        )  # fmt: skip
        self._run("INSERT OR IGNORE INTO event VALUES (?,?,?,?,?,?,?)", values)

    def mask(self, stream_id: str, time_ns: int, frame_index: int, region: Region) -> None:
        """The mask of a track in a frame."""
        code = json.dumps(region.mask.to_json())
        values = (stream_id, region.track_id, time_ns, frame_index, region.score, code)
        self._run("INSERT OR IGNORE INTO track_mask VALUES (?,?,?,?,?,?)", values)

    def track(self, row: TrackRow) -> None:
        """A track, as far as it was seen; the latest row counts."""
        best = row.best
        values = (
            row.stream_id, row.track_id, row.first_ns, row.last_ns, row.frames, best.frame_index,
            best.time_ns, json.dumps(best.region.mask.to_json()), best.region.score, best.jpeg,
            row.part_of,
        )  # fmt: skip
        self._run("INSERT OR REPLACE INTO track VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)
        if best.look:
            look = (row.stream_id, row.track_id, best.look)
            self._run("INSERT OR REPLACE INTO track_look VALUES (?,?,?)", look)

    @property
    def due(self) -> bool:
        """Whether it is time to `commit`."""
        return time.monotonic() - self._committed_s >= _COMMIT_EVERY_S

    def commit(self) -> None:
        """After this, everything written survives a crash of the process."""
        with self._writing():
            self._db.commit()
        self._committed_s = time.monotonic()

    def close(self) -> None:
        """Commit and close."""
        with self._writing():
            self._db.commit()
            self._db.close()

    def _widen(self) -> None:
        """Give a catalog of an earlier version the columns that it lacks."""
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(track)")}
        if "part_of" not in columns:
            self._db.execute("ALTER TABLE track ADD COLUMN part_of INTEGER")

    def _start(self, info: StreamInfo) -> None:
        for table in ("track", "track_look", "track_mask", "caption", "event", "stream"):
            self._db.execute(f"DELETE FROM {table} WHERE stream_id = ?", (info.stream_id,))
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        values = (info.stream_id, info.uri, info.width_px, info.height_px, info.fps)
        self._db.execute(
            "INSERT INTO stream VALUES (?,?,?,?,?,?,?)", (*values, info.duration_ns, now)
        )

    def _run(self, statement: str, values: Sequence[Any]) -> None:
        with self._writing():
            self._db.execute(statement, values)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"{self.path} cannot be written as a catalog ({error}); free space, choose another "
                "folder, or remove the file"
            ) from None
