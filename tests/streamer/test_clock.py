"""Times: exact, and readable."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.clock import format_ns, parse_time_ns, pts_to_ns, seconds_to_ns

BASES = st.sampled_from([Fraction(1, 90_000), Fraction(1, 12_800), Fraction(1001, 30_000)])


@given(st.integers(-(2**40), 2**40), BASES)
def test_pts_to_ns_is_the_nearest_integer(pts: int, base: Fraction) -> None:
    exact = pts * base * 10**9
    assert abs(pts_to_ns(pts, base) - exact) <= Fraction(1, 2)


@given(st.integers(0, 2**40), BASES)
def test_later_frames_have_later_times(pts: int, base: Fraction) -> None:
    assert pts_to_ns(pts, base) < pts_to_ns(pts + 1, base)


def test_ntsc_does_not_drift() -> None:
    base = Fraction(1001, 30_000)
    assert pts_to_ns(30_000 * 3600, base) == 1001 * 3600 * 10**9


@given(st.integers(0, 10**7))
def test_written_times_are_read_back(ms: int) -> None:
    assert parse_time_ns(format_ns(ms * 10**6)) == ms * 10**6


@pytest.mark.parametrize(
    ("text", "seconds"), [("12.5", 12.5), ("1:02.5", 62.5), ("1:02:03.5", 3723.5), ("0", 0)]
)
def test_parse(text: str, seconds: float) -> None:
    assert parse_time_ns(text) == seconds_to_ns(seconds)


@pytest.mark.parametrize("text", ["", "1:2:3:4", "abc", "-3", "1:"])
def test_other_texts_are_not_times(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time_ns(text)


def test_decimal_seconds_are_taken_as_written() -> None:
    assert seconds_to_ns(0.1) == 100_000_000
    assert seconds_to_ns(1e-9) == 1
