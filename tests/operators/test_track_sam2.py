"""Tracking with SAM 2 and EdgeTAM: the lifecycle around the network, and the contract.

The lifecycle is tested with a network that follows colours, because random weights follow nothing;
the contract also with small networks of both kinds, loaded from folders as released ones are.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import model.sam.video_model
from model.sam.video_model import VideoModel
from operators.track_sam2 import TrackSam2
from operators.tracking.sam2_tracker import Sam2Tracker
from streamer.cli import app
from streamer.commands.evaluate_tracking import evaluate_tracking
from streamer.config import load_pipeline
from streamer.errors import ConfigError, WeightsError
from streamer.records import Event, Frame, TrackedFrame
from streamer.testing import check_operator, describe, frames_of, renamed
from tests.media_factory import write_film
from tests.model.sam.small_video_models import KINDS, small_network
from tests.operators.colour_network import ColourNetwork
from tests.streamer.commands.test_evaluate_tracking import davis, mot

HW = (240, 426)
RED, BLUE, GREEN = (200, 30, 30), (30, 60, 210), (40, 190, 60)
POST = (230, 230, 220)
Box = tuple[int, int, int, int, tuple[int, int, int]]
Image = NDArray[np.uint8]


def picture(seed: int, boxes: list[Box]) -> Image:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(120, 18, (6, 10, 3)).astype(np.float32)
    image = cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_CUBIC)
    for x, y, w, h, colour in boxes:
        cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), colour, -1)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def moving(n: int = 40) -> list[Image]:
    return [
        picture(1, [(20 + 4 * i, 60, 50, 36, RED), (330 - i, 150, 44, 50, BLUE)]) for i in range(n)
    ]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> ColourNetwork:
    made = ColourNetwork()
    monkeypatch.setattr(
        model.sam.video_model, "load_video_model", lambda folder, device: VideoModel(made)
    )
    return made


def operator(folder: Path, **settings: Any) -> TrackSam2:
    made = TrackSam2(weights=str(folder), work_height_px=240, **settings)
    made.setup()
    return made


def tracker(tracking: TrackSam2, stream_id: str = "test") -> Sam2Tracker:
    found = tracking._trackers[stream_id]
    assert isinstance(found, Sam2Tracker)
    return found


def objects(tracking: TrackSam2) -> int:
    session = tracker(tracking).session
    assert session is not None
    return len(session.object_ids)


def run(tracking: TrackSam2, images: list[Image]) -> tuple[list[TrackedFrame], list[Event]]:
    made = [r for frame in frames_of(images) for r in tracking.process([frame])]
    made += tracking.flush("test")
    events = [r for r in made if isinstance(r, Event)]
    return [r for r in made if isinstance(r, TrackedFrame)], events


@pytest.mark.usefixtures("network")
def test_masks_and_ids_follow_the_objects(tmp_path: Path) -> None:
    tracked, events = run(operator(tmp_path), moving())
    assert Counter(e.kind for e in events) == {"track_start": 2, "track_end": 2, "stream_end": 1}
    for item in tracked[15:]:
        i = item.frame.index
        for x, y, w, h in ((20 + 4 * i, 60, 50, 36), (330 - i, 150, 44, 50)):
            truth = np.zeros(HW, bool)
            truth[y : y + h, x : x + w] = True
            masks = [r.mask.decode() for r in item.regions]
            assert max((m & truth).sum() / (m | truth).sum() for m in masks) > 0.9
        assert all(r.score > 0.99 for r in item.regions)
    assert {tuple(r.track_id for r in item.regions) for item in tracked[15:]} == {(1, 2)}
    end = next(e for e in events if e.kind == "track_end" and e.track_id == 1)
    assert (end.data["start_ns"], end.data["end_ns"]) == (0, 39 * 40_000_000)


@pytest.mark.usefixtures("network")
def test_an_object_that_enters_is_found_and_one_that_left_is_forgotten(tmp_path: Path) -> None:
    tracking = operator(tmp_path, hidden_s=0.4)
    images = [picture(2, [(-60 + 9 * i, 90, 50, 40, RED)]) for i in range(80)]
    kept = []
    made = []
    for frame in frames_of(images):
        made += tracking.process([frame])
        kept.append(objects(tracking))
    (start,) = [r for r in made if isinstance(r, Event) and r.kind == "track_start"]
    (end,) = [r for r in made if isinstance(r, Event) and r.kind == "track_end"]
    assert 0 < start.data["start_ns"] < 10**9
    assert start.time_ns < end.data["end_ns"] < 2.3 * 10**9
    assert end.time_ns - end.data["end_ns"] > 0.4 * 10**9
    assert (kept[0], max(kept), kept[-1]) == (0, 1, 0)


@pytest.mark.usefixtures("network")
def test_an_occlusion_keeps_the_id(tmp_path: Path) -> None:
    images = [
        picture(3, [(30 + 5 * i, 100, 36, 30, RED), (190, 20, 60, 200, POST)]) for i in range(60)
    ]
    tracked, events = run(operator(tmp_path), images)

    def red(index: int) -> set[int]:
        x = 30 + 5 * index + 18
        regions = [r for r in tracked[index].regions if r.box_xyxy[0] <= x < r.box_xyxy[2]]
        return {r.track_id for r in regions if r.box_xyxy[3] - r.box_xyxy[1] < 60}

    assert len(red(20)) == 1
    assert not red(34)  # behind the post
    assert red(20) == red(58)
    assert Counter(e.kind for e in events)["track_start"] == 2


def test_what_the_network_has_lost_is_found_by_its_look(
    tmp_path: Path, network: ColourNetwork
) -> None:
    network.blind_from = 21  # no frame that is searched for objects
    tracked, events = run(operator(tmp_path), moving())
    seen = [tuple(r.track_id for r in item.regions) for item in tracked]
    assert set(seen[15:21]) == {(1, 2)}
    assert seen[21] == ()
    assert set(seen[30:]) == {(1, 2)}
    assert Counter(e.kind for e in events) == {"track_start": 2, "track_end": 2, "stream_end": 1}


@pytest.mark.usefixtures("network")
def test_a_box_that_holds_another_thing_is_answered_with_the_mask(tmp_path: Path) -> None:
    """In the box of a diagonal bar most is ground, which the network takes the object to be."""
    images = []
    for i in range(25):
        image = picture(7, [])
        ends = (60 + 3 * i, 40), (190 + 3 * i, 170)
        cv2.line(image, *ends, RED, 16)
        images.append(image)
    tracked, _ = run(operator(tmp_path), images)
    truth = cv2.line(np.zeros(HW, np.uint8), *ends, 1, 16) > 0
    (region,) = tracked[-1].regions
    mask = region.mask.decode()
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8


def test_a_cut_ends_all_tracks_and_starts_anew(tmp_path: Path, network: ColourNetwork) -> None:
    first = [picture(4, [(60 + i, 60, 50, 40, RED)]) for i in range(25)]
    second = [picture(9, [(300 - i, 140, 40, 50, BLUE)])[::-1].copy() for i in range(25)]
    tracking = operator(tmp_path)
    tracked, events = run(tracking, first + second)
    (cut,) = [e for e in events if e.kind == "cut"]
    assert cut.time_ns == 25 * 40_000_000
    before = {r.track_id for item in tracked[:25] for r in item.regions}
    after = {r.track_id for item in tracked[25:] for r in item.regions}
    assert before
    assert after
    assert not before & after


@pytest.mark.parametrize("level", [0, 128])
def test_pictures_without_objects_cost_no_network(
    tmp_path: Path, network: ColourNetwork, level: int
) -> None:
    images = [np.full((*HW, 3), level, np.uint8)] * 12
    tracked, events = run(operator(tmp_path), images)
    assert len(tracked) == 12
    assert not any(item.regions for item in tracked)
    assert [e.kind for e in events] == ["stream_end"]
    assert network.calls == 0


@pytest.mark.usefixtures("network")
def test_frames_that_change_their_size(tmp_path: Path) -> None:
    large = [cv2.resize(image, (852, 480)) for image in moving(40)]
    tall = [cv2.resize(image, (200, 240)) for image in moving(20)]
    tracked, events = run(operator(tmp_path), [*moving(40)[:20], *large[20:], *tall])
    shapes = {r.mask.hw for item in tracked for r in item.regions}
    assert shapes == {(240, 426), (480, 852), (240, 200)}
    # twice the size is the same picture; another shape is another
    assert {tuple(r.track_id for r in item.regions) for item in tracked[15:40]} == {(1, 2)}
    assert {r.track_id for r in tracked[-1].regions} == {3, 4}
    assert not [e for e in events if e.kind == "cut"]


@pytest.mark.usefixtures("network")
def test_no_more_objects_than_asked_for(tmp_path: Path) -> None:
    tracking, most = operator(tmp_path, max_tracks=2), 0
    boxes = [(30, 40, 40, 40, RED), (150, 60, 40, 40, BLUE), (300, 150, 40, 40, GREEN)]
    for i, frame in enumerate(frames_of([picture(5, boxes)] * 20)):
        made = tracking.process([frame])
        most = max(most, objects(tracking))
        if i > 12:
            assert len(next(r for r in made if isinstance(r, TrackedFrame)).regions) == 2
    assert most == 2


@pytest.mark.usefixtures("network")
def test_two_tracks_of_the_same_pixels_become_one(tmp_path: Path) -> None:
    """Two things of one colour are one mask to this network, whichever of them it was given."""
    boxes = [(60, 60, 40, 40, RED), (250, 120, 40, 40, RED)]
    tracking = operator(tmp_path, hidden_s=0.3)
    tracked, _ = run(tracking, [picture(6, boxes)] * 30)
    assert [len(item.regions) for item in tracked[10:]] == [1] * 20
    assert len({r.track_id for item in tracked for r in item.regions}) == 1


@pytest.mark.usefixtures("network")
def test_streams_do_not_meet(tmp_path: Path) -> None:
    films = {"a": moving(16), "b": [image[:, ::-1].copy() for image in moving(16)]}
    frames = {s: [renamed(f, s) for f in frames_of(images)] for s, images in films.items()}
    both = operator(tmp_path)
    mixed = [r for pair in zip(*frames.values(), strict=True) for r in both.process(pair)]
    for stream_id, items in frames.items():
        tracking = operator(tmp_path)
        alone = [r for frame in items for r in tracking.process([frame])]
        ours = [describe(r) for r in mixed if r.stream_id == stream_id]
        assert ours == [describe(r) for r in alone]
        assert any(isinstance(r, TrackedFrame) and len(r.regions) == 2 for r in alone)


def with_events(images: list[Image]) -> list[Frame | Event]:
    broken = Event(stream_id="test", time_ns=10**10, kind="input_error", data={"reason": "x"})
    return [*frames_of(images), broken]


@pytest.mark.usefixtures("network")
def test_the_contract(tmp_path: Path) -> None:
    images = [
        picture(3, [(30 + 9 * i, 100, 36, 30, RED), (190, 20, 60, 200, POST)]) for i in range(36)
    ]
    make = lambda: TrackSam2(weights=str(tmp_path), work_height_px=240)  # noqa: E731
    made = check_operator(make, with_events(images))
    assert sum(isinstance(r, TrackedFrame) for r in made) == 36
    assert any(isinstance(r, Event) and r.kind == "input_error" for r in made)
    assert max(len(r.regions) for r in made if isinstance(r, TrackedFrame)) == 2


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    small_network(request.param).save_pretrained(folder)
    return folder


def test_the_contract_with_a_network_from_a_folder(folder: Path) -> None:
    def make() -> TrackSam2:
        made = TrackSam2(weights=str(folder), work_height_px=240, device="cpu")
        # random weights lose what they are given: it shows up at once
        made.config = replace(made.config, confirm_hits=1)
        return made

    made = check_operator(make, with_events(moving(12)))
    tracked = [r for r in made if isinstance(r, TrackedFrame)]
    assert len(tracked) == 12
    assert sum(len(item.regions) for item in tracked) > 12


def yaml(folder: Path, weights: str = "") -> Path:
    text = f"""\
