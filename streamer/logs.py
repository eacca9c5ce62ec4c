"""Logs as JSON lines, with what they are about in fields of their own; through stdlib logging.

The runtime logs to the logger "streamer", which says nothing until somebody listens.
"""

from __future__ import annotations

import io
import json
import logging
from datetime import datetime, timezone
from typing import IO

from streamer.passwords import hidden
from streamer.records import Caption, Event

log = logging.getLogger("streamer")
log.addHandler(logging.NullHandler())

FIELDS = ("stream_id", "record_id", "track_id", "step", "kind", "time_ns", "input", "stem", "state")
_WARNINGS = ("input_error", "gap", "caption_error", "tracks_full")
_DETAILS = ("track_start", "track_end")


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, message, and those of `FIELDS` that are known.
    Passwords in addresses are replaced."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        data: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": hidden(record.getMessage()),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                data[name] = hidden(value) if isinstance(value, str) else value
        if record.exc_info:
            data["trace"] = hidden(self.formatException(record.exc_info))
        return json.dumps(data, ensure_ascii=False)


class LoggedLines(io.TextIOBase):
    """A text file whose lines become log messages."""

    def __init__(self) -> None:
        self._line = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.strip():
                log.info(line.strip())
        return len(text)


def listen(file: IO[str]) -> None:
    """Write all logs to a file as JSON lines."""
    handler = logging.StreamHandler(file)
    handler.setFormatter(JsonLines())
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)


def log_record(record: Caption | Event) -> None:
    """Log a record: what went wrong with an input as a warning, the comings and goings of tracks
    as details."""
    if isinstance(record, Caption):
        level, kind, said = logging.INFO, "caption", record.text
    else:
        kind, said = record.kind, str(record.data.get("reason") or record.data.get("rule") or "")
        warning = logging.WARNING if kind in _WARNINGS else logging.INFO
        level = logging.DEBUG if kind in _DETAILS else warning
    if not log.isEnabledFor(level):
        return
    about = {
        "stream_id": record.stream_id,
        "record_id": record.id,
        "track_id": record.track_id,
        "kind": kind,
        "time_ns": record.order_ns,
    }
    log.log(level, "%s", f"{kind}: {said}" if said else kind, extra=about)
