"""Written films are read back: what was to be covered is, from the first frame that shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model.synthetic.film import Film
from streamer.cli import app
from streamer.commands.evaluate_redaction import Covered, compare, redact_film
from streamer.mask import Mask

TRACKS_ONLY = ["--set", "redact.unexplained=false", "--set", "redact.delay_s=0"]


def evaluate(tmp_path: Path, *options: str) -> dict[str, Any]:
    path = tmp_path / "result.json"
    arguments = ["evaluate", "redaction", "--films", "1", "--json", str(path)]
    done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return dict(json.loads(path.read_text()))


def test_everything_is_covered_in_the_written_film(tmp_path: Path) -> None:
    film = ["--seed", "6070", "--height-px", "180", "--seconds", "2"]
    made = evaluate(tmp_path, *film)
    assert made["object_frames"] > 100
    assert made["object_frames_covered"] >= 0.99 * made["object_frames"]
    assert made["pixels_covered"] >= 0.999
    assert made["picture_covered"] < 0.5
    # the measure can tell: late and incomplete tracks alone are not enough
    alone = evaluate(tmp_path, *film, *TRACKS_ONLY)
    assert alone["object_frames"] == made["object_frames"]
    assert alone["object_frames_covered"] < 0.95 * alone["object_frames"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6071, 6072])
def test_a_category_is_covered_and_others_are_seen(tmp_path: Path, seed: int) -> None:
    film = Film(seed, height_px=360, width_px=640, seconds=4.0)
    present = sorted({a.sprite.category for s in film.shots for a in s.actors} - {"object"})
    chosen = [name for category in present[:2] for name in ("--category", category)]
    made = evaluate(tmp_path, "--seed", str(seed), "--height-px", "360", "--seconds", "4", *chosen)
    assert made["object_frames"] > 50
    assert made["object_frames_covered"] >= 0.99 * made["object_frames"]
    assert made["others_seen"] > 0.2 * made["others"]


@pytest.mark.slow
def test_what_touches_a_zone_is_covered(tmp_path: Path) -> None:
    rules = tmp_path / "zones.yaml"
    rules.write_text(
        "zones: {left: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}\n"
        "rules: [{name: in, kind: zone_enter, zone: left}]\n"
    )
    made = redact_film(
        tmp_path, 6073, seconds=4.0, height_px=360,
        overrides=["redact.categories=[]", f"redact.zones={rules}"],
    )  # fmt: skip
    assert made is not None
    written, truth = made
    for item in truth["objects"]:
        inside = []
        for frame in item["frames"]:
            mask = Mask(height_px=360, width_px=640, counts=frame["counts"])
            if mask.box_xyxy[0] < 320:
                inside.append(frame)
        item["frames"] = inside
    covered = Covered()
    compare(written, truth, [], into=covered)
    assert covered.frames > 100
    assert covered.enough >= 0.99 * covered.frames
    assert covered.picture_covered_px < 0.4 * covered.picture_px
