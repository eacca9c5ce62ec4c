"""Films split at cuts: the pieces, joined, are what the whole gives, to the byte."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamer.commands import split
from streamer.commands.batch import run_batch
from streamer.errors import ConfigError, StreamerError
from streamer.split import Piece, pieces
from streamer.units import Units
from tests.operators.test_track import BLUE, RED, picture

SHOT = 40  # frames; 25 a second
TRACKS_ONLY = """
source: {use: streamer.sources.video_file.VideoFile, with: {path: "${input}"}}
steps:
  track: {use: operators.track.Track, with: {work_height_px: 120}}
sinks:
  - {use: streamer.sinks.jsonl.JsonLines, from: track, with: {path: "${out}/${stem}.jsonl"}}
  - {use: streamer.sinks.jsonl.Tracks, from: track, with: {path: "${out}/${stem}.tracks.jsonl"}}
"""


def shots(count: int) -> list[np.ndarray]:
    return [
        picture(
            10 * s,
            [
                (20 + 3 * i + 30 * s, 40 + 20 * s, 50, 36, RED if s % 2 else (30, 160, 60)),
                (330 - i, 150 - 30 * s, 44, 50, BLUE),
            ],
        )
        for s in range(count)
        for i in range(SHOT)
    ]


def encode(path: Path, images: Sequence[np.ndarray], rate: int = 25, **options: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "16", **options})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def ran(inputs: Path | str, out: Path, split_s: float | None, **options: Any) -> int:
    config = out.parent / "tracks.yaml"
    config.write_text(TRACKS_ONLY)
    settings: dict[str, Any] = {
        "config": str(config), "overrides": [], "variables": {}, "attempts": 1, "jobs": 2,
        "changed": "ask", "ray": None, "json_path": None, "quiet": True,
    }  # fmt: skip
    return run_batch(str(inputs), out, split_s=split_s, **(settings | options))


def made(folder: Path) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes()
        for p in folder.iterdir()
        if p.is_file() and p.suffix in (".jsonl", ".vtt")
    }


def states(folder: Path) -> list[str]:
    units = Units(folder)
    try:
        return [unit.state for unit in units.all()]
    finally:
        units.close()


@pytest.mark.parametrize("keyframes", [pytest.param("12", marks=pytest.mark.slow), "250"])
def test_pieces_joined_are_the_whole(tmp_path: Path, keyframes: str) -> None:
    # without key frames of the encoder's own at the cuts, pieces begin inside a group of pictures
    film = encode(tmp_path / "film.mp4", shots(3), g=keyframes, **{"x264-params": "scenecut=0"})
    assert ran(film, tmp_path / "whole", None, config="batch") == 0
    assert ran(film, tmp_path / "split", 1.0, config="batch") == 0
    wanted = made(tmp_path / "whole")
    assert sorted(wanted) == ["film.jsonl", "film.tracks.jsonl", "film.vtt"]
    lines = [json.loads(line) for line in wanted["film.jsonl"].splitlines()]
    assert sum(line.get("kind") == "cut" for line in lines) == 2
    captions = [line for line in lines if line["record"] == "caption"]
    assert len({line["track_id"] for line in captions}) >= 4
    assert made(tmp_path / "split") == wanted
    assert states(tmp_path / "split") == ["done"] * 4  # the film and its three pieces
    assert not (tmp_path / "split" / ".pieces").exists()
    assert ran(film, tmp_path / "split", 1.0, config="batch") == 0


def test_some_cuts_and_settings_of_the_source(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", shots(4))
    settings = {"overrides": ["source.start=0.5", "source.end=6.1", "source.sample_fps=10"]}
    assert ran(film, tmp_path / "whole", None, **settings) == 0
    assert ran(film, tmp_path / "split", 2.0, **settings) == 0
    assert made(tmp_path / "split") == made(tmp_path / "whole")
    assert states(tmp_path / "split") == ["done"] * 3


def test_what_was_done_before_a_kill_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = encode(tmp_path / "film.mp4", shots(3))

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(split, "join", broken)
        with pytest.raises(KeyboardInterrupt):
            ran(film, tmp_path / "split", 1.0)
    assert states(tmp_path / "split") == ["waiting", "done", "done", "done"]
    begun = []

    def recorded(pipeline: Any, folder: Path) -> Any:
        begun.append(folder)
        raise StreamerError("done again")

    with monkeypatch.context() as patch:
        patch.setattr(split, "recording", recorded)
        assert ran(film, tmp_path / "split", 1.0) == 0
    assert not begun
    assert ran(film, tmp_path / "whole", None) == 0
    assert made(tmp_path / "split") == made(tmp_path / "whole")


def test_what_the_tracker_takes_for_no_cut_is_run_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    film = encode(tmp_path / "film.mp4", shots(2))
    looked = split.Splitter._look

    def too_much(self: Any, film: Any, stop: threading.Event) -> tuple[list[Piece], int]:
        _, first_ns = looked(self, film, stop)
        return pieces([20 * 40_000_000], 0, 80 * 40_000_000, 0), first_ns

    monkeypatch.setattr(split.Splitter, "_look", too_much)
    assert ran(film, tmp_path / "split", 1.0) == 0
    assert "0.800 s is no cut to the tracker" in capsys.readouterr().err
    monkeypatch.undo()
    assert ran(film, tmp_path / "whole", None) == 0
    assert made(tmp_path / "split") == made(tmp_path / "whole")


def test_a_damaged_film_is_run_in_one(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mkv", shots(3))
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 4 // 5])
    assert ran(film, tmp_path / "whole", None) == 3
    assert ran(film, tmp_path / "split", 1.0) == 3
    assert made(tmp_path / "split") == made(tmp_path / "whole")


def test_what_cannot_be_split(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", shots(2))
    for config, said in (
        ("surveillance", "'rules' remembers"),
        ("quickstart", "cannot be written"),
    ):
        with pytest.raises(ConfigError, match=said):
            ran(film, tmp_path / config, 1.0, config=config)


def test_pieces_are_long_enough() -> None:
    assert pieces([10, 15, 40, 95], 0, 100, 20) == [
        Piece(begin_ns=None, cut_ns=40),
        Piece(begin_ns=40, cut_ns=None),
    ]
    assert pieces([], 0, 100, 20) == [Piece(begin_ns=None, cut_ns=None)]


@pytest.mark.slow
def test_real_films_one_behind_the_other(tmp_path: Path, media_dir: Path) -> None:
    images = []
    for name in ("dog.mp4", "skateboarder.mp4", "pingpong.mp4"):
        with av.open(str(media_dir / name)) as container:
            for n, frame in enumerate(container.decode(video=0)):
                if n == 75:
                    break
                images.append(frame.reformat(640, 360, "rgb24").to_ndarray())
    film = encode(tmp_path / "film.mp4", images)
    assert ran(film, tmp_path / "whole", None, config="batch") == 0
    assert ran(film, tmp_path / "split", 1.5, config="batch") == 0
    assert states(tmp_path / "split").count("done") >= 4
    assert made(tmp_path / "split") == made(tmp_path / "whole")
