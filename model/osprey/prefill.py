"""Prefixes of images and prompts, of which only what is new is ever run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.osprey.asks import ImageFeatures
from model.osprey.attention import PrefixKV
from model.osprey.language import LanguageRunner
from model.osprey.model import Osprey
from model.osprey.prefix_cache import PrefixCache
from model.osprey.prompt import IMAGE_TOKEN_INDEX


class Prefiller:
    """Fills prefixes with the help of those in its cache."""

    def __init__(self, model: Osprey, runner: LanguageRunner, cache: PrefixCache) -> None:
        self.model = model
        self.runner = runner
        self.cache = cache

    def prefix(self, features: ImageFeatures, ids: tuple[int, ...]) -> PrefixKV:
        """Keys and values of an image and the text around it; only what is new is run."""
        at = ids.index(IMAGE_TOKEN_INDEX)
        kept, known = self.cache.longest(features, ids)
        if kept is not None and known > at:
            kept = kept.first(known - 1 + len(features.tokens_ND))
            new = [] if known == len(ids) else [self._embed(ids[known:])]
        else:
            if not features.is_finite:
                raise ValueError(
                    "image features are not finite: the weights are damaged, or the picture drives "
                    f"them out of the range of {self.model.dtype}"
                )
            kept = self._head(ids[:at]) if at else None
            new = [features.tokens_ND.to(self.model.dtype), self._embed(ids[at + 1 :])]
        if kept is not None and not new:
            return kept
        whole = self.runner.extend(kept, torch.cat(new))
        self.cache.keep(features, ids, whole)
        return whole

    def _head(self, ids: tuple[int, ...]) -> PrefixKV:
        """The prompt up to the image, once for all images."""
        kept, known = self.cache.longest(None, ids)
        if kept is None or known < len(ids):
            kept = self.runner.extend(None, self._embed(ids))
            self.cache.keep(None, ids, kept)
        return kept.first(len(ids))

    def _embed(self, ids: Sequence[int]) -> Tensor:
        return self.model.embed(torch.tensor(ids, dtype=torch.long))
