"""Osprey behind the contract: one encoder pass and one prefill per image and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.captioning.base import Captioner, Refusal, Words
from streamer.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from model.osprey.asks import Ask, RegionError, RegionText
    from model.osprey.captioner import OspreyCaptioner

DTYPES = ("auto", "float32", "bfloat16")


class OspreyCaptions(Captioner):
    """Asks an Osprey model.

    Args:
        weights: the name of a model (`streamer models list`), or a folder in the released layout.
        prompt: the template for the short form, or a text with `<mask>`.
        detail_prompt: the template for the long form; "" asks for none.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: float32, bfloat16, or "auto": bfloat16 on CUDA and float32 elsewhere. A CPU that
            computes in bfloat16 is a quarter to a third faster with it, but then a region's words
            and probabilities may depend a little on which others share its batch.
        max_new_tokens: the longest answer, in tokens.
        official_postprocess: cut answers as the official demo does; for comparisons.
    """

    def __init__(
        self,
        weights: str = "osprey-nano",
        prompt: str = "demo_short",
        detail_prompt: str = "demo_detailed",
        device: str = "auto",
        dtype: str = "auto",
        max_new_tokens: int = 64,
        official_postprocess: bool = False,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; at least 1")
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}, not one of {', '.join(DTYPES)}")
        self.weights = weights
        self.prompt = prompt
        self.detail_prompt = detail_prompt
        self.device = device
        self.dtype = dtype
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
        import torch

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
            self._captioner = OspreyCaptioner.from_folder(
                folder,
                device=self.device,
                dtype=None if self.dtype == "auto" else getattr(torch, self.dtype),
            )
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
        from model.osprey.asks import Ask

        captioner = self._captioner
        if captioner is None:
            raise RuntimeError("setup() has to run before words()")
        features = captioner.encode([image for image, _ in pictures])
        prompts = [self.prompt, *([self.detail_prompt] if self.detail_prompt else [])]
        answers: list[list[list[Words | Refusal]]] = [[] for _ in pictures]
        asks: list[tuple[int, Ask]] = []
        for at, (of_image, (_, masks)) in enumerate(zip(features, pictures, strict=True)):
            try:
                asks += [
                    (at, Ask(captioner.prefill(of_image, prompt), masks, self.max_new_tokens))
                    for prompt in prompts
                ]
            except ValueError as error:  # features that are no numbers: this picture only
                answers[at] = [[Refusal(str(error))] * len(masks)] * len(prompts)
        # all prompts of all pictures share a decoding batch
        outcomes = captioner.describe_all([ask for _, ask in asks])
        for (at, _), of_ask in zip(asks, outcomes, strict=True):
            answers[at].append([self._words(outcome) for outcome in of_ask])
        return [[_joined(forms) for forms in zip(*rows, strict=True)] for rows in answers]

    def _words(self, outcome: RegionText | RegionError) -> Words | Refusal:
        from model.osprey.asks import RegionError
        from model.osprey.prompt import official_postprocess

        if isinstance(outcome, RegionError):
            return Refusal(outcome.reason)
        text = official_postprocess(outcome.text) if self.official_postprocess else outcome.text
        return Words(text=text, mean_logprob=outcome.mean_logprob, tokens=len(outcome.token_ids))

    def close(self) -> None:
        self._captioner = None


def _joined(forms: tuple[Words | Refusal, ...]) -> Words | Refusal:
    """The short form with the text of the long one, if that was asked for."""
    for form in forms:
        if isinstance(form, Refusal):
            return form
    short, *details = (form for form in forms if isinstance(form, Words))
    return Words(
        text=short.text,
        detail=details[0].text if details else "",
        mean_logprob=short.mean_logprob,
        tokens=sum(words.tokens for words in (short, *details)),
    )
