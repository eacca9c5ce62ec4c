from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.errors import InputError, OutputError
from streamer.records import Caption, Event, Frame, StreamInfo, TrackedFrame
from streamer.sinks.overlay_video import OverlayVideo
from streamer.sources.video_file import VideoFile
from streamer.testing import check_sink, frames_of
from tests.media_factory import click_times_s, cut_off, number_in, picture_of, write_film
from tests.streamer.sinks.sink_records import (
    STREAM,
    caption,
    event,
    numbered_frames,
    region,
    tracked,
)


def film(path: Path) -> list[Frame]:
    source = VideoFile(str(path))
    source.open()
    found = list(source.read())
    assert all(isinstance(record, Frame) for record in found)
    return [record for record in found if isinstance(record, Frame)]


def write(
    sink: OverlayVideo,
    records: Sequence[TrackedFrame | Caption | Event],
    stream: StreamInfo = STREAM,
) -> None:
    sink.open([stream])
    for record in records:
        sink.write(record)
    sink.flush()
    sink.close()
    sink.close()  # once more does no harm


def test_every_frame_once_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    frames = numbered_frames(20, first_ns=7_000_000_000)
    found = check_sink(
        lambda: OverlayVideo(str(path)),
        [STREAM],
        [tracked(f, region((60, 70, 100, 110))) for f in frames],
        lambda: [(number_in(f.image), f.time_ns) for f in film(path)],
    )
    assert found == [(n, n * 40_000_000) for n in range(20)]


@pytest.mark.parametrize("first_ms", [0, 5000])
def test_unsteady_times_are_kept(tmp_path: Path, first_ms: int) -> None:
    times_ms = (0, 40, 95, 120, 200, 333, 334, 400, 900, 901, 1500)
    frames = [
        frames_of([picture_of(n)], first_ns=(first_ms + at) * 10**6)[0]
        for n, at in enumerate(times_ms)
    ]
    path = tmp_path / "a.mp4"
    write(OverlayVideo(str(path)), [tracked(f) for f in frames])
    assert [f.time_ns for f in film(path)] == [ms * 10**6 for ms in times_ms]


@pytest.mark.parametrize("words_first", [True, False])
def test_words_appear_when_asked_for_and_go_with_their_track(
    tmp_path: Path, words_first: bool
) -> None:
    path = tmp_path / "a.mp4"
    frames = frames_of([np.full((240, 320, 3), 128, np.uint8)] * 9)
    here = region((120, 120, 200, 200), hw=(240, 320))
    besides: dict[int, list[Caption | Event]] = {
        3: [caption(0.12, text="a red car")],
        5: [caption(0.12, 0.2, text="a red car"), caption(0.2, text="a red car with a roof rack")],
        7: [event(0.28, "track_end", 1)],
    }
    records: list[TrackedFrame | Caption | Event] = []
    for n, frame in enumerate(frames):
        shown = tracked(frame, *([here] if n < 8 else []))
        spoken = besides.get(n, [])
        records += [*spoken, shown] if words_first else [shown, *spoken]
    write(OverlayVideo(str(path), crf=4), records)
    changes = [np.abs(f.image.astype(int) - 128).max(axis=2) for f in film(path)]
    drawn = [int((change > 60).sum()) for change in changes]
    assert drawn[0] == pytest.approx(drawn[2], abs=60)
    assert drawn[3] > drawn[2] + 300  # words
    assert drawn[5] > drawn[4] + 300  # more words
    assert drawn[7] == pytest.approx(drawn[0], abs=60)  # only the id
    assert drawn[8] == 0
    assert all((frame.image == 128).all() for frame in frames)  # nobody wrote into them


