"""`streamer rules` and `streamer evaluate rules`: on real runs and films."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from model.synthetic.film import Film
from model.synthetic.happenings import draw_at_random
from streamer.cli import app
from streamer.commands.evaluate_rules import MaskRules, Outcome, watch_film
from streamer.config import load_pipeline
from streamer.errors import ConfigError, InputError, OutputError, StreamerError
from streamer.executors.local import run_local
from tests.media_factory import write_film

RULES = {
    "zones": {"all": [[0.05, 0.05], [0.95, 0.05], [0.95, 0.95], [0.05, 0.95]]},
    "lines": {"mid": [[0.5, 0], [0.5, 1]]},
    "rules": [
        {"name": "in", "kind": "zone_enter", "zone": "all"},
        {"name": "out", "kind": "zone_leave", "zone": "all"},
        {"name": "over", "kind": "line_cross", "line": "mid"},
        {"name": "new", "kind": "appear"},
        {"name": "meet", "kind": "contact", "within": 0.03},
        {"name": "said", "kind": "zone_enter", "zone": "all", "of": {"sure": 0.3}},
        {"name": "known", "kind": "count", "zone": "all", "at_least": 2, "of": {"sure": 0.3}},
        {"name": "other-words", "kind": "look_change"},
    ],
}
CONFIG = """
source: {use: streamer.sources.video_file.VideoFile, with: {path: "${input}"}}
steps:
  track: {use: operators.track.Track, with: {work_height_px: 180}}
  rules: {use: operators.rules.Rules, from: track, with: {path: "${rules}"}}
  select: {use: operators.select.Select, from: track, with: {min_short_side_px: 8, max_age_s: 1.0}}
  caption: {use: operators.caption.CaptionRegions, with: {detail_prompt: ""}}
  intervals: {use: operators.intervals.Intervals}
  words: {use: operators.rules.WordRules, from: [track, intervals], with: {path: "${rules}"}}
sinks:
  - use: streamer.sinks.jsonl.JsonLines
    from: [track, rules, intervals, words]
    with: {path: "${out}/a.jsonl"}
  - {use: streamer.sinks.jsonl.Tracks, from: track, with: {path: "${out}/a.tracks.jsonl"}}
  - {use: streamer.sinks.jsonl.JsonLines, name: events, from: [rules, words],
     with: {path: "${out}/events.jsonl"}}
