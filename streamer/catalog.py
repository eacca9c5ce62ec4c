"""Search in the catalog of a folder of results, also while a run is writing it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamer.errors import InputError
from streamer.looks import alike
from streamer.mask import Mask

NAME = "catalog.sqlite"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A caption that fits a search; `likeness` 0..1 where its track was compared with another."""

    id: str
    stream_id: str
    uri: str
    track_id: int
    start_ns: int
    end_ns: int | None
    frame_time_ns: int
    text: str
    detail: str
    category: str
    colour: str
    mean_logprob: float | None
    likeness: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)


class Catalog:
    """A catalog to search in, opened for reading only; `close` it, or use it as a context.

    Args:
        path: the file, or the folder it lies in.

    Raises:
        InputError: when there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path / NAME if path.is_dir() else path
        if not self.path.is_file():
            raise InputError(
                f"{self.path}: no such catalog; a run with the sink Catalog, for instance of the "
                "configuration quickstart, writes it"
            )
        with self._reading():
            self._db = sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)
            self._db.row_factory = sqlite3.Row
            self._db.execute("SELECT 1 FROM caption_fts LIMIT 1")

    def streams(self) -> list[str]:
        """The ids of all streams."""
        with self._reading():
            return [row[0] for row in self._db.execute("SELECT stream_id FROM stream ORDER BY 1")]

    def search(
        self,
        words: str,
        *,
        from_ns: int | None = None,
        to_ns: int | None = None,
        stream_id: str | None = None,
        track_id: int | None = None,
        limit: int = 50,
    ) -> list[Hit]:
        """Captions that hold all the words, in the order in which they were recorded.

        Args:
            words: in any order; a word that ends in * stands for all that begin so. Other marks
                mean nothing; no words find everything.
            from_ns, to_ns: captions that hold at some moment from here to there.
            stream_id, track_id: of this stream, and this track of it, only.
            limit: at most so many; -1: all.
        """
        wanted, values = [], list[Any]()
        query = fts_query(words)
        source = "caption c"
        if query:
            # the full-text index goes first: it gives rows in their order, and may stop early
            source = "caption_fts f CROSS JOIN caption c ON c.row = f.rowid"
            wanted.append("caption_fts MATCH ?")
            values.append(query)
        elif words.strip():
            return []
        if stream_id is not None:
            wanted.append("c.stream_id = ?")
            values.append(stream_id)
        if track_id is not None:
            wanted.append("c.track_id = ?")
            values.append(track_id)
        if from_ns is not None:
            wanted.append("(c.end_ns IS NULL OR c.end_ns >= ?)")
            values.append(from_ns)
        if to_ns is not None:
            wanted.append("c.start_ns <= ?")
            values.append(to_ns)
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        order = "f.rowid" if query else "c.row"
        statement = (
            "SELECT c.id, c.stream_id, s.uri, c.track_id, c.start_ns, c.end_ns, c.frame_time_ns,"
            " c.text, c.detail, c.category, c.colour, c.mean_logprob"
            f" FROM {source} LEFT JOIN stream s ON s.stream_id = c.stream_id"
            f" {where} ORDER BY {order} LIMIT ?"
        )
        with self._reading():
            rows = self._db.execute(statement, (*values, limit)).fetchall()
        return [Hit(**dict(row)) for row in rows]

    @property
    def has_masks(self) -> bool:
        """Whether the masks of tracks were kept."""
        with self._reading():
            return self._db.execute("SELECT 1 FROM track_mask LIMIT 1").fetchone() is not None

    def masks(
        self,
        stream_id: str,
        track_id: int,
        *,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> Iterator[tuple[int, Mask]]:
        """A track's masks with their times, in order."""
        with self._reading():
            rows = self._db.execute(
                "SELECT time_ns, mask FROM track_mask WHERE stream_id = ? AND track_id = ?"
                " AND time_ns >= coalesce(?, time_ns) AND time_ns <= coalesce(?, time_ns)"
                " ORDER BY time_ns",
                (stream_id, track_id, from_ns, to_ns),
            )
            for time_ns, mask in rows:
                yield time_ns, Mask.from_json(json.loads(mask))

    def like(self, stream_id: str, track_id: int) -> Iterator[tuple[str, int, float]]:
        """All other tracks, the most alike first: stream, track, likeness 0..1.

        Raises:
            InputError: when nothing is known of the look of that track.
        """
        wanted, rows = None, list[Any]()
        with self._reading():
            if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'track_look'").fetchone():
                wanted = self._db.execute(
                    "SELECT look FROM track_look WHERE stream_id = ? AND track_id = ?",
                    (stream_id, track_id),
                ).fetchone()
                reader = self._db.cursor()
                reader.row_factory = None  # plain tuples: there may be very many
                reader.execute("SELECT look, stream_id, track_id FROM track_look")
                rows = [] if wanted is None else reader.fetchall()
        if wanted is None:
            raise InputError(
                f"{self.path} keeps no look of track {track_id} of {stream_id!r}; run again with "
                "looks: true of the sink Catalog"
            )
        likeness = alike(wanted[0], [row[0] for row in rows])
        order = np.argsort(-likeness, kind="stable")
        ranked = ((*rows[i][1:], float(likeness[i])) for i in order)
        return (one for one in ranked if one[:2] != (stream_id, track_id))

    def best_jpeg(self, stream_id: str, track_id: int) -> bytes | None:
        """A small picture of a track's best view."""
        with self._reading():
            row = self._db.execute(
                "SELECT best_jpeg FROM track WHERE stream_id = ? AND track_id = ?",
                (stream_id, track_id),
            ).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be searched ({error}); it has to be a catalog that a run wrote"
            ) from None


def fts_query(words: str) -> str:
    """Words as an FTS5 query in which nothing but the words and a final * has a meaning."""
    terms = []
    for part in words.split():
        # FTS5 splits at every other character too; a quoted phrase holds its operators harmless
        if re.search(r"\w", part):
            bare = part.rstrip("*").replace('"', " ").replace("\0", " ")
            terms.append(f'"{bare}"' + ("*" if part.endswith("*") else ""))
    return " ".join(terms)