def test_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for hw in ((121, 161), (120, 161), (17, 16)):
        write(OverlayVideo(str(path)), [tracked(f) for f in numbered_frames(3, hw)])
        assert [f.hw for f in film(path)] == [(hw[0] // 2 * 2, hw[1] // 2 * 2)] * 3
    large = [tracked(f) for f in numbered_frames(3, (242, 321))]
    write(OverlayVideo(str(path), max_height=120), large)
    assert [(f.hw, number_in(f.image)) for f in film(path)] == [((120, 158), n) for n in range(3)]


def test_pictures_of_another_size_are_cut_or_padded(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    images = [np.full((*hw, 3), 200, np.uint8) for hw in [(120, 160), (60, 80), (240, 320)]]
    write(OverlayVideo(str(path)), [tracked(f) for f in frames_of(images)])
    same, padded, cut = film(path)
    assert min(same.image.min(), cut.image.min()) > 190
    assert padded.image[:56, :76].min() > 180
    assert padded.image[64:, 84:].max() < 20


@pytest.mark.parametrize("height", [64, 720])
def test_colours_survive(tmp_path: Path, height: int) -> None:
    colours = np.array([(220, 30, 40), (30, 200, 60), (20, 60, 220), (240, 240, 240)], np.uint8)
    image = np.repeat(np.repeat(colours[None], height, axis=0), 32, axis=1)
    path = tmp_path / "a.mp4"
    write(OverlayVideo(str(path), crf=4), [tracked(f) for f in frames_of([image] * 3)])
    got = film(path)[1].image[height // 2, 16::32]
    assert np.abs(got.astype(int) - colours).max() <= 6
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.colorspace == 1  # says BT.709 itself


@pytest.mark.parametrize(
    ("name", "sound", "kept"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.ts", "aac", "aac"),
        ("a.mkv", "libopus", "opus"),
        ("a.mkv", "mp3", "mp3"),
        ("a.mkv", "pcm_s16le", "aac"),
    ],
)
@pytest.mark.parametrize("start_s", [0.0, 1.5])
def test_sound_stays_with_the_picture(
    tmp_path: Path, name: str, sound: str, kept: str, start_s: float
) -> None:
    """Clicks come where they did, counted from the same picture."""
    source_path = write_film(tmp_path / name, range(0, 5000, 40), sound=sound)
    source = VideoFile(str(source_path), start=start_s, end=4.5)
    (info,) = source.open()
    frames = [record for record in source.read() if isinstance(record, Frame)]
    path = tmp_path / "out.mp4"
    write(OverlayVideo(str(path), audio=str(source_path)), [tracked(f) for f in frames], info)
    first_s = frames[0].time_ns / 1e9
    wanted = [at - first_s for at in click_times_s(source_path) if 0.1 < at - first_s < 2.9]
    found = click_times_s(path)
    assert len(wanted) >= 2
    for at in wanted:
        assert min(abs(at - other) for other in found) < 0.004
    assert max(found) < 4.5 - start_s
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == kept


def test_sound_that_is_not_there(tmp_path: Path) -> None:
    silent = write_film(tmp_path / "silent.mp4")
    path = tmp_path / "a.mp4"
    write(OverlayVideo(str(path), audio=str(silent)), [tracked(f) for f in numbered_frames(3)])
    with av.open(str(path)) as container:
        assert not container.streams.audio
    with pytest.raises(InputError, match=r"none\.mp4: no such file to take the sound from"):
        OverlayVideo(str(path), audio=str(tmp_path / "none.mp4")).open([STREAM])


def test_sound_of_a_cut_off_film(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    short = cut_off(write_film(tmp_path / "b.mp4", sound="aac", options=options), 0.7)
    path = tmp_path / "a.mp4"
    write(OverlayVideo(str(path), audio=str(short)), [tracked(f) for f in numbered_frames(50)])
    assert len(film(path)) == 50


def test_a_film_that_fails_half_way_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    sink = OverlayVideo(str(path))
    sink.open([STREAM])

    def full(image: NDArray[np.uint8], *args: object) -> NDArray[np.uint8]:
        raise OSError(28, "No space left on device")

    first, second, third = (tracked(f) for f in numbered_frames(3))
    sink.write(first)
    sink.write(second)
    monkeypatch.setattr("streamer.sinks.overlay_video._fitted", full)
    with pytest.raises(OutputError, match=r"a.mp4 cannot be written \(No space left on device\)"):
        sink.write(third)
    sink.close()
    assert [number_in(f.image) for f in film(path)] == [0]


def test_mistakes(tmp_path: Path) -> None:
    for wrong, words in (
        ({"crf": 52}, "lossless"),
        ({"preset": "quick"}, "one of ultrafast"),
        ({"max_height": 2}, "at least 16"),
    ):
        with pytest.raises(ValueError, match=words):
            OverlayVideo("a.mp4", **wrong)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="shows one stream, not 2"):
        OverlayVideo(str(tmp_path / "a.mp4")).open([STREAM, STREAM])
