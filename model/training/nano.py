"""Trains osprey-nano: the architecture of Osprey, small, on the synthetic world."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model.osprey.checkpoint import save_folder, weights_hash
from model.osprey.config import Hedge, OspreyConfig
from model.osprey.model import Osprey
from model.osprey.processor import preprocess
from model.osprey.prompt import build_prompt
from model.synthetic.captions import vocabulary
from model.synthetic.shapes import CATEGORIES, OBJECT, PART_NAMES
from model.training.answers import Questions, answers_loss
from model.training.card import write_card
from model.training.heads import (
    AttributeHeads,
    HeadsBatch,
    HeadsCollate,
    Labels,
    accuracy,
    heads_loss,
    maps_loss,
)
from model.training.samples import ImageSample, SceneStream
from model.training.steps import Eta, half_precision, hardware, set_lr, take_step
from model.training.tokenizer import SPECIAL_TOKENS, build_tokenizer, words_of

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How osprey-nano is trained; written into its card.

    The numbers of steps, not the clock, decide when it ends, so that a seed gives the same model
    however busy the machine is. Pictures of `heads_side_px` cost a quarter of those in use; the
    last `full_size_share` of the answers is learned on pictures of the size in use. The card's
    figures come from `card_images` scenes of each kind. Names less probable than `least_sure` and
    `least_sure_of_parts` are not said; real footage is full of things that the world has not, and
    any edge or patch of it is like some part.
    """

    seed: int = 0
    heads_steps: int = 7500
    heads_batch: int = 8
    heads_side_px: int = 256
    heads_lr: float = 2e-3
    ramp_scenes: int = 11000
    scene_shows: int = 3
    layer_scale: float = 1.0
    answers_steps: int = 1200
    answers_batch: int = 8
    full_size_batch: int = 3
    full_size_share: float = 0.15
    answers_lr: float = 1.5e-3
    weight_decay: float = 0.05
    card_images: int = 60
    least_sure: float = 0.94
    least_sure_of_parts: float = 0.998

    def scaled(self, length: float) -> Recipe:
        """The same with `length` times as many steps in both stages; a short one, which is a trial,
        also with fewer images for the card."""
        return replace(
            self,
            heads_steps=max(1, round(self.heads_steps * length)),
            ramp_scenes=round(self.ramp_scenes * length),
            answers_steps=max(2, round(self.answers_steps * length)),
            card_images=max(2, round(self.card_images * min(1.0, length))),
        )


