"""Trains osprey-nano: the architecture of Osprey, small, on the synthetic world."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model.osprey.checkpoint import save_folder, weights_hash
from model.osprey.config import OspreyConfig
from model.osprey.model import Osprey
from model.osprey.processor import preprocess
from model.osprey.prompt import build_prompt
from model.synthetic.captions import vocabulary
from model.training.answers import Questions, answers_loss
from model.training.card import write_card
from model.training.heads import (
    AttributeHeads,
    HeadsBatch,
    HeadsCollate,
    Labels,
    accuracy,
    heads_loss,
)
from model.training.samples import ImageSample, SceneStream
from model.training.tokenizer import SPECIAL_TOKENS, build_tokenizer, words_of

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How osprey-nano is trained; written into its card.

    Time decides the length of both stages, so that a machine of any speed ends in time; the
    numbers of steps reached are in the card.
    """

    seed: int = 0
    minutes: float = 50.0
    heads_share: float = 0.66
    heads_batch: int = 16
    heads_side_px: int = 256
    heads_lr: float = 2e-3
    ramp_images: int = 10_000
    layer_scale: float = 0.1
    answers_batch: tuple[int, int] = (16, 4)
    answers_small_share: float = 0.7
    answers_lr: float = 1.5e-3
    weight_decay: float = 0.05


def nano_config(vocab_size: int) -> OspreyConfig:
    """The sizes of osprey-nano, about 4 million parameters."""
    return OspreyConfig(
        vision_depths=(2, 2, 4, 2),
        vision_widths=(32, 64, 128, 256),
        extractor_width=128,
        position_width=128,
        mm_hidden_size=128,
        language={
            "vocab_size": vocab_size,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "tie_word_embeddings": False,
        },
    )


def train(out: Path, *, seed: int, minutes: float, report: Report) -> None:
    """Train osprey-nano and write its folder: weights, config, tokenizer, card.

    Args:
        out: the folder to write; made when missing.
        seed: decides the weights' start and every sample.
        minutes: wall time for both stages together; the figures on fresh seeds come on top.
        report: called with a line of progress every few seconds.
    """
    recipe = Recipe(seed=seed, minutes=minutes)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prompts = [build_prompt(name) for name in ("demo_short", "demo_detailed")]
    tokenizer = build_tokenizer([*words_of(prompts), *vocabulary()])
    model = Osprey(nano_config(len(SPECIAL_TOKENS) + len(_words(tokenizer)))).to(device)
    for name, parameter in model.vision_tower.named_parameters():
        if name.endswith("gamma"):  # the usual 1e-6 is for training a hundred times as long
            nn.init.constant_(parameter, recipe.layer_scale)
    start = time.monotonic()
    heads = AttributeHeads(Labels(), model.config.hidden_size).to(device)
    heads_steps, scores = _train_heads(model, heads, recipe, device, report)
    answers_steps = _train_answers(model, Questions(tokenizer), recipe, device, report)
    trained_s = time.monotonic() - start
    save_folder(model, tokenizer, out, dtype=torch.float16)
    write_card(
        out,
        {
            "recipe": asdict(recipe),
            "steps": {"heads": heads_steps, "answers": answers_steps},
            "training_minutes": round(trained_s / 60, 1),
            "hardware": _hardware(device),
            "parameters": sum(p.numel() for p in model.parameters()),
            "weights_hash": weights_hash(out),
            "heads": scores,
        },
        report,
    )


def _words(tokenizer: Any) -> list[str]:
    outside = {"<mask>", "<pos>", *SPECIAL_TOKENS}
    return [word for word in tokenizer.get_vocab() if word not in outside]


