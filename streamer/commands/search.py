"""`streamer search`: captions in the catalog of a folder of results."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from rich.table import Table

from streamer.catalog import Catalog, Hit
from streamer.clock import format_ns, parse_time_ns
from streamer.commands.running import OK, out, write_json
from streamer.errors import ConfigError, InputError
from streamer.yaml_places import nearest


def search_catalog(
    path: Path,
    words: str,
    *,
    from_time: str | None,
    to_time: str | None,
    stream: str | None,
    zone: str | None,
    near: str | None,
    within: float,
    limit: int,
    json_path: Path | None,
) -> int:
    """Print what is found, in the order recorded."""
    from_ns, to_ns = _time("--from", from_time), _time("--to", to_time)
    if from_ns is not None and to_ns is not None and from_ns > to_ns:
        raise ConfigError(f"--from {from_time} lies behind --to {to_time}; exchange them")
    with Catalog(path) as catalog:
        if stream is not None and stream not in (known := catalog.streams()):
            raise InputError(f"{catalog.path}: no stream {stream!r}{nearest(stream, known)}")
        tests: list[Callable[[Hit], bool]] = []
        if zone is not None or near is not None:
            from streamer.commands.search_places import InZone, Near

            span_ns = (from_ns, to_ns)
            tests += [InZone(catalog, zone, span_ns)] if zone is not None else []
            tests += [Near(catalog, near, within, span_ns)] if near is not None else []
        found = catalog.search(
            words, from_ns=from_ns, to_ns=to_ns, stream_id=stream, limit=-1 if tests else limit
        )
        hits = list(islice((hit for hit in found if all(test(hit) for test in tests)), limit))
    table = Table(box=None, pad_edge=False)
    for column in ("stream", "from", "to", "track", "caption", "detail"):
        table.add_column(column, justify="right" if column == "track" else "left")
    for hit in hits:
        table.add_row(
            _plain(hit.stream_id),
            format_ns(hit.start_ns),
            "-" if hit.end_ns is None else format_ns(hit.end_ns),
            f"#{hit.track_id}",
            _plain(hit.text),
            _plain(hit.detail),
        )
    if hits:
        out.print(table)
    more = f", the first {limit}; --limit shows more" if len(hits) == limit else ""
    out.print(f"{len(hits)} found{more}", markup=False)
    write_json(json_path, [hit.to_json() for hit in hits])
    return OK


def _plain(text: str) -> str:
    """Brackets are no markup, and control characters do nothing to the terminal."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("[", "\\[")


def _time(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time_ns(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
