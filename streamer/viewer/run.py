"""What lies in the folder of a run: its records, its films, the page of a scroll.

Files are found when the folder is looked at, never by a path from a request.
"""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

from streamer.catalog import NAME
from streamer.errors import InputError
from streamer.viewer.films import Film, playable
from streamer.viewer.newest import Newest
from streamer.viewer.records import Records

_TILE = re.compile(r"(\d{1,2})/(\d{1,6})_(\d{1,6})\.jpg")
_FRESH_S = 0.4
_UNIX_NS = 10**17  # media time is not three years long


class Run:
    """The folder of a run, or of several runs that share a catalog.

    Args:
        folder: the folder, or the catalog in it.
        source: also show the films that were captioned, wherever they lie; without, only what
            the runs have written.

    Raises:
        InputError: when there is nothing to see in it.
    """

    def __init__(self, folder: Path, *, source: bool = True) -> None:
        self.folder = folder.parent if folder.is_file() else folder
        self.source = source
        self._films: dict[str, tuple[tuple[int, int], Film | None]] = {}
        self._origins: dict[str, int] = {}
        self._streams: tuple[float, list[dict[str, Any]]] = (-_FRESH_S, [])
        self._lock = threading.Lock()
        self.newest = Newest(self.folder)
        self.scroll = self._scroll()
        self.records: Records | None = None
        given = folder if folder.is_file() else folder / NAME
        if given.is_file():
            self.records = Records(given)
        elif self.scroll is None:
            raise InputError(
                f"{folder}: neither {NAME} nor the page of a scroll in it; give the folder that "
                "`streamer caption`, `watch` or `scroll` wrote with -o"
            )

    def streams(self) -> list[dict[str, Any]]:
        """The streams, with their origin: the time from which a page counts."""
        if self.records is None:
            return []
        with self._lock:
            looked_s, rows = self._streams
        if time.monotonic() - looked_s < _FRESH_S:
            return rows
        rows = self.records.streams()
        for row in rows:
            films = self.films(row)
            row["films"] = films
            still = None if films else self.newest.now(row["stream_id"])
            row["newest_ns"] = None if still is None else still.taken.time_ns
            row["origin_ns"] = self._origin(row, films)
            row["unix"] = row["origin_ns"] >= _UNIX_NS
        with self._lock:
            self._streams = time.monotonic(), rows
        return rows

    def stream(self, stream_id: str) -> dict[str, Any]:
        """One of `streams`.

        Raises:
            InputError: when there is none of this name.
        """
        for row in self.streams():
            if row["stream_id"] == stream_id:
                return row
        raise InputError("there is no such stream")

    def films(self, stream: dict[str, Any]) -> list[Film]:
        """Films of a stream that a browser plays, that without drawings first."""
        source = self._source(stream)
        written = self._written(stream)
        begin_ns = self._first_frame_ns(written)
        if begin_ns is None and source is not None:
            begin_ns = source.begin_ns
        captioned = self._film(Path(f"{written}.captioned.mp4"), "captioned", begin_ns or 0)
        return [film for film in (source, captioned) if film is not None]

    def tile(self, name: str) -> Path | None:
        """The file of a tile "level/column_row.jpg" of a scroll; None when there is none."""
        match = _TILE.fullmatch(name)
        if match is None or self.scroll is None:
            return None
        tiles = (self.folder / "page" / "tiles").resolve()
        path = tiles.joinpath(match[1], f"{match[2]}_{match[3]}.jpg").resolve()
        return path if path.is_file() and path.is_relative_to(tiles) else None

    def _source(self, stream: dict[str, Any]) -> Film | None:
        """The film itself, also when the folder was moved together with it."""
        uri = Path(stream["uri"])
        inside = self._inside(self.folder / uri.name)
        if inside is not None and _is_file(inside):
            return self._film(inside, "source")
        return self._film(uri, "source") if self.source else None

    def _written(self, stream: dict[str, Any]) -> Path:
        """OUT/STEM of a stream, which is called as the stream or as its file."""
        for stem in (stream["stream_id"], Path(stream["uri"]).stem):
            base = self._inside(self.folder / Path(stem).name)
            if base is not None and _is_file(Path(f"{base}.captioned.mp4")):
                return base
        return self.folder.resolve() / (Path(stream["stream_id"]).name or "_")

    def _inside(self, path: Path) -> Path | None:
        """The path with links resolved, when it still lies in the folder."""
        try:
            found = path.resolve()
        except (OSError, ValueError, RuntimeError):
            return None
        return found if found.is_relative_to(self.folder.resolve()) else None

    def _film(self, path: Path, kind: str, begin_ns: int | None = None) -> Film | None:
        """Looked at again when the file has changed: a run may still be writing it."""
        if kind == "captioned" and self._inside(path) is None:
            return None
        try:
            stat = path.stat()
        except (OSError, ValueError):
            return None
        state, key = (stat.st_size, stat.st_mtime_ns), f"{kind} {path}"
        with self._lock:
            known = self._films.get(key)
            if known is None or known[0] != state:
                known = self._films[key] = state, playable(path, kind, begin_ns)
        return known[1]

    def _first_frame_ns(self, written: Path) -> int | None:
        """The captioned film begins with the first frame that was tracked."""
        try:
            with Path(f"{written}.tracks.jsonl").open("rb") as file:
                return int(json.loads(file.readline(1 << 24))["time_ns"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _origin(self, stream: dict[str, Any], films: list[Film]) -> int:
        if films:
            return films[0].begin_ns
        # of a camera that shows nothing yet to remember, there is a picture at least
        first_ns = int(stream["first_ns"]) or stream["newest_ns"] or 0
        if first_ns < _UNIX_NS:
            return 0
        # a live stream begins with what was seen first; it stays where it is when rows go
        return self._origins.setdefault(f"{stream['stream_id']} {stream['started_utc']}", first_ns)

    def _scroll(self) -> dict[str, Any] | None:
        """Size, regions and scenes of a scroll, as `streamer scroll` leaves them."""
        try:
            geojson = json.loads((self.folder / "regions.geojson").read_text(encoding="utf-8"))
            script = json.loads((self.folder / "narration.json").read_text(encoding="utf-8"))
            tiles = self.folder / "page" / "tiles"
            levels = sorted(int(p.name) for p in tiles.iterdir() if p.name.isdecimal())
            canvas = geojson["canvas"]
            return {
                "width_px": int(canvas["width_px"]), "height_px": int(canvas["height_px"]),
                "levels": [levels[0], levels[-1]], "regions": geojson["features"],
                "scenes": script["scenes"],
            }  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None


def _is_file(path: Path) -> bool:
    """Also of a path that is none, or longer than paths may be."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