def nano_config(vocab_size: int, hedge: Hedge | None = None) -> OspreyConfig:
    """The sizes of osprey-nano, about 4 million parameters: what two CPU cores can do 25 times a
    second."""
    return OspreyConfig(
        hedge=hedge,
        image_size_px=448,
        resize="direct",
        vision_depths=(1, 1, 4, 2),
        vision_widths=(32, 64, 128, 256),
        extractor_width=128,
        position_width=128,
        mm_hidden_size=128,
        language={
            "vocab_size": vocab_size,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 2,
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


def train(out: Path, recipe: Recipe, report: Report) -> None:
    """Train osprey-nano and write its folder: weights, config, tokenizer, card.

    Args:
        out: the folder to write; made when missing.
        report: called with a line of progress every few seconds.
    """
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prompts = [build_prompt(name) for name in ("demo_short", "demo_detailed")]
    tokenizer = build_tokenizer([*words_of(prompts), *vocabulary()])
    hedge = names_hedge(tokenizer, recipe.least_sure, recipe.least_sure_of_parts)
    model = Osprey(nano_config(len(SPECIAL_TOKENS) + len(_words(tokenizer)), hedge)).to(device)
    for name, parameter in model.vision_tower.named_parameters():
        if name.endswith("gamma"):  # the usual 1e-6 is for training a hundred times as long
            nn.init.constant_(parameter, recipe.layer_scale)
    start_s = time.monotonic()
    heads = AttributeHeads(Labels(), model.config.hidden_size, model.config.vision_widths)
    scores = _train_heads(model, heads.to(device), recipe, device, report)
    _train_answers(model, Questions(tokenizer), recipe, device, report)
    trained_s = time.monotonic() - start_s
    save_folder(model, tokenizer, out, dtype=torch.float16)
    write_card(
        out,
        {
            "recipe": asdict(recipe),
            "training_minutes": round(trained_s / 60, 1),
            "hardware": hardware(device),
            "parameters": sum(p.numel() for p in model.parameters()),
            "weights_hash": weights_hash(out),
            "heads": scores,
        },
        recipe.card_images,
        report,
    )


def names_hedge(tokenizer: Any, of_things: float, of_parts: float) -> Hedge:
    """Names of things and of parts are said when they are at least so probable, else "object"."""
    least = {name: of_things for name in CATEGORIES if name != OBJECT}
    least |= {name: of_parts for name in PART_NAMES if name not in least}
    return Hedge(
        token_ids=tuple(tokenizer.convert_tokens_to_ids(name) for name in least),
        instead_id=tokenizer.convert_tokens_to_ids(OBJECT),
        least=tuple(least.values()),
    )


def _words(tokenizer: Any) -> list[str]:
    outside = {"<mask>", "<pos>", *SPECIAL_TOKENS}
    return [word for word in tokenizer.get_vocab() if word not in outside]


def _train_heads(
    model: Osprey, heads: AttributeHeads, recipe: Recipe, device: torch.device, report: Report
) -> dict[str, float]:
    """Stage 1. Returns the running accuracies at the end."""
    model.train()
    learners: list[nn.Module] = [model.vision_tower, model.mask_extractor, heads]
    parameters = [p for module in learners for p in module.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.heads_lr, weight_decay=recipe.weight_decay, fused=True
    )
    collate = HeadsCollate(heads.labels, model.config.mask_grid, recipe.seed)
    scenes = SceneStream(
        recipe.seed, recipe.heads_side_px, recipe.ramp_scenes, shows=recipe.scene_shows
    )
    batches: Iterator[HeadsBatch] = _batches(scenes, recipe.heads_batch, collate)
    eta = Eta(recipe.heads_steps)
    shares: dict[str, float] = {}
    for step, batch in zip(range(1, recipe.heads_steps + 1), batches, strict=False):
        set_lr(optimizer, recipe.heads_lr, step / recipe.heads_steps)
        with half_precision(device):
            levels = model.vision_tower(_pixels(batch.samples, device))
        mask_RD = torch.cat(
            [
                model.mask_extractor.mask_tokens(of_image, _masks(sample, device))
                for of_image, sample in zip(levels.images(), batch.samples, strict=True)
            ]
        )
        logits = heads(mask_RD, model.mask_extractor.position_tokens(batch.grids.to(device)))
        loss = heads_loss(logits, batch) + maps_loss(heads, levels, batch)
        take_step(optimizer, loss, parameters)
        for name, share in accuracy(logits, batch).items():
            shares[name] = 0.98 * shares.get(name, share) + 0.02 * share
        if step % 50 == 0:
            words = "  ".join(f"{name} {share:.2f}" for name, share in shares.items())
            report(f"1 of 2, heads: {eta.at(step)}  {words}")
    return {name: round(share, 4) for name, share in shares.items()}


def _train_answers(
    model: Osprey, questions: Questions, recipe: Recipe, device: torch.device, report: Report
) -> None:
    """Stage 2."""
    model.vision_tower.requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.answers_lr, weight_decay=recipe.weight_decay, fused=True
    )
    rng = np.random.default_rng([recipe.seed, 2])
    eta = Eta(recipe.answers_steps)
    mean = None
    for step, batch in enumerate(_answer_batches(model, recipe), 1):
        set_lr(optimizer, recipe.answers_lr, step / recipe.answers_steps)
        loss = answers_loss(model, questions, _pixels(batch, device), batch, rng)
        take_step(optimizer, loss, parameters)
        spoken = float(loss.detach())
        mean = spoken if mean is None else 0.95 * mean + 0.05 * spoken
        if step % 25 == 0:
            report(f"2 of 2, answers: {eta.at(step)}  loss {mean:.3f}")
    model.eval()


def _answer_batches(model: Osprey, recipe: Recipe) -> Iterator[list[ImageSample]]:
    """Small pictures first, several times as many a second; then pictures of the size in use."""
    full = round(recipe.answers_steps * recipe.full_size_share)
    for side, size, steps in (
        (recipe.heads_side_px, recipe.answers_batch, recipe.answers_steps - full),
        (model.config.image_size_px, recipe.full_size_batch, full),
    ):
        if not steps:
            continue
        scenes = SceneStream(recipe.seed + 1, side, ramp=0, shows=recipe.scene_shows)
        yield from islice(_batches(scenes, size, list), steps)


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
