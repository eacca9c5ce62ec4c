"""Lists of inputs: CSV, JSON Lines, Parquet; on this machine or wherever fsspec reaches."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from streamer.errors import ConfigError, InputError
from streamer.passwords import hidden
from streamer.remote import is_remote, read_bytes, url_path

Input = tuple[str, str, Mapping[str, str]]
"""An input, the stem of its outputs, and its variables."""

ENDINGS = (".csv", ".jsonl", ".ndjson", ".parquet")
_NAMES = ("input", "path", "url")


def read_manifest(place: str) -> list[Input]:
    """The inputs of a manifest, one a line.

    A line has `input` (or `path`, or `url`), and may have `stem`, which names the outputs, and
    `stream_id`, which names the stream in the records, and the outputs where there is no stem. Its
    other values become variables of the configuration.

    Args:
        place: a path or URL that ends in .csv (with a header), .jsonl, .ndjson or .parquet.

    Raises:
        InputError: when it cannot be read or a line is not usable, naming it.
        ConfigError: when what reads such a file is not installed.
    """
    ending = PurePosixPath(url_path(place)).suffix.lower()
    shown = hidden(place)
    if ending not in ENDINGS:
        raise InputError(f"{shown} is no manifest; its name ends in {', '.join(ENDINGS)}")
    try:
        data = read_bytes(place) if is_remote(place) else Path(place).read_bytes()
    except OSError as error:
        raise InputError(f"{shown} cannot be read ({error.strerror or error})") from None
    if ending == ".parquet":
        rows = _parquet(shown, data)
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{shown} cannot be read ({error}); give a UTF-8 text file") from None
        rows = _csv(shown, text) if ending == ".csv" else _json_lines(shown, text)
    return [_row(shown, n, row) for n, row in rows]


def _csv(shown: str, text: str) -> list[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="")
    if not set(_NAMES) & set(reader.fieldnames or ()):
        raise InputError(f"{shown}: its first line has no column 'input'; add it")
    return [(reader.line_num, row) for row in reader]


def _json_lines(shown: str, text: str) -> list[tuple[int, Any]]:
    rows = []
    for n, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                rows.append((n, json.loads(line)))
            except json.JSONDecodeError as error:
                raise InputError(f"{shown}:{n} is not JSON ({error.msg}); correct it") from None
    return rows


def _parquet(shown: str, data: bytes) -> list[tuple[int, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ConfigError(
            "a .parquet manifest needs pyarrow; pip install 'osprey-streamer[parquet]'"
        ) from None
    try:
        table = parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{shown} is no Parquet file ({reason}); write it anew") from None
    if not set(_NAMES) & set(table.column_names):
        raise InputError(f"{shown} has no column 'input'; add it")
    return list(enumerate(table.to_pylist(), 1))


def _row(shown: str, n: int, row: Any) -> Input:
    if not isinstance(row, dict):
        raise InputError(f"{shown}:{n} is no record; every line needs 'input'")
    given = [name for name in _NAMES if row.get(name) not in (None, "")]
    if len(given) != 1 or not isinstance(row[given[0]], str):
        why = "names no input" if not given else f"names the input as {' and '.join(given)}"
        raise InputError(f"{shown}:{n} {why}; every line needs 'input'")
    if "" in row:
        raise InputError(f"{shown}:{n} has more values than the first line has names; correct it")
    values = {key: str(value) for key, value in row.items() if value not in (None, "")}
    source = values.pop(given[0])
    name = values.get("stream_id") or PurePosixPath(url_path(source)).stem
    stem = values.pop("stem", name)
    return source, _inside(stem, f"{shown}:{n}"), values


def _inside(stem: str, place: str) -> str:
    parts = Path(stem).parts
    if Path(stem).is_absolute() or ".." in parts or not parts:
        raise InputError(f"{place}: the stem {stem!r} leads out of the output folder; change it")
    return stem
