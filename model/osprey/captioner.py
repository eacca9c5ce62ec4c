"""Osprey as it is used: encode images once, prefill a prompt once, describe all their regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.device import choose_device
from model.osprey.asks import (
    Answer,
    Ask,
    ImageFeatures,
    RegionError,
    RegionText,
    SharedPrefix,
    problems,
    region_count,
)
from model.osprey.checkpoint import load_folder, weights_hash
from model.osprey.decoding import DecodingBatch, Row
from model.osprey.engine import Engine
from model.osprey.graphs import GraphedBatch
from model.osprey.language import LanguageRunner
from model.osprey.memory import budget_bytes, in_batches
from model.osprey.model import Osprey
from model.osprey.prefill import Prefiller
from model.osprey.prefix_cache import PrefixCache
from model.osprey.processor import preprocess_all
from model.osprey.prompt import build_prompt, tokenize_prompt
from model.osprey.tokenizer import load_tokenizer

TOWER_BATCH = 16
EXTRACTOR_BATCH = 16
CACHE_SHARE = 0.25  # of the memory budget, for prefixes of later questions


class OspreyCaptioner:
    """Describes regions of images, greedily and deterministically. For one thread.

    Args:
        memory_bytes: what decoding and kept prefixes may take; by default most of what is free on
            a GPU, and 2 GiB elsewhere. It decides how many regions are decoded at a time.
    """

    def __init__(
        self,
        model: Osprey,
        tokenizer: Any,
        *,
        name: str,
        weights_hash: str,
        memory_bytes: int | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.weights_hash = weights_hash
        self.runner = LanguageRunner(model.language, model.config.hedge)
        budget = budget_bytes(model.device) if memory_bytes is None else memory_bytes
        cache = PrefixCache(int(budget * CACHE_SHARE))
        self.prefiller = Prefiller(model, self.runner, cache)
        self._pinned = torch.empty(0, dtype=torch.bool)
        eos = None if tokenizer is None else tokenizer.eos_token_id
        kind = GraphedBatch if model.device.type == "cuda" else DecodingBatch
        self.engine = Engine(
            kind(self.runner, eos_token_id=eos), budget_bytes=budget - cache.limit_bytes
        )

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
        return in_batches(self._encode, images, TOWER_BATCH, self.model.device)

    def _encode(self, images: Sequence[NDArray[np.uint8]]) -> list[ImageFeatures]:
        config = self.model.config
        pixels = preprocess_all(images, config.image_size_px, config.resize, self.model.device)
        levels = self.model.vision_tower(pixels.to(self.model.dtype))
        tokens = self.model.image_tokens(levels)
        # for all images at once: asking later would make a GPU wait before every prefill
        finite = tokens.isfinite().flatten(1).all(dim=1).tolist()
        return [
            ImageFeatures(levels.of_image(i), tokens[i], image.shape[:2], finite[i])
            for i, image in enumerate(images)
        ]

    @torch.inference_mode()
    def prefill(self, features: ImageFeatures, prompt: str) -> SharedPrefix:
        """Run everything before `<mask>` once. `prompt`: a template's name or a user text.

        What an earlier prompt has in common, the image first of all, is not run again as long as
        it is in the cache.

        Raises:
            ValueError: for a prompt without a region or with several, one that is too long for
                the model, and features that are not finite.
        """
        ids = tokenize_prompt(build_prompt(prompt), self.tokenizer)
        if ids.count(self.model.config.mask_token_id) != 1:
            raise ValueError(f"a prompt for single regions has one <mask>: {prompt!r}")
        return self.prefill_ids(features, ids)

    @torch.inference_mode()
    def prefill_ids(self, features: ImageFeatures, ids: Sequence[int]) -> SharedPrefix:
        """`prefill` for token ids, with IMAGE_TOKEN_INDEX where the image stands."""
        slot = ids.index(self.model.config.mask_token_id)
        length = len(ids) - 1 + len(features.tokens_ND)
        if length >= self.runner.context:
            raise ValueError(
                f"the prompt takes {length} positions with its image and leaves no room for an "
                f"answer in a context of {self.runner.context}: shorten it"
            )
        return SharedPrefix(
            features, self.prefiller.prefix(features, tuple(ids[:slot])), tuple(ids[slot:])
        )

    @torch.inference_mode()
    def answers(self, arrivals: Iterable[Sequence[Ask]]) -> Iterator[Answer]:
        """Answers as they are ready, in no particular order; regions of all asks share a decoding
        batch, which they join as they arrive and leave as they end.

        A region that cannot be described (`RegionError`) costs the others nothing.

        Args:
            arrivals: asks as they come. It is asked for more while there is room; an empty group
                says that nothing has come yet.
        """
        places: dict[int, tuple[Ask, int]] = {}
        refused: list[Answer] = []

        def rows() -> Iterator[list[Row]]:
            for asks in arrivals:
                found = in_batches(self.rows, asks, EXTRACTOR_BATCH, self.model.device)
                group = []
                for ask, of_ask in zip(asks, found, strict=True):
                    for region, row in enumerate(of_ask):
                        if isinstance(row, RegionError):
                            refused.append(Answer(ask, region, row))
                        else:
                            places[id(row)] = ask, region
                            group.append(row)
                yield group

        for row in self.engine.answers(rows()):
            yield from refused
            refused.clear()
            ask, region = places.pop(id(row))
            yield Answer(ask, region, self._outcome(row))
        yield from refused

    def describe_all(self, asks: Sequence[Ask]) -> list[list[RegionText | RegionError]]:
        """Words for all regions of all asks, in their order."""
        numbers = {id(ask): number for number, ask in enumerate(asks)}
        outcomes: list[list[RegionText | RegionError]] = [
            [RegionError("no answer")] * region_count(ask.masks) for ask in asks
        ]
        groups = [asks[i : i + EXTRACTOR_BATCH] for i in range(0, len(asks), EXTRACTOR_BATCH)]
        for answer in self.answers(groups):
            outcomes[numbers[id(answer.ask)]][answer.region] = answer.outcome
        return outcomes

    def describe(
        self, prefix: SharedPrefix, masks: NDArray[np.bool_], *, max_new_tokens: int = 64
    ) -> list[RegionText]:
        """Words for all regions of an image.

        Args:
            masks: R x H x W, in the pixels of the picture given to `encode`.

        Raises:
            ValueError: when a region cannot be described, by its index. `describe_all` gives the
                answers of the others.
        """
        (outcomes,) = self.describe_all([Ask(prefix, masks, max_new_tokens)])
        errors = [
            f"region {index}: {outcome.reason}"
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, RegionError)
        ]
        if errors:
            raise ValueError("; ".join(errors))
        return [outcome for outcome in outcomes if isinstance(outcome, RegionText)]

    @torch.inference_mode()
    def rows(self, asks: Sequence[Ask]) -> list[list[Row | RegionError]]:
        """The regions of each ask as rows for a decoding batch, or why they cannot be. All mask
        and position tokens are made in one pass."""
        found_wrong = [problems(ask) for ask in asks]
        good = [[i for i, problem in enumerate(found) if problem is None] for found in found_wrong]
        askers = [(ask, kept) for ask, kept in zip(asks, good, strict=True) if kept]
        if not askers:
            return [[RegionError(p) for p in found if p] for found in found_wrong]
        mask_RD, position_RD = self.model.mask_extractor.of_images(
            [ask.prefix.features.levels for ask, _ in askers],
            self._to_device(
                [
                    ask.masks if len(kept) == len(ask.masks) else ask.masks[kept]
                    for ask, kept in askers
                ]
            ),
        )
        # also waits for the masks to be there, so that the pinned memory may be used again
        finite = (mask_RD.isfinite().all(dim=1) & position_RD.isfinite().all(dim=1)).tolist()
        pairs_R2D = torch.stack([mask_RD, position_RD], dim=1).to(self.model.dtype)
        rows: list[list[Row | RegionError]] = []
        at = 0
        for ask, found in zip(asks, found_wrong, strict=True):
            asked_SD = self.model.embed(torch.tensor(ask.prefix.suffix_ids[2:], dtype=torch.long))
            room = self.runner.context - ask.prefix.kv.length - len(ask.prefix.suffix_ids)
            limit = max(1, min(ask.max_new_tokens, room))
            count = found.count(None)
            own_RSD = torch.cat(
                [pairs_R2D[at : at + count], asked_SD.expand(count, *asked_SD.shape)], dim=1
            )
            rows_of_ask = zip(own_RSD, finite[at : at + count], strict=True)
            at += count
            of_ask: list[Row | RegionError] = []
            for problem in found:
                if problem is not None:
                    of_ask.append(RegionError(problem))
                    continue
                embeds_SD, is_finite = next(rows_of_ask)
                if is_finite:
                    of_ask.append(Row(ask.prefix.kv, embeds_SD, limit))
                else:
                    of_ask.append(RegionError("the features of its image are not finite"))
            rows.append(of_ask)
        return rows

    def _outcome(self, row: Row) -> RegionText | RegionError:
        if row.logprobs[-1] != row.logprobs[-1]:
            return RegionError("the language model's scores are not finite")
        text = ""
        if self.tokenizer is not None:
            text = self.tokenizer.decode(row.tokens, skip_special_tokens=True).strip()
        return RegionText(
            text=text,
            mean_logprob=float(np.mean(row.logprobs)),
            token_ids=tuple(row.tokens),
            token_logprobs=tuple(row.logprobs),
        )

    def _to_device(self, masks: Sequence[NDArray[np.bool_]]) -> list[Tensor]:
        """Masks on the device; to a GPU in one transfer, through pinned memory that is kept."""
        tensors = [torch.from_numpy(np.ascontiguousarray(of_image)) for of_image in masks]
        if self.model.device.type != "cuda":
            return [tensor.to(self.model.device) for tensor in tensors]
        sizes = [tensor.numel() for tensor in tensors]
        if sum(sizes) > len(self._pinned):
            self._pinned = torch.empty(sum(sizes), dtype=torch.bool, pin_memory=True)
        for tensor, place in zip(
            tensors, torch.split(self._pinned[: sum(sizes)], sizes), strict=True
        ):
            place.copy_(tensor.flatten())
        sent = self._pinned[: sum(sizes)].to(self.model.device, non_blocking=True)
        return [
            part.view(tensor.shape)
            for part, tensor in zip(torch.split(sent, sizes), tensors, strict=True)
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
