"""Media time as integer nanoseconds: exact, from rational time stamps."""

from __future__ import annotations

import re
from fractions import Fraction

NS_PER_S = 1_000_000_000
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)")


def pts_to_ns(pts: int, time_base: Fraction) -> int:
    """A presentation time stamp in nanoseconds, rounded to the nearest (ties to even).

    Exact rational arithmetic: no drift, however long the film.
    """
    return round(pts * time_base * NS_PER_S)


def seconds_to_ns(seconds: float) -> int:
    """Seconds as a user writes them (a decimal number), in nanoseconds."""
    return round(Fraction(str(seconds)) * NS_PER_S)


def parse_time_ns(text: str) -> int:
    """`12.5`, `1:02.5` or `1:02:03.5` in nanoseconds.

    Raises:
        ValueError: for anything else.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time; write seconds (12.5) or h:mm:ss (1:02:03.5)")
    hours, minutes, seconds = (part or "0" for part in match.groups())
    whole_s = 3600 * int(hours) + 60 * int(minutes)
    return whole_s * NS_PER_S + seconds_to_ns(float(seconds))


def format_ns(time_ns: int) -> str:
    """`H:MM:SS.mmm`, truncated to milliseconds; negative times with a minus."""
    sign, ms = ("-" if time_ns < 0 else ""), abs(time_ns) // 1_000_000
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02}:{seconds:02}.{ms:03}"
