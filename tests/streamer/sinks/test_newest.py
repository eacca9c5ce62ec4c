"""The newest picture of a stream: whole, with its time, and covered where pictures are covered."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamer.config import load_pipeline
from streamer.errors import ConfigError, OutputError
from streamer.executors.local import run_local
from streamer.records import StreamInfo
from streamer.sinks import newest as module
from streamer.sinks.newest import Newest, taken_of
from streamer.testing import check_sink, renamed
from tests.media_factory import number_in, write_film
from tests.streamer.sinks.sink_records import STREAM, numbered_frames, tracked

CONFIG = """
source: {use: streamer.sources.video_file.VideoFile, with: {path: "${input}"}}
steps:
  track:  {use: operators.track.Track, with: {work_height_px: 120}}
  redact: {use: operators.redact.Redact, with: {categories: [], how: fill}}
sinks:
  - use: streamer.sinks.newest.Newest
    name: newest
    from: FROM
    with: {path: "${out}", every_s: 0.01}
"""


def shown(path: Path) -> tuple[int, int, int]:
    """The number that the picture shows, its frame's index and its time."""
    jpeg = path.read_bytes()
    taken = taken_of(jpeg)
    assert taken is not None
    return number_in(np.asarray(Image.open(io.BytesIO(jpeg)))), taken.frame_index, taken.time_ns


def test_it_is_the_newest_and_knows_its_time(tmp_path: Path) -> None:
    begin_ns = 1_780_000_000_123_456_789
    frames = numbered_frames(60, first_ns=begin_ns)
    frames = [replace(frame, uncertainty_ns=7) for frame in frames]
    path = tmp_path / "newest" / "test.jpg"
    found = check_sink(
        lambda: Newest(str(path.parent)), [STREAM], [tracked(frame) for frame in frames],
        lambda: shown(path),
    )  # fmt: skip
    # of 60 pictures in 2.4 s: those at 0, 1 and 2 s
    assert found == (50, 50, begin_ns + 2 * 10**9)
    taken = taken_of(path.read_bytes())
    assert taken is not None
    assert (taken.stream_id, taken.uncertainty_ns) == ("test", 7)
    assert [p.name for p in path.parent.iterdir()] == ["test.jpg"]


def test_each_stream_has_its_own_and_begins_anew(tmp_path: Path) -> None:
    names = ["gate", "../gate", "a/b"]
    infos = [StreamInfo(stream_id=n, uri="", width_px=160, height_px=120) for n in names]
    sink = Newest(str(tmp_path / "newest"))
    sink.open(infos[:1])
    sink.join(infos[1])
    sink.join(infos[2])
    for number, name in enumerate(names):
        sink.write(tracked(renamed(numbered_frames(9)[number], name)))
    files = sorted((tmp_path / "newest").iterdir())
    assert len(files) == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "newest"]
    assert sorted(shown(file)[0] for file in files) == [0, 1, 2]
    Newest(str(tmp_path / "newest")).open(infos[:1])
    assert not (tmp_path / "newest" / "gate.jpg").exists()  # of the run before


def test_its_height_is_bounded(tmp_path: Path) -> None:
    sink = Newest(str(tmp_path), max_height=60)
    sink.open([STREAM])
    sink.write(tracked(numbered_frames(1)[0]))
    assert Image.open(tmp_path / "test.jpg").size == (80, 60)


def test_mistakes_are_named(tmp_path: Path) -> None:
    for wrong in ({"every_s": 0}, {"max_height": 8}):
        with pytest.raises(ValueError, match="wanted"):
            Newest(str(tmp_path), **wrong)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        Newest(str(tmp_path / "file")).open([STREAM])
    for other in (b"", b"text", (tmp_path / "file").read_bytes()):
        assert taken_of(other) is None


def red_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> tuple[int, list[int]]:
    """How many pictures were written, and the red pixels of each."""
    pictures = []
    for n in range(40):
        picture = np.full((120, 160, 3), 90, np.uint8)
        picture[40:80, 10 + 2 * n : 50 + 2 * n] = (220, 20, 20)
        pictures.append(picture)
    film = write_film(tmp_path / "film.mp4", range(0, 1600, 40), pictures=pictures)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.replace("FROM", step))
    out = tmp_path / step
    red: list[int] = []
    write = module.save_picture

    def counted(path: Path, image: Any, **settings: Any) -> None:
        write(path, image, **settings)
        kept = np.asarray(Image.open(path)).astype(int)
        red.append(int(((kept[..., 0] > 150) & (kept[..., 1] < 80)).sum()))

    monkeypatch.setattr(module, "save_picture", counted)
    variables = {"input": str(film), "out": str(out)}
    run_local(load_pipeline(config, variables=variables))
    monkeypatch.undo()
    assert [p.name for p in out.iterdir()] == ["film.jpg"]
    return len(red), red


def test_what_is_covered_is_never_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, red = red_in(tmp_path, monkeypatch, "track")
    assert (count, min(red) > 1000) == (40, True)  # without covering, it is seen
    count, red = red_in(tmp_path, monkeypatch, "redact")
    assert (count, max(red)) == (40, 0)
    # and it cannot be told to read what no step has let out
    with pytest.raises(ConfigError, match="takes only TrackedFrame"):
        red_in(tmp_path, monkeypatch, "source")


def test_watching_keeps_it_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamer.commands import watch

    ran = []
    monkeypatch.setattr(watch, "execute", lambda pipeline, **_: ran.append(pipeline) or 1 / 0)
    for newest in (True, False):
        with pytest.raises(ZeroDivisionError):
            watch.watch_streams(
                ["rtsp://127.0.0.1/x"], tmp_path, config="live", overrides=[], for_s=None,
                json_path=None, quiet=True, ray=None, metrics=None, newest=newest,
            )  # fmt: skip
    kept = [[o.sink.__name__ for o in pipeline.outputs] for pipeline in ran]
    assert kept == [
        ["Console", "JsonLines", "Catalog", "Newest"], ["Console", "JsonLines", "Catalog"]
    ]  # fmt: skip