source: {{use: streamer.sources.video_file.VideoFile, with: {{path: "${{input}}"}}}}
steps:
  track: {{use: operators.track_sam2.TrackSam2, with: {{weights: "{weights}", max_tracks: 8}}}}
sinks:
  - {{use: streamer.sinks.jsonl.Tracks, from: track, with: {{path: "${{out}}/t.jsonl"}}}}
"""
    path = folder / "sam2.yaml"
    path.write_text(text)
    return path


def test_a_configuration_that_uses_it_is_fine(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(yaml(tmp_path, "/models/sam2.1-hiera-tiny"))])
    assert done.exit_code == 0
    assert "is fine" in done.stdout
    swap = ["--set", "track.use=operators.track_sam2.TrackSam2", "--set", "track.weights=/models/x"]
    for name in ("quickstart", "documentary", "surveillance", "private"):
        done = CliRunner().invoke(app, ["check", name, *swap])
        assert done.exit_code == 0, done.exception
        assert "is fine" in done.stdout
    pipeline = load_pipeline(
        yaml(tmp_path, "w"), variables={"input": "a.mp4", "out": "out"},
        overrides=["track.hidden_s=3"],
    )  # fmt: skip
    made = pipeline.steps[0].make()
    assert isinstance(made, TrackSam2)
    assert (made.config.max_tracks, made.config.hidden_s) == (8, 3.0)


def test_mistakes_in_the_settings_are_named(tmp_path: Path) -> None:
    variables = {"input": "a.mp4", "out": "out"}
    for override, wanted in (
        ("track.weights=", "weights"),
        ("track.max_tracks=0", "max_tracks"),
        ("track.max_trakcs=3", "max_tracks"),
        ("track.use=operators.track_sam2.TrackSam3", "TrackSam2"),
    ):
        with pytest.raises(ConfigError, match=wanted):
            load_pipeline(yaml(tmp_path, "w"), variables=variables, overrides=[override])


def test_weights_that_are_not_there_or_another_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(WeightsError, match="nowhere"):
        TrackSam2(weights="nowhere").setup()
    with pytest.raises(WeightsError, match="models pull edgetam"):
        TrackSam2(weights="edgetam").setup()
    with pytest.raises(WeightsError, match="type 'llama'; wanted sam2_video or edgetam_video"):
        TrackSam2(weights=str(tmp_path)).setup()
    with pytest.raises(WeightsError, match="wanted sam2_video or edgetam_video"):
        TrackSam2(weights="osprey-nano").setup()


def test_a_run_with_a_network_from_a_folder(folder: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    write_film(film, range(0, 480, 40))
    variables = ["--var", f"input={film}", "--var", f"out={tmp_path}"]
    done = CliRunner().invoke(app, ["run", str(yaml(tmp_path, str(folder))), "-q", *variables])
    assert done.exit_code == 0, done.exception
    assert len((tmp_path / "t.jsonl").read_text().splitlines()) == 12


@pytest.mark.usefixtures("network")
def test_annotated_pictures_can_be_followed_with_it(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    for layout, wanted in ((davis, "j"), (mot, "idf1")):
        folder = layout(tmp_path / layout.__name__)
        code = evaluate_tracking(
            folder, names=None, there_and_back=False, work_height_px=120, sam2=str(tmp_path),
            json_path=figures, quiet=True,
        )  # fmt: skip
        assert code == 0
        assert json.loads(figures.read_text())["all"][wanted] > 0.75
