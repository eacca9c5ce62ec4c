"""`streamer search`: captions in the catalog of a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from rich.table import Table

from streamer.catalog import Catalog, Hit
from streamer.clock import format_ns, parse_time_ns
from streamer.commands.running import OK, out, write_json
from streamer.commands.thumbnails import shower
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
    like: str | None,
    limit: int,
    pictures: bool | None,
    json_path: Path | None,
) -> int:
    """Print what is found, in the order recorded, or the most alike first. `pictures` None: where
    the terminal can show them."""
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
        find = partial(catalog.search, words, from_ns=from_ns, to_ns=to_ns)
        if like is None:
            found: Iterable[Hit] = find(stream_id=stream, limit=-1 if tests else limit)
        else:
            found = _alike(catalog, like, stream, find, few=not words.strip())
        hits = list(islice((hit for hit in found if all(test(hit) for test in tests)), limit))
        show = shower(pictures) if hits and not json_path else None
        if show is None:
            _table(hits)
        else:
            for hit in hits:
                show(catalog.best_jpeg(hit.stream_id, hit.track_id), _line(hit))
    more = f", the first {limit}; --limit shows more" if len(hits) == limit else ""
    out.print(f"{len(hits)} found{more}", markup=False)
    write_json(json_path, [hit.to_json() for hit in hits])
    return OK


def _alike(
    catalog: Catalog, like: str, stream: str | None, find: Callable[..., list[Hit]], *, few: bool
) -> Iterator[Hit]:
    """The first fitting caption of every other track, the most alike first. `few`: tracks are
    looked up one by one, for without words most of them fit."""
    from streamer.commands.search_places import track_named

    ranked = catalog.like(*track_named(catalog, "--like", like))
    fitting: dict[tuple[str, int], list[Hit]] = {}
    if not few:
        for hit in find(stream_id=stream, limit=-1):
            fitting.setdefault((hit.stream_id, hit.track_id), []).append(hit)
    for stream_id, track_id, likeness in ranked:
        if stream is not None and stream_id != stream:
            continue
        if few:
            hits = find(stream_id=stream_id, track_id=track_id, limit=1)
        else:
            hits = fitting.get((stream_id, track_id), [])
        for hit in hits[:1]:
            yield replace(hit, likeness=round(likeness, 3))


def _table(hits: Sequence[Hit]) -> None:
    if not hits:
        return
    compared = any(hit.likeness is not None for hit in hits)
    table = Table(box=None, pad_edge=False)
    for column in (*(("like",) if compared else ()), "stream", "from", "to", "track", "caption",
                   "detail"):  # fmt: skip
        table.add_column(column, justify="right" if column in ("track", "like") else "left")
    for hit in hits:
        table.add_row(
            *((f"{hit.likeness:.2f}",) if hit.likeness is not None else ()),
            _plain(hit.stream_id),
            format_ns(hit.start_ns),
            "-" if hit.end_ns is None else format_ns(hit.end_ns),
            f"#{hit.track_id}",
            _plain(hit.text),
            _plain(hit.detail),
        )
    out.print(table)


def _line(hit: Hit) -> str:
    """A hit beside its picture."""
    end = "" if hit.end_ns is None else f" to {format_ns(hit.end_ns)}"
    first = f"{_plain(hit.stream_id)} #{hit.track_id}  {format_ns(hit.start_ns)}{end}"
    if hit.likeness is not None:
        first += f"  {hit.likeness:.2f} alike"
    return "\n".join(text for text in (first, _plain(hit.text), _plain(hit.detail)) if text)


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
