"""Osprey behind the contract: one encoder pass and one prefill per image and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.captioning.base import Captioner, Refusal, Words
from streamer.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from model.osprey.captioner import OspreyCaptioner, RegionText


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
        return [self._picture(image, masks) for image, masks in pictures]

    def _picture(self, image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> list[Words | Refusal]:
        captioner = self._captioner
        if captioner is None:
            raise RuntimeError("setup() has to run before words()")
        (features,) = captioner.encode([image])
        texts, details = (
            captioner.describe(
                captioner.prefill(features, prompt), masks, max_new_tokens=self.max_new_tokens
            )
            if prompt
            else [None] * len(masks)
            for prompt in (self.prompt, self.detail_prompt)
        )
        return [
            Words(
                text=self._text(text),
                detail=self._text(detail),
                mean_logprob=text.mean_logprob if text else None,
            )
            for text, detail in zip(texts, details, strict=True)
        ]

    def _text(self, answer: RegionText | None) -> str:
        from model.osprey.prompt import official_postprocess

        if answer is None:
            return ""
        return official_postprocess(answer.text) if self.official_postprocess else answer.text

    def close(self) -> None:
        self._captioner = None
