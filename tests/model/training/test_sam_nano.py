"""The training of sam-nano: true samples, a loss that falls, one model from one seed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("model.sam.checkpoint")  # not without segment-anything
from model.sam.checkpoint import load_nano
from model.sam.nano import NanoConfig, build_nano
from model.training import sam_nano
from model.training.prompts import draw_picture, make_batch, regions_of
from model.training.sam_nano import SamRecipe, Stage, batch_loss, train
from model.training.steps import take_step
from model.weights.files import file_hash, weight_files

CONFIG = NanoConfig(
    side_px=128, stem_width=8, widths=(8, 16, 16, 16), blocks=(1, 1, 1, 1), embed_width=32,
    fine_width=4, heads=2, mlp_width=32,
)  # fmt: skip


def test_prompts_fit_their_masks() -> None:
    rng = np.random.default_rng(3)
    pictures = [draw_picture(rng, 128, 0.5) for _ in range(4)]
    assert all(any(regions_of(picture)) for picture in pictures)
    batch = make_batch(rng, pictures, 5, 256)
    assert batch.images.shape == (4, 128, 128, 3)
    assert batch.points.shape == (4, 5, 2)
    assert batch.places.shape[:2] == (4, 5)
    assert ((batch.offsets >= 0) & (batch.offsets <= 8)).all()
    for b, picture in enumerate(pictures):
        height, width = picture.hw
        assert not picture.image[height:].any()
        assert not picture.image[:, width:].any()
        for p in range(5):
            x, y = batch.points[b, p].int().tolist()
            shown = [plane == plane[y, x] for plane in picture.numbers if plane[y, x]]
            places = batch.places[b, p].numpy().astype(int)
            inside = batch.inside[b, p].numpy() > 0
            # one of what shows at the point is what the labels say
            fits = [mask[places[:, 1], places[:, 0]] for mask in shown]
            assert any((fit >= inside).all() for fit in fits)
            assert 0.05 < inside.mean() < 0.95
            x0, y0, x1, y1 = batch.boxes[b, p].tolist()
            assert 0 <= x0 < x1 <= 128
            assert 0 <= y0 < y1 <= 128


def test_the_loss_falls_on_a_batch_seen_again_and_again() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    sam = build_nano(CONFIG).train()
    batch = make_batch(rng, [draw_picture(rng, 64, 0.1) for _ in range(2)], 4, 128)
    optimizer = torch.optim.AdamW(sam.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        loss, shares = batch_loss(sam, batch, torch.device("cpu"), second_round=step % 5 == 4)
        take_step(optimizer, loss, list(sam.parameters()))
        losses.append(float(loss.detach()))
        assert all(0 <= share <= 1 for share in shares.values())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_one_seed_gives_one_model_and_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = SamRecipe(
        seed=4, stages=(Stage(64, 2, 2, 3), Stage(128, 1, 2, 1)), second_round_every=2,
        card_images=1,
    )  # fmt: skip
    lines: list[str] = []
    train(tmp_path / "one", recipe, lines.append, config=CONFIG)
    card = json.loads((tmp_path / "one" / "card.json").read_text())
    monkeypatch.setattr(sam_nano, "write_card", lambda *_: None)  # measuring takes the longest
    train(tmp_path / "two", recipe, lines.append, config=CONFIG)
    assert card["weights_hash"] == file_hash(weight_files(tmp_path / "two"))
    assert card["recipe"]["seed"] == 4
    for figures in card["fresh_seeds"].values():
        assert figures["objects"]["count"] > 5
        assert 0 <= figures["objects"]["box"] <= figures["objects"]["box_best"] <= 1
    assert "4 of 4 batches" in lines[0]
    assert "| hard scenes | parts |" in (tmp_path / "one" / "README.md").read_text()
    assert load_nano(tmp_path / "one").image_encoder.img_size == 128


def test_a_longer_training_has_more_steps() -> None:
    recipe = SamRecipe()
    twice = [stage.steps for stage in recipe.scaled(2.0).stages]
    assert twice == [2 * stage.steps for stage in recipe.stages]
    assert recipe.scaled(2.0).card_images == recipe.card_images
    assert recipe.scaled(0.01).card_images < recipe.card_images


def test_training_goes_on_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards: list[dict[str, object]] = []
    monkeypatch.setattr(sam_nano, "write_card", lambda _, facts, *__: cards.append(facts))
    recipe = SamRecipe(stages=(Stage(64, 2, 2, 2), Stage(128, 1, 2, 1)), lr=1e-3)
    train(tmp_path / "one", recipe, lambda _: None, config=CONFIG)
    further = replace(recipe, seed=1).further()
    assert further.stages == recipe.stages[1:]
    assert further.lr < recipe.lr
    train(tmp_path / "two", replace(further, lr=1e-9), lambda _: None, start=tmp_path / "one")
    assert cards[1]["started_from"] == file_hash(weight_files(tmp_path / "one"))
    one, two = (load_nano(tmp_path / name) for name in ("one", "two"))
    for (name, before), after in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-2, msg=name)


def test_training_goes_on_from_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no sam-nano folder: config\.json is missing"):
        train(tmp_path / "out", SamRecipe(), lambda _: None, start=tmp_path)
