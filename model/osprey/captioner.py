"""Osprey as it is used: encode an image once, prefill a prompt once, describe all its regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from model.device import choose_device
from model.osprey.checkpoint import load_folder, weights_hash
from model.osprey.language import PrefixKV, decode_greedy, prefill
from model.osprey.model import Osprey
from model.osprey.processor import preprocess
from model.osprey.prompt import IMAGE_TOKEN_INDEX, build_prompt, tokenize_prompt
from model.osprey.vision import Levels, stack_pixels


@dataclass(frozen=True)
class ImageFeatures:
    """What the tower saw of one image: its levels (batch of 1), its image tokens N x D, and the
    picture's own (height, width) in pixels, in which masks are given."""

    levels: Levels
    tokens_ND: Tensor
    hw: tuple[int, int]


@dataclass(frozen=True)
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


class OspreyCaptioner:
    """Describes regions of images, greedily and deterministically."""

    def __init__(self, model: Osprey, tokenizer: Any, *, name: str, weights_hash: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.weights_hash = weights_hash

    @classmethod
    def from_folder(
        cls, folder: Path, *, device: str = "auto", dtype: torch.dtype | None = None
    ) -> OspreyCaptioner:
        """Load a model folder in the released layout.

        Args:
            device: "auto" takes CUDA where there is one.
            dtype: bfloat16 on CUDA and float32 elsewhere, unless given.

        Raises:
            ValueError: when the folder's files are missing or do not fit, or there is no such
                device.
        """
        place = choose_device(device)
        if dtype is None:
            dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
        model = load_folder(folder, device=place, dtype=dtype)
        return cls(
            model, load_tokenizer(folder), name=folder.name, weights_hash=weights_hash(folder)
        )

    @property
    def image_size_px(self) -> int:
        """Side of the square the model sees."""
        return self.model.config.image_size_px

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> list[ImageFeatures]:
        """One tower pass for all images (each HxWx3 uint8 RGB)."""
        pixels = stack_pixels([preprocess(image, self.image_size_px) for image in images])
        levels = self.model.vision_tower(pixels.to(self.model.device, self.model.dtype))
        tokens = self.model.image_tokens(levels)
        return [
            ImageFeatures(levels.of_image(i), tokens[i], (image.shape[0], image.shape[1]))
            for i, image in enumerate(images)
        ]

    @torch.inference_mode()
    def prefill(self, features: ImageFeatures, prompt: str) -> SharedPrefix:
        """Run everything before `<mask>` once. `prompt`: a template's name or a user text.

        Raises:
            ValueError: for a prompt without a region or with several.
        """
        ids = tokenize_prompt(build_prompt(prompt), self.tokenizer)
        at, slot = ids.index(IMAGE_TOKEN_INDEX), ids.index(self.model.config.mask_token_id)
        if ids.count(self.model.config.mask_token_id) != 1:
            raise ValueError(f"a prompt for single regions has one <mask>: {prompt!r}")
        head, middle = torch.tensor(ids[:at]), torch.tensor(ids[at + 1 : slot])
        embeds = torch.cat([self.model.embed(head), features.tokens_ND, self.model.embed(middle)])
        return SharedPrefix(features, prefill(self.model.language, embeds[None]), tuple(ids[slot:]))

    @torch.inference_mode()
    def describe(
        self, prefix: SharedPrefix, masks: NDArray[np.bool_], *, max_new_tokens: int = 64
    ) -> list[RegionText]:
        """Words for all regions of an image.

        Args:
            masks: R x H x W, in the pixels of the picture given to `encode`.

        Raises:
            ValueError: for masks of another size, or empty ones, by their index.
        """
        if masks.ndim != 3 or masks.shape[1:] != prefix.features.hw:
            raise ValueError(
                f"masks are R x {prefix.features.hw[0]} x {prefix.features.hw[1]} like the "
                f"picture, not {masks.shape}"
            )
        empty = np.flatnonzero(~masks.any(axis=(1, 2)))
        if len(empty):
            raise ValueError(f"masks without a pixel cannot be described: {empty.tolist()}")
        if not len(masks):
            return []
        inside = torch.from_numpy(masks).to(self.model.device)
        mask_RD, position_RD = self.model.mask_extractor(prefix.features.levels, inside)
        asked = self.model.embed(torch.tensor(prefix.suffix_ids[2:]))
        embeds = torch.cat(
            [
                mask_RD.to(asked)[:, None],
                position_RD.to(asked)[:, None],
                asked.expand(len(masks), -1, -1),
            ],
            dim=1,
        )
        answers = decode_greedy(
            self.model.language,
            prefix.kv,
            embeds,
            max_new_tokens=max_new_tokens,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        return [
            RegionText(
                text=self.tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip(),
                mean_logprob=float(np.mean(answer.token_logprobs)),
                token_ids=answer.token_ids,
                token_logprobs=answer.token_logprobs,
            )
            for answer in answers
        ]

    def caption(
        self,
        image: NDArray[np.uint8],
        masks: NDArray[np.bool_],
        prompt: str = "demo_short",
        *,
        max_new_tokens: int = 64,
    ) -> list[RegionText]:
        """`encode`, `prefill` and `describe` in a row, for one image."""
        (features,) = self.encode([image])
        return self.describe(self.prefill(features, prompt), masks, max_new_tokens=max_new_tokens)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, with `<mask>` and `<pos>` added where they are missing."""
    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    tokenizer = kind.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<mask>", "<pos>"]})
    return tokenizer
