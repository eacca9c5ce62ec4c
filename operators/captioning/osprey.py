"""Osprey behind the contract: one encoder pass and one prefill per image and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.captioning.base import Captioner, Refusal, Words
from streamer.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from model.osprey.asks import ImageFeatures, RegionError, RegionText
    from model.osprey.captioner import OspreyCaptioner


class OspreyCaptions(Captioner):
    """Asks an Osprey model.

    Args:
        weights: the name of a model (`streamer models list`), or a folder in the released layout.
        prompt: the template for the short form, or a text with `<mask>`.
        detail_prompt: the template for the long form; "" asks for none.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        max_new_tokens: the longest answer, in tokens.
        official_postprocess: cut answers as the official demo does; for comparisons.
    """

    def __init__(
        self,
        weights: str = "osprey-nano",
        prompt: str = "demo_short",
        detail_prompt: str = "demo_detailed",
        device: str = "auto",
        max_new_tokens: int = 64,
        official_postprocess: bool = False,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; at least 1")
        self.weights = weights
        self.prompt = prompt
        self.detail_prompt = detail_prompt
        self.device = device
        self.max_new_tokens = max_new_tokens
        self.official_postprocess = official_postprocess
        self._captioner: OspreyCaptioner | None = None

    def setup(self) -> None:
        """Load the weights.

        Raises:
            WeightsError: when they are missing or do not fit, there is no such device, or no room
                for an answer behind a prompt.
            ConfigError: when a prompt asks about no region or about several.
        """
        from model.weights import weights_folder

        try:
            folder = weights_folder(self.weights)
        except ValueError as error:
            raise WeightsError(str(error)) from None
        # torch is imported here, which takes long
        from model.osprey.captioner import OspreyCaptioner
        from model.osprey.prompt import MASK, build_prompt

        prompts = [prompt for prompt in (self.prompt, self.detail_prompt) if prompt]
        for prompt in prompts:
            try:
                regions = build_prompt(prompt).count(MASK)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            if regions != 1:
                raise ConfigError(f"prompt {prompt!r} asks about {regions} regions; ask about one")
        try:
            self._captioner = OspreyCaptioner.from_folder(folder, device=self.device)
            for prompt in prompts:
                self._check_room(self._captioner, prompt)
        except (OSError, ValueError) as error:
            raise WeightsError(f"weights {self.weights!r} cannot be used: {error}") from error
        self.name = self._captioner.name
        self.weights_hash = self._captioner.weights_hash

    def _check_room(self, captioner: OspreyCaptioner, prompt: str) -> None:
        """Said once, not for every picture."""
        from model.osprey.prompt import build_prompt, check_length, tokenize_prompt

        room = check_length(
            tokenize_prompt(build_prompt(prompt), captioner.tokenizer),
            image_tokens=captioner.model.config.image_tokens,
            context=int(captioner.model.config.language["max_position_embeddings"]),
        )
        if self.max_new_tokens > room:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; {room} fit the context")

    def words(
        self, pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    ) -> list[list[Words | Refusal]]:
        captioner = self._captioner
        if captioner is None:
            raise RuntimeError("setup() has to run before words()")
        features = captioner.encode([image for image, _ in pictures])
        shorts = self._ask(captioner, features, pictures, self.prompt)
        details: list[list[Words | Refusal]] = [[Words(text="")] * len(m) for _, m in pictures]
        if self.detail_prompt:
            details = self._ask(captioner, features, pictures, self.detail_prompt)
        return [
            [
                short if isinstance(short, Refusal)
                else long if isinstance(long, Refusal)
                else Words(text=short.text, detail=long.text, mean_logprob=short.mean_logprob)
                for short, long in zip(*rows, strict=True)
            ]
            for rows in zip(shorts, details, strict=True)
        ]  # fmt: skip

    def _ask(
        self,
        captioner: OspreyCaptioner,
        features: Sequence[ImageFeatures],
        pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]],
        prompt: str,
    ) -> list[list[Words | Refusal]]:
        """One question about all regions of all pictures, in one decoding batch."""
        from model.osprey.asks import Ask

        answers: list[list[Words | Refusal]] = []
        asks = []
        for of_image, (_, masks) in zip(features, pictures, strict=True):
            answers.append([])
            try:
                prefix = captioner.prefill(of_image, prompt)
            except ValueError as error:  # features that are no numbers: this picture only
                answers[-1] = [Refusal(str(error))] * len(masks)
                continue
            asks.append(Ask(prefix, masks, self.max_new_tokens))
        outcomes = iter(captioner.describe_all(asks))
        return [row or [self._words(outcome) for outcome in next(outcomes)] for row in answers]

    def _words(self, outcome: RegionText | RegionError) -> Words | Refusal:
        from model.osprey.asks import RegionError
        from model.osprey.prompt import official_postprocess

        if isinstance(outcome, RegionError):
            return Refusal(outcome.reason)
        text = official_postprocess(outcome.text) if self.official_postprocess else outcome.text
        return Words(text=text, mean_logprob=outcome.mean_logprob)

    def close(self) -> None:
        self._captioner = None
