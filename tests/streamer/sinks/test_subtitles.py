from __future__ import annotations

import itertools
from pathlib import Path

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import OutputError
from streamer.records import Caption
from streamer.sinks.subtitles import Subtitles, cues
from streamer.testing import check_sink
from tests.streamer.sinks.sink_records import STREAM, caption


def shown(captions: list[Caption], max_lines: int = 4) -> list[tuple[float, float, list[str]]]:
    return [(start / 1000, end / 1000, text) for start, end, text in cues(captions, max_lines)]


def test_one_cue_for_each_set_of_captions() -> None:
    captions = [
        caption(1, 5, "a car"),
        caption(3, 8, "a dog", track_id=2),
        caption(5, 6, "a red car"),
        caption(9, 10, "a cat", track_id=3),
    ]
    assert shown(captions) == [
        (1, 3, ["#1 a car"]),
        (3, 5, ["#1 a car", "#2 a dog"]),
        (5, 6, ["#1 a red car", "#2 a dog"]),
        (6, 8, ["#2 a dog"]),
        (9, 10, ["#3 a cat"]),
    ]


def test_the_newest_tracks_when_there_are_too_many() -> None:
    captions = [caption(track, 9, "it", track_id=track) for track in (1, 2, 3)]
    assert shown(captions, 2)[-1] == (3, 9, ["#2 it", "#3 it"])
    assert len(shown(captions, 2)) == 3


def test_edges_that_lie_close_are_one() -> None:
    captions = [caption(0, 5, "a car"), caption(5.2, 9, "a dog", track_id=2)]
    assert shown(captions) == [(0, 5, ["#1 a car"]), (5, 9, ["#2 a dog"])]


def test_words_that_are_replaced_at_once_are_left_out() -> None:
    captions = [caption(0, 0.3, "a car"), caption(0.3, 4, "a red car")]
    assert shown(captions) == [(0, 4, ["#1 a red car"])]


def test_a_short_caption_that_stands_alone_is_shown_for_half_a_second() -> None:
    alone = [caption(1, 1.1, "a bird"), caption(7, 9, "a dog", track_id=2)]
    assert shown(alone) == [(1, 1.5, ["#1 a bird"]), (7, 9, ["#2 a dog"])]
    assert shown([caption(2, 2, "a bird")]) == [(2, 2.5, ["#1 a bird"])]
    # too short a gap for a cue of its own: until the next edge
    close = [caption(1, 1.1, "a bird"), caption(1.7, 9, "a dog", track_id=2)]
    assert shown(close) == [(1, 1.7, ["#1 a bird"]), (1.7, 9, ["#2 a dog"])]


@given(
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 3000), st.integers(1, 4)), max_size=25)
)
def test_cues_are_always_in_order_and_long_enough(spans: list[tuple[int, int, int]]) -> None:
    captions = [
        caption(at / 1000, (at + length) / 1000, f"{at} {length}", track_id=track)
        for at, length, track in spans
    ]
    found = cues(captions, 3)
    assert bool(found) == bool(captions)
    for start_ms, end_ms, text in found:
        assert end_ms - start_ms >= 500
        assert 1 <= len(text) <= 3
    for (_, end_ms, _), (start_ms, _, _) in itertools.pairwise(found):
        assert start_ms >= end_ms
    words = {line for _, _, text in cues(captions, 100) for line in text}
    for one in captions:
        assert one.end_ns is not None
        others = [c for c in captions if c.track_id == one.track_id and c is not one]
        if one.end_ns - one.start_ns >= 10**9 and not others:
            assert f"#{one.track_id} {one.text}" in words


@pytest.mark.parametrize("ending", [".vtt", ".srt", ".VTT"])
def test_files_that_players_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    records = [
        caption(3600.5, text="not final"),
        caption(3600.5, 3602.25, "a red car"),
        caption(3700, 3701, "ein „rotes“ Auto", track_id=2),
    ]
    text = check_sink(
        lambda: Subtitles(str(path)), [STREAM], records, lambda: path.read_text(encoding="utf-8")
    )
    assert text.startswith("WEBVTT") == (ending != ".srt")
    read = pysubs2.SSAFile.from_string(text)
    assert [(e.start, e.end, e.plaintext) for e in read] == [
        (3_600_500, 3_602_250, "#1 a red car"),
        (3_700_000, 3_701_000, "#2 ein „rotes“ Auto"),
    ]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_nothing_in_a_caption_is_taken_for_markup(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    sink = Subtitles(str(path))
    sink.open([STREAM])
    sink.write(caption(0, 2, "a {tiny} sign --> with <b> & \\N\n\nnew line"))
    sink.close()
    *_, line, _ = path.read_text(encoding="utf-8").split("\n")
    body = [line for line in path.read_text(encoding="utf-8").splitlines() if line][3:]
    assert body == ["#1 a (tiny) sign → with &lt;b&gt; &amp; /N new line"]
    assert line == ""


def test_an_interrupted_run_leaves_what_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    sink = Subtitles(str(path))
    sink.open([STREAM])
    sink.write(caption(0, 2))
    sink.flush()
    sink.write(caption(2, 3, "lost"))
    assert [e.plaintext for e in pysubs2.load(str(path))] == ["#1 a red car"]
    sink.close()
    assert len(pysubs2.load(str(path))) == 2


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"subtitles end in \.vtt or \.srt"):
        Subtitles("a.ass")
    with pytest.raises(ValueError, match="at least 1"):
        Subtitles("a.vtt", max_lines=0)
    with pytest.raises(OutputError, match="for one stream, not 2"):
        Subtitles(str(tmp_path / "a.vtt")).open([STREAM, STREAM])
    with pytest.raises(OutputError, match="cannot be written"):
        Subtitles("/proc/a.vtt").open([STREAM])
