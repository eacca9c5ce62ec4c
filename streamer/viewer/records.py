"""What the pages ask of the catalog. Times are ns as stored; nothing is kept in memory.

A list is cut off at MOST_ROWS, what holds words at MOST_HITS: who has more narrows the search.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.catalog import Catalog, fts_query
from streamer.errors import InputError
from streamer.mask import Mask

MOST_ROWS = 100_000
MOST_HITS = 20_000
Row = dict[str, Any]
_CAPTION = (
    "c.row, c.stream_id, c.track_id, c.start_ns, c.end_ns, c.frame_time_ns, c.text, c.detail,"
    " c.category, c.why, c.mean_logprob, c.model"
)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some rows of a list: `total` of all, `most` + 1 when there are more than `most`."""

    total: int
    most: int
    rows: list[Row]


class Records:
    """Reads a catalog, also while a run writes it. May be used by many threads at once.

    Raises:
        InputError: when it is missing, or no catalog.
    """

    def __init__(self, path: Path) -> None:
        with Catalog(path) as catalog:
            self.path = catalog.path
        self._local = threading.local()

    def connect(self) -> sqlite3.Connection:
        """A connection of one's own, for reading only."""
        uri = f"{self.path.resolve().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
        db.row_factory = sqlite3.Row
        return db

    def streams(self) -> list[Row]:
        """The streams, with the first and last moment that anything is known of."""
        rows = self._rows("SELECT * FROM stream ORDER BY stream_id")
        for row in rows:
            name = (row["stream_id"],)
            spans = self._rows(
                "SELECT (SELECT min(first_ns) FROM track WHERE stream_id = :s) AS t0,"
                # the newest tracks will do: looking at all of them takes long in a large catalog
                " (SELECT max(last_ns) FROM (SELECT last_ns FROM track WHERE stream_id = :s"
                " ORDER BY first_ns DESC LIMIT 500)) AS t1,"
                " (SELECT min(time_ns) FROM event WHERE stream_id = :s) AS e0,"
                " (SELECT max(time_ns) FROM event WHERE stream_id = :s) AS e1,"
                " (SELECT max(start_ns) FROM caption WHERE stream_id = :s) AS c1",
                {"s": name[0]},
            )[0]
            known = [v for v in spans.values() if v is not None]
            row["first_ns"] = min(known, default=0)
            row["last_ns"] = max(known, default=0)
        return rows

    def captions(
        self, words: str, *, stream: str = "", category: str = "", offset: int = 0, limit: int = 50
    ) -> Page:
        """Captions that hold all the words (none: all captions), in the order recorded."""
        wanted, values = list[str](), list[Any]()
        query = fts_query(words)
        if words.strip() and not query:
            return Page(total=0, most=MOST_HITS, rows=[])
        if stream:
            wanted.append("c.stream_id = ?")
            values.append(stream)
        if category:
            wanted.append("c.category = ?")
            values.append(category)
        if query:
            # without other conditions the index alone knows which rows are wanted
            join = " CROSS JOIN caption c ON c.row = f.rowid" if wanted else ""
            source, key = f"caption_fts f{join}", "f.rowid"
            wanted.insert(0, "caption_fts MATCH ?")
            values.insert(0, query)
        else:
            source, key = "caption c", "c.row"
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        rows = self._rows(
            f"SELECT {_CAPTION} FROM caption c JOIN (SELECT {key} AS row FROM {source} {where}"
            f" ORDER BY {key} LIMIT ? OFFSET ?) AS hit ON c.row = hit.row ORDER BY c.row",
            (*values, limit, offset),
        )
        most = MOST_HITS if query else MOST_ROWS
        total = self._count(f"{source} {where}", values, most)
        return Page(total=total, most=most, rows=rows)

    def like(self, track: str, *, stream: str = "", offset: int = 0, limit: int = 50) -> Page:
        """The first caption of every other track, those that look most like STREAM#ID first.

        Raises:
            InputError: when that is none whose look is known.
        """
        name, _, number = track.rpartition("#")
        if not number.isascii() or not number.isdigit() or len(number) > 18:
            raise InputError(f"like:{track}: write like:STREAM#ID")
        with Catalog(self.path) as catalog:
            ranked = catalog.like(name, int(number))
        firsts = {
            (row["stream_id"], row["track_id"]): row["row"]
            for row in self._rows(
                "SELECT stream_id, track_id, min(row) AS row FROM caption GROUP BY 1, 2"
            )
        }
        found = [
            firsts[s, t] for s, t, _ in ranked if (s, t) in firsts and stream in ("", s)
        ]  # fmt: skip
        page = found[offset : offset + limit]
        marks = ",".join("?" * len(page))
        rows = self._rows(f"SELECT {_CAPTION} FROM caption c WHERE c.row IN ({marks})", page)
        by_row = {row["row"]: row for row in rows}
        return Page(total=len(found), most=MOST_ROWS, rows=[by_row[row] for row in page])

    def events(
        self, *, stream: str = "", kinds: Sequence[str] = (), offset: int = 0, limit: int = 50
    ) -> Page:
        """Events in the order of time; of all kinds when none is named."""
        wanted, values = list[str](), list[Any]()
        if stream:
            wanted.append("stream_id = ?")
            values.append(stream)
        if kinds:
            wanted.append(f"kind IN ({','.join('?' * len(kinds))})")
            values += kinds
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        rows = self._rows(
            "SELECT rowid AS row, stream_id, time_ns, kind, track_id, data FROM event"
            f" {where} ORDER BY time_ns, rowid LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        for row in rows:
            row["data"] = json.loads(row["data"])
        total = self._count(f"event {where}", values, MOST_ROWS)
        return Page(total=total, most=MOST_ROWS, rows=rows)

    def place_of_event(self, time_ns: int, *, stream: str, kinds: Sequence[str] = ()) -> int:
        """How many events of a list come before a moment."""
        marks = f" AND kind IN ({','.join('?' * len(kinds))})" if kinds else ""
        found = self._rows(
            f"SELECT count(*) AS n FROM event WHERE stream_id = ? AND time_ns < ?{marks}",
            (stream, time_ns, *kinds),
        )
        return int(found[0]["n"])

    def facets(self) -> dict[str, list[str]]:
        """The categories of captions and the kinds of events that there are."""
        return {"categories": self._distinct("caption", "category"),
                "kinds": self._distinct("event", "kind")}  # fmt: skip

    def lanes(self, stream: str, from_ns: int, to_ns: int, limit: int) -> Row:
        """Tracks seen between two moments with their captions and events, and events without a
        track; the first `limit` tracks by their beginning."""
        span = {"s": stream, "a": from_ns, "b": to_ns, "n": limit}
        seen = "FROM track WHERE stream_id = :s AND first_ns <= :b AND last_ns >= :a"
        # catalogs of earlier versions do not know of parts
        known = self._rows("SELECT 1 FROM pragma_table_info('track') WHERE name = 'part_of'")
        whole = "part_of" if known else "NULL AS part_of"
        tracks = self._rows(
            f"SELECT track_id, first_ns, last_ns, {whole} {seen}"
            " ORDER BY first_ns, track_id LIMIT :n",
            span,
        )
        by_id = {t["track_id"]: t | {"captions": [], "events": []} for t in tracks}
        captions = self._rows(
            "SELECT c.row, c.track_id, c.start_ns, c.end_ns, c.text FROM"
            f" (SELECT track_id {seen} ORDER BY first_ns, track_id LIMIT :n) AS t"
            " CROSS JOIN caption c ON c.stream_id = :s AND c.track_id = t.track_id"
            " WHERE c.start_ns <= :b AND (c.end_ns IS NULL OR c.end_ns >= :a)"
            " ORDER BY c.start_ns, c.row",
            span,
        )
        for caption in captions:
            by_id[caption["track_id"]]["captions"].append(caption)
        loose = []
        for event in self._rows(
            "SELECT time_ns, kind, track_id FROM event"
            " WHERE stream_id = :s AND time_ns BETWEEN :a AND :b ORDER BY time_ns LIMIT 20000",
            span,
        ):
            if event["track_id"] in by_id:
                by_id[event["track_id"]]["events"].append(event)
            elif event["track_id"] is None:
                loose.append(event)
        total = self._rows(f"SELECT count(*) AS n {seen}", span)[0]["n"]
        return {"tracks": list(by_id.values()), "loose": loose, "total": total}

    def masks(self, stream: str, from_ns: int, to_ns: int) -> list[tuple[int, int, Mask]]:
        """(time_ns, track_id, mask) from one moment to before another, in the order of time."""
        rows = self._rows(
            "SELECT m.time_ns, m.track_id, m.mask FROM track t CROSS JOIN track_mask m"
            " ON m.stream_id = t.stream_id AND m.track_id = t.track_id"
            " WHERE t.stream_id = :s AND t.first_ns < :b AND t.last_ns >= :a"
            " AND m.time_ns >= :a AND m.time_ns < :b ORDER BY m.time_ns, m.track_id",
            {"s": stream, "a": from_ns, "b": to_ns},
        )
        return [(r["time_ns"], r["track_id"], Mask.from_json(json.loads(r["mask"]))) for r in rows]

    def frame_near(self, stream: str, time_ns: int, within_ns: int) -> tuple[int, int] | None:
        """Time and index of the frame with masks that is nearest to a moment."""
        rows = self._rows(
            "SELECT m.time_ns, m.frame_index FROM track t CROSS JOIN track_mask m"
            " ON m.stream_id = t.stream_id AND m.track_id = t.track_id"
            " WHERE t.stream_id = :s AND t.first_ns <= :b AND t.last_ns >= :a"
            " AND m.time_ns BETWEEN :a AND :b ORDER BY abs(m.time_ns - :t) LIMIT 1",
            {"s": stream, "t": time_ns, "a": time_ns - within_ns, "b": time_ns + within_ns},
        )
        return (rows[0]["time_ns"], rows[0]["frame_index"]) if rows else None

    def newest_track(self, stream: str) -> int:
        """The largest id of a track that has masks or words, 0 when there is none."""
        rows = self._rows(
            "SELECT max(coalesce((SELECT max(track_id) FROM track WHERE stream_id = :s), 0),"
            " coalesce((SELECT max(track_id) FROM caption WHERE stream_id = :s), 0)) AS n",
            {"s": stream},
        )
        return int(rows[0]["n"])

    def has_caption(self, caption_id: str) -> bool:
        """Whether there is a caption of an id."""
        return bool(self._rows("SELECT 1 FROM caption WHERE id = ?", (caption_id,)))

    def best_jpeg(self, stream: str, track_id: int) -> bytes | None:
        """A small picture of a track's best view."""
        rows = self._rows(
            "SELECT best_jpeg FROM track WHERE stream_id = ? AND track_id = ?", (stream, track_id)
        )
        return rows[0]["best_jpeg"] if rows else None

    def _distinct(self, table: str, column: str) -> list[str]:
        """Jumps from value to value along the index, where there is one."""
        rows = self._rows(
            f"WITH RECURSIVE v(x) AS (SELECT min({column}) FROM {table} UNION ALL"
            f" SELECT (SELECT min({column}) FROM {table} WHERE {column} > x) FROM v"
            " WHERE x IS NOT NULL) SELECT x FROM v WHERE x IS NOT NULL LIMIT 500"
        )
        return [row["x"] for row in rows if row["x"]]

    def _count(self, what: str, values: Sequence[Any], most: int) -> int:
        rows = self._rows(
            f"SELECT count(*) AS n FROM (SELECT 1 FROM {what} LIMIT {most + 1})", values
        )
        return int(rows[0]["n"])

    def _rows(self, statement: str, values: Sequence[Any] | Row = ()) -> list[Row]:
        try:
            db = getattr(self._local, "db", None)
            if db is None:
                db = self._local.db = self.connect()
            return [dict(row) for row in db.execute(statement, values)]
        except (sqlite3.Error, OverflowError) as error:
            raise InputError(f"{self.path.name} cannot be searched ({error})") from None
