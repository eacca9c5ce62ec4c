"""When rules are on: hours of the day by a stream's clock, or spans of media time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of the day, past midnight when it ends before it begins, on the days it begins on;
    or a span of media time. `streams` are names with * and ?."""

    streams: str = "*"
    days: tuple[int, ...] = tuple(range(7))
    minutes: tuple[int, int] | None = None
    media_ns: tuple[int, int] | None = None

    def needs_clock(self, stream_id: str) -> bool:
        """Whether the wall time of a stream has to be known."""
        return self.media_ns is None and fnmatchcase(stream_id, self.streams)

    def holds(self, stream_id: str, time_ns: int, begins: datetime | None) -> bool:
        """Whether a moment of a stream lies in the span.

        Args:
            begins: the wall time of media time 0; wanted for spans of the day.
        """
        if not fnmatchcase(stream_id, self.streams):
            return False
        if self.media_ns is not None:
            return self.media_ns[0] <= time_ns < self.media_ns[1]
        if begins is None:
            return False
        now = begins + timedelta(microseconds=time_ns // 1000)
        if self.minutes is None:
            return now.weekday() in self.days
        start, end = self.minutes
        minute = now.hour * 60 + now.minute + now.second / 60
        if start < end:
            return start <= minute < end and now.weekday() in self.days
        if minute >= start:
            return now.weekday() in self.days
        return minute < end and (now.weekday() - 1) % 7 in self.days


def read_span(data: Any) -> Span:
    """A span from a rule file.

    Raises:
        ValueError: naming the key that is wrong.
    """
    keys = {"streams", "days", "from", "to", "media_from_s", "media_to_s"}
    if not isinstance(data, dict) or not data.keys() <= keys:
        raise ValueError(f"a span has the keys {', '.join(sorted(keys))}")
    streams = data.get("streams", "*")
    if not isinstance(streams, str):
        raise ValueError(f"streams is {streams!r}; a name, * and ? allowed, is wanted")
    if "media_from_s" in data or "media_to_s" in data:
        if data.keys() & {"days", "from", "to"}:
            raise ValueError("a span is either of media time or of the day, not both")
        start, end = data.get("media_from_s", 0), data.get("media_to_s", 1e9)
        if not all(isinstance(v, (int, float)) and v >= 0 for v in (start, end)) or start >= end:
            raise ValueError(f"media_from_s {start!r} to media_to_s {end!r} is no span of seconds")
        return Span(streams=streams, media_ns=(round(start * 1e9), round(end * 1e9)))
    days = data.get("days", list(DAYS))
    names = days if isinstance(days, list) else [days]
    for name in names:
        if name not in DAYS:
            raise ValueError(f"{name!r} is no day; there are {', '.join(DAYS)}")
    if ("from" in data) != ("to" in data):
        raise ValueError("from and to go together")
    minutes = (_minutes(data["from"]), _minutes(data["to"])) if "from" in data else None
    return Span(
        streams=streams, days=tuple(sorted({DAYS.index(n) for n in names})), minutes=minutes
    )


def read_clock(value: Any) -> datetime:
    """The wall time of media time 0.

    Raises:
        ValueError: when it is not a date and time.
    """
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(
            f"{value!r} is not a date and time; write 2026-11-26T21:30:00+01:00"
        ) from None


def _minutes(value: Any) -> int:
    # YAML 1.1 reads an unquoted 22:00 as a number in base 60: 1320 minutes
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _DAY_MINUTES:
        return value
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", str(value))
    if match is None or int(match[1]) > 24 or int(match[2]) > 59:
        raise ValueError(f"{value!r} is no time of the day; write 22:00")
    return int(match[1]) * 60 + int(match[2])
