"""What goes into the captioner and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.osprey.attention import PrefixKV
from model.osprey.vision import Levels


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What the tower saw of one image: its levels (batch of 1), its image tokens N x D, the
    picture's own (height, width) in pixels, in which masks are given, and whether the tokens are
    all finite."""

    levels: Levels
    tokens_ND: Tensor
    hw: tuple[int, int]
    is_finite: bool


@dataclass(frozen=True, eq=False)
class SharedPrefix:
    """Everything before the region tokens, prefilled, and the ids from `<mask>` on."""

    features: ImageFeatures
    kv: PrefixKV
    suffix_ids: tuple[int, ...]


@dataclass(frozen=True)
class RegionText:
    """Words for a region; log-probabilities are natural and at most 0."""

    text: str
    mean_logprob: float
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]


@dataclass(frozen=True)
class RegionError:
    """Why a region got no words."""

    reason: str


@dataclass(frozen=True, eq=False)
class Ask:
    """Regions of an image to be described: masks R x H x W, in the pixels of the picture given
    to `encode`."""

    prefix: SharedPrefix
    masks: NDArray[np.bool_]
    max_new_tokens: int = 64


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of one region of an ask."""

    ask: Ask
    region: int
    outcome: RegionText | RegionError


def region_count(masks: NDArray[np.bool_]) -> int:
    """Regions of an ask; masks of no such shape count as one region that cannot be described."""
    return len(masks) if masks.ndim == 3 else 1


def problems(ask: Ask) -> list[str | None]:
    """For every region, what is wrong with its mask."""
    masks, (height, width) = ask.masks, ask.prefix.features.hw
    if masks.ndim != 3 or masks.shape[1:] != (height, width):
        reason = f"masks are R x {height} x {width} like the picture, not {masks.shape}"
        return [reason] * region_count(masks)
    return [
        None if bool(mask.any()) else "its mask has no pixel inside the picture" for mask in masks
    ]
