"""Sinks: what they write is read back with other tools."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pysubs2
import pytest

from streamer.errors import OutputError
from streamer.mask import Mask
from streamer.records import Caption, Event, Frame, Record, Region, StreamInfo, TrackedFrame
from streamer.schema import json_schema
from streamer.sinks.drawing import draw_regions, track_colour
from streamer.sinks.jsonl import JsonLines, Tracks
from streamer.sinks.overlay_video import OverlayVideo
from streamer.sinks.subtitles import Subtitles, cues
from streamer.testing import check_sink, frames_of
from tests.media_factory import click_times_s, write_film
from tests.streamer.example_parts import caption

S = 10**9
INFO = StreamInfo(stream_id="test", uri="test", width_px=160, height_px=120, fps=25.0)


def tracked(frame: Frame, track_id: int = 1) -> TrackedFrame:
    dense = np.zeros(frame.hw, bool)
    dense[40:80, 50:100] = True
    mask = Mask.encode(dense)
    region = Region(mask=mask, box_xyxy=mask.box_xyxy, score=0.9, track_id=track_id)
    return TrackedFrame(frame=frame, regions=(region,))


def a_run(n: int = 25, hw: tuple[int, int] = (120, 160)) -> list[Record]:
    records: list[Record] = []
    for frame in frames_of([np.full((*hw, 3), 90, np.uint8)] * n):
        records.append(tracked(frame))
        if frame.index == 3:
            records.append(replace(caption(frame), end_ns=None))
    records.append(replace(caption(frames_of([np.zeros((*hw, 3), np.uint8)])[0]), end_ns=S))
    records.append(Event(stream_id="test", time_ns=S, kind="track_end", track_id=1))
    return records


def of(records: list[Record], *kinds: type) -> list[Record]:
    return [r for r in records if isinstance(r, kinds)]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    records = of(a_run(), Caption, Event)
    text = check_sink(lambda: JsonLines(str(path)), [INFO], records, path.read_text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["record"] for line in lines] == ["caption", "event"]  # the open one is not kept
    for line in lines:
        jsonschema.validate(line, json_schema())
    text = check_sink(lambda: JsonLines(str(path), partial=True), [INFO], records, path.read_text)
    ends = [json.loads(line).get("end_ns") for line in text.splitlines()]
    assert ends == [None, S, None]


def test_tracks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = of(a_run(5), TrackedFrame)
    text = check_sink(lambda: Tracks(str(path)), [INFO], records, path.read_text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["frame_index"] for line in lines] == list(range(5))
    for line in lines:
        jsonschema.validate(line, json_schema())
    assert Mask.from_json(lines[0]["regions"][0]["mask"]).area_px == 2000


def test_the_schema_refuses_what_is_not_a_record() -> None:
    good = caption(frames_of([np.zeros((4, 6, 3), np.uint8)])[0]).to_json()
    jsonschema.validate(good, json_schema())
    for change in ({"track_id": "one"}, {"more": 1}, {"mean_logprob": 0.5}, {"why": "because"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **change}, json_schema())


@pytest.mark.parametrize("ending", ["vtt", "srt"])
def test_subtitles(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    base = caption(frames_of([np.zeros((4, 6, 3), np.uint8)])[0])
    captions = [
        replace(base, start_ns=1 * S, end_ns=5 * S, text="a red car"),
        replace(base, track_id=2, start_ns=3 * S, end_ns=8 * S, text="a dog", asked_ns=7),
    ]
    check_sink(lambda: Subtitles(str(path)), [INFO], captions, path.read_text)
    shown = [(e.start, e.end, e.plaintext) for e in pysubs2.load(str(path))]
    assert shown == [
        (1000, 3000, "#1 a red car"),
        (3000, 5000, "#1 a red car\n#2 a dog"),
        (5000, 8000, "#2 a dog"),
    ]


def test_cues_do_not_flash_by_and_keep_to_their_lines() -> None:
    base = caption(frames_of([np.zeros((4, 6, 3), np.uint8)])[0])
    many = [
        replace(base, track_id=i, start_ns=i * S // 10, end_ns=3 * S, text="x") for i in range(1, 8)
    ]
    made = cues(many, max_lines=3)
    assert all(end - start >= 500 for start, end, _ in made)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(made))
    assert made[-1][2] == ["#5 x", "#6 x", "#7 x"]


@pytest.mark.parametrize("hw", [(120, 160), (121, 161)])
def test_overlay(tmp_path: Path, hw: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    sink = OverlayVideo(str(path))
    sink.open([INFO])
    records = a_run(25, hw)
    for record in records:
        sink.write(record)
    sink.close()
    with av.open(str(path)) as container:
        shown = list(container.decode(video=0))
    assert len(shown) == 25
    times = [round(float(f.pts * f.time_base), 3) for f in shown]
    assert times == [round(0.04 * i, 3) for i in range(25)]
    picture = shown[20].to_ndarray(format="rgb24")
    assert picture.shape[:2] == (120, 160)
    drawn = abs(picture.astype(int) - 90).max(axis=2) > 25
    assert drawn[36:44, 50:100].mean() > 0.2  # the outline
    assert not drawn[55:65, 60:90].any()  # the inside is left alone
    first = of(records, TrackedFrame)[0]
    assert isinstance(first, TrackedFrame)
    assert (first.frame.image == 90).all()  # and so is the frame itself


@pytest.mark.parametrize("codec", ["aac", "flac"])
def test_overlay_keeps_the_sound_in_time(tmp_path: Path, codec: str) -> None:
    film = write_film(tmp_path / "a.mkv", range(0, 4000, 40), sound=codec)
    sink = OverlayVideo(str(tmp_path / "b.mp4"), audio=str(film))
    sink.open([INFO])
    for frame in frames_of([np.zeros((120, 160, 3), np.uint8)] * 60, first_ns=S + S // 5):
        sink.write(TrackedFrame(frame=frame, regions=()))
    sink.close()
    # a click at every second of the film, which the overlay begins at 1.2 s
    assert click_times_s(tmp_path / "b.mp4") == pytest.approx([0.8, 1.8], abs=0.03)


def test_an_overlay_without_frames_leaves_no_broken_film(tmp_path: Path) -> None:
    sink = OverlayVideo(str(tmp_path / "a.mp4"))
    sink.open([INFO])
    sink.close()
    assert (tmp_path / "a.mp4").stat().st_size == 0


def test_labels_do_not_cover_each_other() -> None:
    frame = frames_of([np.full((360, 640, 3), 90, np.uint8)])[0]
    regions = [tracked(frame, i).regions[0] for i in (1, 2, 3)]
    words = dict.fromkeys((1, 2, 3), "a small red car")
    picture = draw_regions(frame.image, regions, words)
    for i in (1, 2, 3):
        assert (picture == track_colour(i)).all(axis=2).sum() > 20
    assert len({track_colour(i) for i in range(1, 30)}) == 29


@pytest.mark.parametrize(
    "make",
    [
        lambda p: JsonLines(p),
        lambda p: Tracks(p),
        lambda p: Subtitles(p + ".vtt"),
        lambda p: OverlayVideo(p),
    ],
)
def test_outputs_that_cannot_be_written(tmp_path: Path, make: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        make(str(tmp_path / "file" / "a")).open([INFO])
    assert "\n" not in str(caught.value)


def test_subtitles_of_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"\.vtt or \.srt"):
        Subtitles("a.txt")