"""


def streamer(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film, rules, and what a live run made of them."""
    folder = tmp_path_factory.mktemp("run")
    film = Film(7101, height_px=180, width_px=320, seconds=4.0)
    pictures = [film.frame(i).image for i in range(0, film.n_frames, 2)]
    write_film(
        folder / "film.mp4", range(0, 80 * len(pictures), 80), hw=(180, 320), pictures=pictures
    )
    (folder / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (folder / "run.yaml").write_text(CONFIG)
    names = {"input": "film.mp4", "rules": "rules.yaml", "out": "out"}
    variables = {name: str(folder / value) for name, value in names.items()}
    run_local(load_pipeline(folder / "run.yaml", variables=variables))
    return folder


def test_replay_gives_the_bytes_of_the_live_run(run: Path, tmp_path: Path) -> None:
    live = (run / "out" / "events.jsonl").read_bytes()
    events = [json.loads(line) for line in live.splitlines()]
    assert {e["data"]["rule"] for e in events} >= {"in", "new", "said", "known"}
    assert any("known_ns" in e["data"] for e in events)
    streamer("rules", "replay", run / "out", run / "rules.yaml", "-o", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == live
    # no file: the same on standard output
    assert streamer("rules", "replay", run / "out" / "a", run / "rules.yaml").encode() == live


def test_replay_applies_new_rules(run: Path, tmp_path: Path) -> None:
    rules = {**RULES, "rules": [{"name": "gone", "kind": "disappear"}]}
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(rules))
    lines = streamer("rules", "replay", run / "out", tmp_path / "new.yaml").splitlines()
    assert lines
    assert {json.loads(line)["kind"] for line in lines} == {"disappear"}


def test_what_replay_refuses(run: Path, tmp_path: Path) -> None:
    def refused(error: type[StreamerError], match: str, *arguments: object) -> None:
        with pytest.raises(error, match=match):
            streamer("rules", "replay", *arguments)

    rules = run / "rules.yaml"
    refused(InputError, "no \\*.tracks.jsonl in it", tmp_path, rules)
    refused(InputError, "no such file", tmp_path / "a", rules)
    refused(ConfigError, "no such rule file", run / "out", tmp_path / "none.yaml")
    refused(OutputError, "is what is read here", run / "out", rules, "-o", run / "out" / "a.jsonl")
    (tmp_path / "b.tracks.jsonl").write_text('{"record": "regions", "schema": 1}\n')
    (tmp_path / "b.jsonl").write_text("")
    refused(InputError, r"b.tracks.jsonl:1: a damaged record", tmp_path, rules)
    (tmp_path / "b.tracks.jsonl").write_text('{"record": "caption", "schema": 1}\n')
    refused(InputError, r"b.tracks.jsonl:1: not a record of kind regions", tmp_path, rules)


def test_draw_shows_zones_and_lines(run: Path, tmp_path: Path) -> None:
    for file in (run / "film.mp4", tmp_path / "grey.png"):
        if file.suffix == ".png":
            Image.new("RGB", (320, 180), (128, 128, 128)).save(file)
        streamer("rules", "draw", file, run / "rules.yaml", "-o", tmp_path / "still.png")
    still = np.asarray(Image.open(tmp_path / "still.png")).astype(int)
    assert still.shape == (180, 320, 3)
    tinted = (abs(still - 128) > 8).any(2)
    assert tinted[100:160, 30:140].all()  # the zone
    assert not tinted[175:, :].any(0)[np.r_[0:150, 170:320]].any()  # below it only the line
    assert tinted[172:, 158:163].any()


def test_what_draw_refuses(run: Path, tmp_path: Path) -> None:
    film, still = run / "film.mp4", tmp_path / "still.png"
    for match, arguments in (
        ("is not a time", ["--at", "noon"]),
        ("choose an earlier", ["--at", "100"]),
    ):
        with pytest.raises(StreamerError, match=match):
            streamer("rules", "draw", film, run / "rules.yaml", "-o", still, *arguments)
    wide = {**RULES, "units": "px", "zones": {"all": [[0, 0], [900, 0], [0, 90]]}}
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(wide))
    with pytest.raises(ConfigError, match=r"\[900, 0\] lies outside the picture .*320x180"):
        streamer("rules", "draw", film, tmp_path / "wide.yaml", "-o", still)
    assert not still.exists()


def test_events_of_a_film_are_true() -> None:
    """The whole of it, on more films, is `streamer evaluate rules`."""
    outcome = Outcome()
    for seed in (6000, 6002):
        film = Film(seed, height_px=120, width_px=214, seconds=6.0)
        drawn = draw_at_random(seed, (120, 214))
        happened, told = watch_film(film, drawn, {"mask": MaskRules}, tracker=False)
        outcome.add(happened, told["mask, true masks"], 2 * 40_000_000)
    assert outcome.happened >= 30
    assert outcome.precision >= 0.95
    assert outcome.recall >= 0.95
    assert outcome.twice == 0


def test_the_comparison_with_box_bottoms() -> None:
    """supervision finds the same crossing where a box and its mask move alike."""
    pytest.importorskip("supervision")
    from model.synthetic.happenings import Drawn
    from streamer.commands.box_rules import BoxBottoms
    from tests.operators.rulebook.scenes import scene

    east = [(200.0, 20.0), (300.0, 20.0), (300.0, 180.0), (200.0, 180.0)]
    drawn = Drawn(zones={"e": east}, lines={"m": ((160.0, 0.0), (160.0, 200.0))}, dwell_s=1.0)
    items = scene(4, {1: lambda t: (60 + 50 * t, 100), 2: lambda t: (260 - 50 * t, 60)})
    told = []
    for make in (MaskRules, BoxBottoms):
        watcher = make(drawn)
        for item in items:
            watcher.see(item)
        told.append(sorted((h.rule, h.object_id) for h in watcher.told()))
    assert told[0] == told[1]
    assert ("m-left", 1) in told[0]
