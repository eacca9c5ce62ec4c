"""Trains sam-nano: the architecture of SAM, small, on the synthetic world.

Shapes: B images, P prompts of an image, N = B P, M = 4 masks a prompt (the single one first), K
places at which masks are judged, S the side of the square picture, G = S / 16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from model.sam.checkpoint import load_nano, read_config, save_nano
from model.sam.nano import NanoConfig, build_nano
from model.sam.nano_decoder import STRIDE_PX
from model.training.prompts import PromptBatch, PromptStream
from model.training.sam_card import write_card
from model.training.steps import Eta, half_precision, hardware, set_lr, take_step
from model.weights.files import file_hash, weight_files

Report = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """`steps` batches of `images` pictures of `side_px`, with `prompts` prompts each."""

    side_px: int
    images: int
    prompts: int
    steps: int

    @property
    def cost(self) -> float:
        """Of a step; only ratios count."""
        return self.images * self.side_px**2 * 1e-6


@dataclass(frozen=True, kw_only=True)
class SamRecipe:
    """How sam-nano is trained; written into its card.

    As with osprey-nano the numbers of steps decide when it ends. Small pictures, which stand for
    windows of pictures of the size in use, come first: in the same time they show more. Every
    `second_round_every` steps, prompts get a corrective point and the mask found so far. The
    card's figures come from `card_images` scenes of each kind. `workers` processes draw pictures;
    each draws its own.
    """

    seed: int = 0
    stages: tuple[Stage, ...] = (
        Stage(128, 16, 6, 1200),
        Stage(256, 8, 8, 1000),
        Stage(512, 3, 8, 250),
    )
    shows: int = 3
    lr: float = 3e-3
    weight_decay: float = 0.05
    second_round_every: int = 5
    card_images: int = 60
    workers: int = 1

    def scaled(self, length: float) -> SamRecipe:
        """The same with `length` times as many steps; a short one, which is a trial, also with
        fewer images for the card."""
        return replace(
            self,
            stages=tuple(
                replace(stage, steps=max(1, round(stage.steps * length))) for stage in self.stages
            ),
            card_images=max(2, round(self.card_images * min(1.0, length))),
        )

    def wider(self, times: int) -> SamRecipe:
        """With `times` as many pictures a batch, and steps that are as much larger as its mean is
        surer. For a GPU, which small batches leave idle."""
        stages = tuple(replace(stage, images=stage.images * times) for stage in self.stages)
        return replace(self, stages=stages, lr=self.lr * times**0.5)

    def further(self) -> SamRecipe:
        """For a model that has been trained already: no small pictures, and smaller steps, so that
        what it knows is not unlearned."""
        return replace(self, stages=self.stages[1:], lr=self.lr / 3)


def train(
    out: Path,
    recipe: SamRecipe,
    report: Report,
    *,
    config: NanoConfig | None = None,
    start: Path | None = None,
) -> None:
    """Train sam-nano and write its folder: weights, config, card.

    Args:
        out: the folder to write; made when missing.
        report: called with a line of progress every few seconds.
        config: sizes; those of `start`, else of the bundled model, when missing.
        start: the folder of a sam-nano whose weights to start from.

    Raises:
        ValueError: when `start` holds no sam-nano.
    """
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    started: dict[str, Any] = {}
    if start is not None:
        config = read_config(start)
        sam = load_nano(start)
        started = {"started_from": file_hash(weight_files(start))}
    else:
        config = config or NanoConfig()
        sam = build_nano(config)
    sam.to(device, memory_format=torch.channels_last)
    start_s = time.monotonic()
    running = _learn(sam.train(), recipe, device, report)
    trained_s = time.monotonic() - start_s
    save_nano(sam.eval(), config, out)
    write_card(
        out,
        {
            **started,
            "recipe": asdict(recipe),
            "training_minutes": round(trained_s / 60, 1),
            "hardware": hardware(device),
            "parameters": sum(p.numel() for p in sam.parameters()),
            "training": running,
        },
        recipe.card_images,
        report,
    )


def _learn(sam: Any, recipe: SamRecipe, device: torch.device, report: Report) -> dict[str, float]:
    """All steps. Returns running means of the last ones: loss, and IoU of the best of three."""
    parameters = [p for p in sam.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    # warm-up and cosine by what steps cost, so that the dear last ones get their share
    costs = [stage.cost for stage in recipe.stages for _ in range(stage.steps)]
    steps, work = len(costs), sum(costs)
    last = steps - recipe.stages[-1].steps
    eta, done = Eta(round(work * 1000)), 0.0
    means: dict[str, float] = {}
    for step, batch in enumerate(_batches(sam, recipe), 1):
        done += costs[step - 1]
        set_lr(optimizer, recipe.lr, min(1.0, done / work))
        if step == last + 1:
            _hold_norms(sam)
        again = step % recipe.second_round_every == 0
        loss, shares = batch_loss(sam, batch, device, second_round=again)
        take_step(optimizer, loss, parameters)
        for name, share in {"loss": float(loss.detach()), **shares}.items():
            means[name] = 0.98 * means.get(name, share) + 0.02 * share
        if step % 50 == 0 or step == steps:
            words = "  ".join(f"{name} {mean:.3f}" for name, mean in means.items())
            report(f"{step} of {steps} batches, {eta.left(round(done * 1000))}  {words}")
    return {name: round(mean, 4) for name, mean in means.items()}


def _hold_norms(sam: Any) -> None:
    """Few pictures make a poor mean: what batch norms know from the small ones stays."""
    for module in sam.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _batches(sam: Any, recipe: SamRecipe) -> Iterator[PromptBatch]:
    full_side = sam.image_encoder.img_size
    for stage in recipe.stages:
        stream = PromptStream(
            seed=recipe.seed,
            side_px=stage.side_px,
            full_side_px=full_side,
            images=stage.images,
            prompts=stage.prompts,
            shows=recipe.shows,
            kept=max(1, 32 // recipe.workers) * stage.images,
        )
        loader = DataLoader(
            stream,
            batch_size=None,
            num_workers=recipe.workers,
            prefetch_factor=max(2, 6 // recipe.workers),
        )
        yield from islice(loader, stage.steps)


def batch_loss(
    sam: Any, batch: PromptBatch, device: torch.device, *, second_round: bool
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch, and mean IoUs of the best of three masks by kind of prompt."""
    side = batch.images.shape[1]
    with half_precision(device):
        embedding = sam.image_encoder(_pixels(sam, batch, device))
    positions = _window(sam.prompt_encoder.get_dense_pe(), batch, side // STRIDE_PX)
    shift = torch.from_numpy(batch.offsets).to(device)[:, None].float() * STRIDE_PX
    shift = shift.expand(-1, batch.points.shape[1], -1).flatten(0, 1)
    points = batch.points.to(device).flatten(0, 1)[:, None]
    boxes = batch.boxes.to(device).flatten(0, 1)
    by_box = batch.by_box.to(device).flatten()
    hints, hinted = batch.hints.to(device).flatten(0, 1), batch.hinted.to(device).flatten()
    ones = torch.ones(len(points), 1, device=device)
    sparse, drawn = _embedded(sam, points, ones, boxes, by_box, shift, side // STRIDE_PX)
    dense = _dense(sam, hints, hinted, drawn)
    with half_precision(device):
        logits, quality = sam.mask_decoder.predict_masks(embedding, positions, sparse, dense)
    loss, ious = _masks_loss(logits, quality, batch, device)
    likeness = _likeness_loss(sam, embedding.float(), batch, device)
    best = ious[:, 1:].amax(dim=1)
    shares = {
        "point": float(best[~by_box].mean()) if (~by_box).any() else 0.0,
        "box": float(best[by_box].mean()) if by_box.any() else 0.0,
    }
    if second_round:
        chosen = logits[torch.arange(len(logits)), quality.argmax(dim=1)].detach().float()
        more, label = _correction(chosen, batch, device)
        both = torch.stack([points[:, 0], more], dim=1)
        labels = torch.cat([ones, label[:, None]], dim=1)
        sparse, drawn = _embedded(sam, both, labels, boxes, by_box, shift, side // STRIDE_PX)
        found = chosen[:, None].clamp(-20, 20)
        dense = _dense(sam, found, torch.ones_like(hinted), drawn)
        with half_precision(device):
            logits, quality = sam.mask_decoder.predict_masks(embedding, positions, sparse, dense)
        second, ious = _masks_loss(logits, quality, batch, device)
        loss = (loss + second) / 2
        shares["second"] = float(ious[:, 0].mean())
    return loss + 0.5 * likeness, shares


def _pixels(sam: Any, batch: PromptBatch, device: torch.device) -> Tensor:
    """Bx3xSxS, normalised; padding is 0 after that, as in use."""
    raw = torch.from_numpy(batch.images).to(device).permute(0, 3, 1, 2).float()
    pixels: Tensor = (raw - sam.pixel_mean) / sam.pixel_std
    for image, (height, width) in zip(pixels, batch.hws, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return pixels


def _window(positions: Tensor, batch: PromptBatch, cells: int) -> Tensor:
    """BxCxGxG: the positions of the window that every picture stands for."""
    windows = [positions[:, :, y : y + cells, x : x + cells] for x, y in batch.offsets.tolist()]
    return torch.cat(windows)


def _embedded(
    sam: Any,
    points_NK2: Tensor,
    labels_NK: Tensor,
    boxes_N4: Tensor,
    by_box_N: Tensor,
    shift_N2: Tensor,
    cells: int,
) -> tuple[Tensor, Tensor]:
    """Tokens (NxTxC) and drawings (Nx(C+32)xGxG) of prompts that are a box, a point, or either with
    points that correct it. Coordinates are in windows, which lie at `shift` in full pictures."""
    encoder, more = sam.prompt_encoder, points_NK2.shape[1] > 1
    placed, framed = points_NK2 + shift_N2[:, None], boxes_N4 + shift_N2.repeat(1, 2)
    with_box = (placed[:, 1:], labels_NK[:, 1:]) if more else None
    sparse = torch.where(
        by_box_N[:, None, None],
        encoder.tokens(with_box, framed),
        encoder.tokens((placed, labels_NK), None),
    )
    of_box = (points_NK2[:, 1:], labels_NK[:, 1:]) if more else None
    drawn = torch.where(
        by_box_N[:, None, None, None],
        encoder.draw(of_box, boxes_N4, (cells, cells)),
        encoder.draw((points_NK2, labels_NK), None, (cells, cells)),
    )
    return sparse, drawn


def _dense(sam: Any, hints: Tensor, hinted: Tensor, drawn: Tensor) -> Tensor:
    """Dense embeddings: mask inputs, or what stands for none, under the drawings."""
    embedded = sam.prompt_encoder.mask_downscaling(hints)
    none = sam.prompt_encoder.no_mask_embed.weight[0][None, :, None, None]
    under = torch.where(hinted[:, None, None, None], embedded, none)
    width = under.shape[1]
    return torch.cat([under + drawn[:, :width], drawn[:, width:]], dim=1)


def _likeness_loss(sam: Any, embedding: Tensor, batch: PromptBatch, device: torch.device) -> Tensor:
    """Teaches the encoder by itself: features of a mask's places are like that at its point.

    Every place of the picture learns from every prompt, long before the decoder can tell the
    encoder what it wants.
    """
    targets_BPHW = batch.targets.to(device).float()
    width = sam.mask_decoder.transformer_dim
    loss = torch.zeros((), device=device)
    for features_BCHW in (embedding[:, :width], sam.mask_decoder.fine(embedding)):
        size = (features_BCHW.shape[-2], features_BCHW.shape[-1])
        wanted = F.adaptive_avg_pool2d(targets_BPHW, size)
        cells = (batch.points.to(device) * size[0] / batch.images.shape[1]).long()
        flat = (cells[..., 1] * size[1] + cells[..., 0])[:, None]
        features_BCL = features_BCHW.flatten(2)
        at_BCP = features_BCL.gather(2, flat.expand(-1, features_BCL.shape[1], -1))
        like = (at_BCP.transpose(1, 2) @ features_BCL) / features_BCL.shape[1] ** 0.5
        wanted = wanted.flatten(2)
        cross = F.binary_cross_entropy_with_logits(like, wanted, reduction="none").mean(-1)
        chance = like.sigmoid()
        dice = 1 - (2 * (chance * wanted).sum(-1) + 1) / (chance.sum(-1) + wanted.sum(-1) + 1)
        loss = loss + (cross + dice).mean()
    return loss


def _masks_loss(
    logits_NMHW: Tensor, quality_NM: Tensor, batch: PromptBatch, device: torch.device
) -> tuple[Tensor, Tensor]:
    """SAM's loss, with masks judged at K places instead of everywhere (Mask2Former does so).

    Of the three masks only the best one learns; the single one always does; all learn to say how
    good they are. Returns the loss and the IoUs (NxM).
    """
    side = batch.images.shape[1]
    places_NK2 = batch.places.to(device).flatten(0, 1)
    inside_N1K = batch.inside.to(device).flatten(0, 1)[:, None]
    grid = (2 * (places_NK2 + 0.5) / side - 1)[:, None]
    at_NMK = F.grid_sample(logits_NMHW.float(), grid, align_corners=False)[:, :, 0]
    inside_NMK = inside_N1K.expand_as(at_NMK)
    cross = F.binary_cross_entropy_with_logits(at_NMK, inside_NMK, reduction="none").mean(-1)
    chance = at_NMK.sigmoid()
    common = (chance * inside_NMK).sum(-1)
    dice = 1 - (2 * common + 1) / (chance.sum(-1) + inside_NMK.sum(-1) + 1)
    each_NM = 2 * cross + dice
    ious = _ious(logits_NMHW.detach(), batch.targets.to(device).flatten(0, 1)[:, None])
    judged = F.mse_loss(quality_NM.float(), ious)
    return each_NM[:, 1:].amin(dim=1).mean() + 0.5 * each_NM[:, 0].mean() + judged, ious


def _ious(logits_NMHW: Tensor, targets_N1HW: Tensor) -> Tensor:
    """NxM, at the size of the logits."""
    inside = logits_NMHW > 0
    common = (inside & targets_N1HW).sum((-1, -2))
    return common / (inside | targets_N1HW).sum((-1, -2)).clamp(min=1)


def _correction(
    logits_NHW: Tensor, batch: PromptBatch, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A point (Nx2 pixels, x and y) where each mask is wrong, and its label: 1 inside."""
    targets = batch.targets.to(device).flatten(0, 1)
    right = (logits_NHW > 0) == targets
    dice = torch.rand(targets.shape, device=device).masked_fill(right, -1.0)
    flat = dice.flatten(1).argmax(dim=1)
    width = targets.shape[-1]
    points = torch.stack([flat % width, flat // width], dim=1).float() * 4 + 1.5
    return points, targets.flatten(1).gather(1, flat[:, None])[:, 0].float()
