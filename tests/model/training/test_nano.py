"""Training: the loss of many answers over one prefix, and a model folder that works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.osprey.captioner import OspreyCaptioner
from model.osprey.checkpoint import weights_hash
from model.osprey.model import Osprey
from model.osprey.processor import preprocess
from model.osprey.prompt import IMAGE_TOKEN_INDEX
from model.synthetic.captions import vocabulary
from model.training.answers import IGNORE, Questions, answers_loss
from model.training.nano import Recipe, nano_config, train
from model.training.samples import ImageSample, image_sample
from model.training.tokenizer import build_tokenizer, words_of

ROOT = Path(__file__).resolve().parents[3]
SIDE_PX = 128


class Dice:
    """Always the short form, or always the detailed one."""

    def __init__(self, short: bool) -> None:
        self.value = 0.0 if short else 0.9

    def random(self) -> float:
        return self.value


@pytest.fixture(scope="module")
def questions() -> Questions:
    from model.osprey.prompt import build_prompt

    prompts = [build_prompt(name) for name in ("demo_short", "demo_detailed")]
    return Questions(build_tokenizer([*words_of(prompts), *vocabulary()]))


@pytest.fixture(scope="module")
def model(questions: Questions) -> Osprey:
    torch.manual_seed(1)
    config = nano_config(len(questions.tokenizer) - 2)
    language = {**config.language, "num_hidden_layers": 2}
    return Osprey(replace(config, image_size_px=SIDE_PX, language=language)).eval()


@pytest.fixture(scope="module")
def samples() -> list[ImageSample]:
    made = [image_sample(np.random.default_rng(seed), SIDE_PX, 0.5) for seed in (0, 1)]
    return [replace(s, regions=s.regions[: 4 - i]) for i, s in enumerate(made)]


def official_loss(
    model: Osprey, questions: Questions, sample: ImageSample, index: int, short: bool
) -> tuple[float, int]:
    """Of one region alone through the official forward, and how many tokens it is the mean of."""
    region = sample.regions[index]
    name, text = ("demo_short", region.short) if short else ("demo_detailed", region.detailed)
    turn = questions.turn(name, text)
    ids = torch.tensor([*questions.head, IMAGE_TOKEN_INDEX, *turn.question, *turn.answer])
    labels = ids.clone()
    labels[: len(ids) - len(turn.answer)] = IGNORE
    pixels = preprocess(sample.image, SIDE_PX)[None]
    masks = torch.from_numpy(region.mask[None].copy())
    out = model(pixels, ids[None], [masks], labels[None])
    assert out.loss is not None
    return float(out.loss), len(turn.answer)


def shared_loss(
    model: Osprey, questions: Questions, samples: list[ImageSample], short: bool
) -> torch.Tensor:
    pixels = torch.stack([preprocess(s.image, SIDE_PX) for s in samples])
    dice: object = Dice(short)
    return answers_loss(model, questions, pixels, samples, dice)  # type: ignore[arg-type]


@pytest.mark.parametrize("short", [True, False])
def test_one_region_has_the_official_loss(
    model: Osprey, questions: Questions, samples: list[ImageSample], short: bool
) -> None:
    alone = replace(samples[0], regions=samples[0].regions[1:2])
    with torch.no_grad():
        ours = float(shared_loss(model, questions, [alone], short))
        wanted, _ = official_loss(model, questions, alone, 0, short)
    assert ours == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("short", [True, False])
def test_regions_of_a_batch_do_not_see_each_other(
    model: Osprey, questions: Questions, samples: list[ImageSample], short: bool
) -> None:
    with torch.no_grad():
        ours = float(shared_loss(model, questions, samples, short))
        each = [
            official_loss(model, questions, sample, i, short)
            for sample in samples
            for i in range(len(sample.regions))
        ]
    assert len(each) == 7
    assert len({tokens for _, tokens in each}) > 1
    total = sum(loss * tokens for loss, tokens in each)
    assert ours == pytest.approx(total / sum(tokens for _, tokens in each), abs=1e-5)


def test_gradients_reach_all_but_the_tower(
    model: Osprey, questions: Questions, samples: list[ImageSample]
) -> None:
    model.zero_grad()
    shared_loss(model, questions, samples, True).backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        assert reached == (not name.startswith("vision_tower.")), name
    model.zero_grad()


def test_small_pictures_put_the_question_where_it_will_stand(
    model: Osprey, questions: Questions, samples: list[ImageSample]
) -> None:
    small = [image_sample(np.random.default_rng(4), SIDE_PX // 2, 0.3)]
    seen: list[torch.Tensor] = []
    hook = model.language.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )
    try:
        with torch.no_grad():
            for s in (samples[:1], small):
                pixels = torch.stack([preprocess(i.image, i.image.shape[0]) for i in s])
                rng = np.random.default_rng(0)
                answers_loss(model, questions, pixels, s, rng)
    finally:
        hook.remove()
    head, full = len(questions.head), (SIDE_PX // 16) ** 2
    big_T, small_T = (positions[0].tolist() for positions in seen)
    assert big_T[: head + full] == list(range(head + full))
    tokens = full // 4
    spread = small_T[head : head + tokens]
    assert spread == sorted(set(spread))
    assert (spread[0], spread[-1]) == (head, head + full - 4)
    assert small_T[head + tokens] == big_T[head + full] == head + full


SHORT = Recipe(
    seed=3, heads_steps=2, heads_batch=2, heads_side_px=128, ramp_scenes=4, answers_steps=3,
    answers_batch=2, full_size_batch=1, full_size_share=0.34, card_images=1,
)  # fmt: skip


def test_training_twice_gives_the_same_weights(tmp_path: Path) -> None:
    lines: list[str] = []
    for name in ("one", "two"):
        train(tmp_path / name, SHORT, lines.append)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
        assert bool(tensor.isfinite().all()), name
    cards = [json.loads((tmp_path / name / "card.json").read_text()) for name in ("one", "two")]
    assert cards[0]["weights_hash"] == cards[1]["weights_hash"] == weights_hash(tmp_path / "one")
    assert cards[0]["fresh_seeds"] == cards[1]["fresh_seeds"]
    assert cards[0]["recipe"]["heads_steps"] == 2
    assert "measuring on fresh hard scenes ..." in lines
    train(tmp_path / "other", replace(SHORT, seed=4, heads_steps=1), lines.append)
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_command_writes_a_folder_that_captions(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamer", "train", "nano", "--length", "0.001", "--seed", "9",
         "-o", str(tmp_path / "nano")],
        capture_output=True, text=True, cwd=ROOT, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "written:" in done.stdout
    card = json.loads((tmp_path / "nano" / "card.json").read_text())
    assert card["recipe"]["seed"] == 9
    short = Recipe().scaled(0.001)
    assert card["recipe"]["heads_steps"] == short.heads_steps < 10
    assert card["recipe"]["answers_steps"] == short.answers_steps < 10
    assert set(card["heads"]) == {"what", "colour", "texture", "facing", "place", "size"}
    assert card["weights_hash"] in (tmp_path / "nano" / "README.md").read_text()
    captioner = OspreyCaptioner.from_folder(tmp_path / "nano", device="cpu")
    assert captioner.weights_hash == card["weights_hash"]
    assert sum(p.numel() for p in captioner.model.parameters()) == card["parameters"]
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3)).astype(np.uint8)
    masks = np.zeros((2, 90, 160), bool)
    masks[0, 20:50, 30:80] = masks[1, 60:80, 100:150] = True
    first, second = captioner.caption(image, masks, max_new_tokens=8)
    assert first.mean_logprob <= 0
    assert len(second.token_logprobs) <= 8
    known = set(captioner.tokenizer.get_vocab())
    assert {word for word in first.text.split() if word.isalpha()} <= known


def test_a_folder_that_cannot_be_written_is_named_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "streamer", "train", "nano", "-o", str(tmp_path / "file")],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'file'} is a file, not a folder")
    assert len(done.stderr.splitlines()) == 1
