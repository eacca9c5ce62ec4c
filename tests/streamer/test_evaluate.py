"""`streamer evaluate`: on a short film whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamer.cli import app
from streamer.commands.demo import write_film
from streamer.commands.evaluate import evaluate_films, evaluate_words
from streamer.errors import StreamerError


def test_films_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "films.json"
    code = evaluate_films(
        films=1, seed=11, seconds=4.0, config="quickstart", overrides=[], json_path=figures,
        quiet=True,
    )  # fmt: skip
    assert code == 0
    result = json.loads(figures.read_text())
    (film,) = result["films"]
    judged = [item for item in film["objects"] if item["judged"]]
    assert film["seed"] == 11
    assert result["sums"]["judged"] == len(judged) >= 3
    assert result["sums"]["colour_right"] == sum(bool(o["colour_right"]) for o in judged)
    assert result["sums"]["true_cuts"] == 1
    assert "objects tracked" in capsys.readouterr().out


def test_words_are_compared_with_the_pixels(tmp_path: Path) -> None:
    film, figures = tmp_path / "film.mp4", tmp_path / "words.json"
    write_film(film, tmp_path / "truth.json", seed=11, seconds=4.0)
    code = evaluate_words([film], config="quickstart", overrides=[], json_path=figures, quiet=True)
    assert code == 0
    total = json.loads(figures.read_text())["total"]
    assert total["frames"] == 100
    assert total["captions"] >= 3
    assert 0 < total["colour_true"] <= total["colour_said"] <= total["captions"]
    assert 0 < total["place_true"] <= total["place_said"] <= total["captions"]
    assert total["object"] + total["claimed"] == total["captions"]


def test_a_missing_film_is_named(tmp_path: Path) -> None:
    with pytest.raises(StreamerError, match="nowhere"):
        evaluate_words(
            [tmp_path / "nowhere.mp4"], config="quickstart", overrides=[], json_path=None,
            quiet=True,
        )  # fmt: skip


def test_the_commands_are_there() -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    names = {command.name for command in groups["evaluate"].registered_commands}
    assert {"films", "words"} <= names