def _train_heads(
    model: Osprey, heads: AttributeHeads, recipe: Recipe, device: torch.device, report: Report
) -> tuple[int, dict[str, float]]:
    """Stage 1. Returns the steps done and the running accuracies at the end."""
    model.train()
    learners: list[nn.Module] = [model.vision_tower, model.mask_extractor, heads]
    parameters = [p for module in learners for p in module.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.heads_lr, weight_decay=recipe.weight_decay, fused=True
    )
    collate = HeadsCollate(heads.labels, model.config.mask_grid, recipe.seed)
    shares: dict[str, float] = {}
    step = 0
    clock = _Clock(recipe.minutes * 60 * recipe.heads_share)
    batches: Iterator[HeadsBatch] = _batches(
        SceneStream(recipe.seed, recipe.heads_side_px, recipe.ramp_images),
        recipe.heads_batch,
        collate,
    )
    for step, batch in enumerate(batches, 1):
        done = clock.share()
        if done >= 1:
            break
        _set_lr(optimizer, recipe.heads_lr, done)
        levels = model.vision_tower(_pixels(batch.samples, device))
        mask_RD = torch.cat(
            [
                model.mask_extractor.mask_tokens(levels.of_image(i), _masks(sample, device))
                for i, sample in enumerate(batch.samples)
            ]
        )
        logits = heads(mask_RD, model.mask_extractor.position_tokens(batch.grids.to(device)))
        _step(optimizer, heads_loss(logits, batch), parameters)
        for name, share in accuracy(logits, batch).items():
            shares[name] = 0.98 * shares.get(name, share) + 0.02 * share
        if step % 25 == 0:
            words = "  ".join(f"{name} {share:.2f}" for name, share in shares.items())
            report(f"heads {done:4.0%}  step {step}  {words}")
    return step, {name: round(share, 4) for name, share in shares.items()}


def _train_answers(
    model: Osprey, questions: Questions, recipe: Recipe, device: torch.device, report: Report
) -> int:
    """Stage 2. Returns the steps done."""
    model.vision_tower.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.answers_lr, weight_decay=recipe.weight_decay, fused=True
    )
    rng = np.random.default_rng([recipe.seed, 2])
    clock = _Clock(recipe.minutes * 60 * (1 - recipe.heads_share))
    mean = None
    step = 0
    for step, batch in enumerate(_answer_batches(model, recipe, clock), 1):
        done = min(1.0, clock.share())
        _set_lr(optimizer, recipe.answers_lr, done)
        loss = answers_loss(model, questions, _pixels(batch, device), batch, rng)
        _step(optimizer, loss, parameters)
        spoken = float(loss.detach())
        mean = spoken if mean is None else 0.95 * mean + 0.05 * spoken
        if step % 10 == 0:
            report(f"answers {done:4.0%}  step {step}  loss {mean:.3f}")
    model.eval()
    return step


def _answer_batches(model: Osprey, recipe: Recipe, clock: _Clock) -> Iterator[list[ImageSample]]:
    """Small pictures first, several times as many a second; then pictures of the size in use."""
    sides = (recipe.heads_side_px, model.config.image_size_px)
    ends = (recipe.answers_small_share, 1.0)
    for side, size, end in zip(sides, recipe.answers_batch, ends, strict=True):
        for batch in _batches(SceneStream(recipe.seed + 1, side, ramp=0), size, list):
            if clock.share() >= end:
                break
            yield batch


def _batches(stream: SceneStream, size: int, collate: Callable[[list[ImageSample]], Any]) -> Any:
    loader = DataLoader(
        stream, batch_size=size, num_workers=1, collate_fn=collate, prefetch_factor=4
    )
    return iter(loader)


def _pixels(batch: list[ImageSample], device: torch.device) -> Tensor:
    pixels = torch.stack([preprocess(s.image, s.image.shape[0]) for s in batch])
    return pixels.to(device, memory_format=torch.channels_last)


def _masks(sample: ImageSample, device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack([region.mask for region in sample.regions])).to(device)


class _Clock:
    """How much of a time budget is spent, in 0..1 and beyond."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s = budget_s
        self.start_s = time.monotonic()

    def share(self) -> float:
        return (time.monotonic() - self.start_s) / self.budget_s


def _set_lr(optimizer: torch.optim.Optimizer, peak: float, done: float) -> None:
    """Warm-up over the first 4 % of the time, then a cosine to 2 % of the peak."""
    warm = min(1.0, done / 0.04 + 0.01)
    scale = warm * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * done))))
    for group in optimizer.param_groups:
        group["lr"] = peak * scale


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
