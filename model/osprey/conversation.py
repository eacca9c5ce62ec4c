"""Questions in turns about one picture, with any number of regions in a prompt, or none.

`OspreyCaptioner` asks one question about each of many regions; this is the general form. What the
turns have in common is run once: a turn goes on where the cache and its ids part.

Shapes: R regions, H x W of the picture, T positions, D channels of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from model.osprey.model import Osprey
from model.osprey.processor import preprocess_all
from model.osprey.prompt import (
    IMAGE_TOKEN_INDEX,
    MASK,
    TEMPLATES,
    TRAINED_SYSTEM,
    Template,
    check_length,
    conversation_prompt,
    official_postprocess,
    tokenize_prompt,
)


@dataclass(frozen=True)
class Answer:
    """An answer in words and in token ids (without the end token). Log-probabilities are natural
    and at most 0; the end token's is the last one, when it came."""

    text: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]


class Conversation:
    """Turns about one picture; answers are greedy and deterministic.

    Args:
        image: HxWx3 uint8 RGB.
        masks: R x H x W, any pixel above 0 belongs to its region; in the order in which the
            questions mention them, over all turns. None for questions about the whole picture.
        system: the system prompt; `prompt.SYSTEM` is the one of the official inference.
        postprocess: cut answers as the official demo does (see `official_postprocess`).

    Raises:
        ValueError: for masks of another size than the picture, empty or not finite ones.
    """

    def __init__(
        self,
        model: Osprey,
        tokenizer: Any,
        image: NDArray[np.uint8],
        masks: NDArray[Any] | None = None,
        *,
        system: str = TRAINED_SYSTEM,
        postprocess: bool = False,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.system = system
        self.postprocess = postprocess
        self.turns: list[tuple[str, str]] = []
        hw = (image.shape[0], image.shape[1])
        masks = np.zeros((0, *hw), np.bool_) if masks is None else masks
        check_masks(masks, hw)
        pixels = preprocess_all([image], model.config.image_size_px, model.config.resize)
        with torch.inference_mode():
            levels = model.vision_tower(pixels.to(model.device, model.dtype))
            self._image_ND = model.image_tokens(levels)[0]
            inside = torch.from_numpy(np.ascontiguousarray(masks)).to(model.device)
            self._mask_RD, self._position_RD = model.mask_extractor(levels, inside)
        self._cache = DynamicCache()
        self._cached_ids: list[int] = []

    @property
    def regions(self) -> int:
        return int(self._mask_RD.shape[0])

    @torch.inference_mode()
    def ask(self, question: str, *, max_new_tokens: int = 64) -> Answer:
        """Put the next question.

        Args:
            question: a template's name or a text; regions in it are `<mask><pos>`. See
                `prompt.regions_question` and `prompt.image_question`.
            max_new_tokens: the longest answer; it also ends where the model's context does.

        Raises:
            ValueError: for more `<mask>` than regions, a misplaced image or region, or a
                conversation longer than the context. The turn is then as if never asked.
        """
        text = TEMPLATES.get(question, Template(question)).text
        prompt = conversation_prompt([*self.turns, (text, None)], system=self.system)
        ids = tokenize_prompt(prompt, self.tokenizer)
        mentioned = ids.count(self.model.config.mask_token_id)
        if mentioned > self.regions:
            raise ValueError(
                f"{mentioned} {MASK} up to {question!r}, but {self.regions} regions were given"
            )
        room = check_length(
            ids,
            image_tokens=len(self._image_ND),
            context=int(self.model.config.language["max_position_embeddings"]),
        )
        embeds_TD = self.model.splice(
            torch.tensor(ids), self._image_ND, self._mask_RD[:mentioned],
            self._position_RD[:mentioned],
        )  # fmt: skip
        at = ids.index(IMAGE_TOKEN_INDEX)
        ids[at : at + 1] = [IMAGE_TOKEN_INDEX] * len(self._image_ND)
        tokens, logprobs = self._generate(ids, embeds_TD, min(max_new_tokens, room))
        answer = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        if self.postprocess:
            answer = official_postprocess(answer)
        self.turns.append((text, answer))
        return Answer(answer, tuple(tokens), tuple(logprobs))

    def _generate(
        self, ids: list[int], embeds_TD: Tensor, most: int
    ) -> tuple[list[int], list[float]]:
        """Greedy tokens behind a spliced prompt (`ids` has one entry a position)."""
        known = _common(self._cached_ids, ids[:-1])
        if known < len(self._cached_ids):
            self._cache.crop(known - len(self._cached_ids))  # so many fewer
        self._cached_ids = ids[:known]
        tokens: list[int] = []
        logprobs: list[float] = []
        new_ids, embeds_TD = ids[known:], embeds_TD[known:]
        while len(tokens) < most:
            hidden = self._advance(embeds_TD)
            self._cached_ids += new_ids
            scores = self.model.language.lm_head(hidden).float().log_softmax(dim=-1)
            best, chosen = scores.max(dim=-1)
            if not bool(torch.isfinite(best)):
                raise ValueError(
                    "the model's scores are no numbers (NaN): its weights are damaged, or too "
                    "large for the type they were loaded in"
                )
            logprobs.append(float(best))
            token = int(chosen)
            if token == self.tokenizer.eos_token_id:
                break
            tokens.append(token)
            new_ids, embeds_TD = [token], self.model.embed(chosen[None])
        return tokens, logprobs

    def _advance(self, embeds_TD: Tensor) -> Tensor:
        """Run new positions behind those in the cache; the last one's state, D."""
        past, new = len(self._cached_ids), len(embeds_TD)
        positions = torch.arange(past, past + new, device=embeds_TD.device)
        mask = torch.full(
            (new, past + new), torch.finfo(embeds_TD.dtype).min, dtype=embeds_TD.dtype,
            device=embeds_TD.device,
        ).triu(past + 1)  # fmt: skip
        output = self.model.language.model(
            inputs_embeds=embeds_TD[None],
            attention_mask=mask[None, None],
            position_ids=positions[None],
            past_key_values=self._cache,
            use_cache=True,
        )
        state: Tensor = output.last_hidden_state[0, -1]
        return state


def ask(
    model: Osprey,
    tokenizer: Any,
    image: NDArray[np.uint8],
    masks: NDArray[Any] | None,
    questions: Sequence[str],
    *,
    max_new_tokens: int = 64,
    system: str = TRAINED_SYSTEM,
    postprocess: bool = False,
) -> list[Answer]:
    """A whole conversation at once; see `Conversation`.

    Raises:
        ValueError: also when the questions do not mention every region.
    """
    talk = Conversation(model, tokenizer, image, masks, system=system, postprocess=postprocess)
    texts = [TEMPLATES.get(question, Template(question)).text for question in questions]
    mentioned = sum(text.count(MASK) for text in texts)
    if mentioned != talk.regions:
        raise ValueError(f"{mentioned} {MASK} in the questions for {talk.regions} regions")
    return [talk.ask(question, max_new_tokens=max_new_tokens) for question in questions]


def check_masks(masks: NDArray[Any], hw: tuple[int, int]) -> None:
    """Check the masks of a picture.

    Raises:
        ValueError: naming the masks that are of another size than the picture (so that they
            would lie outside of it or elsewhere), that have no pixel, or that are not finite.
    """
    if masks.ndim != 3 or masks.shape[1:] != hw:
        raise ValueError(
            f"masks are R x {hw[0]} x {hw[1]} like the picture, not {tuple(masks.shape)}"
        )
    if masks.dtype.kind == "f" and not np.isfinite(masks).all():
        wrong = np.flatnonzero(~np.isfinite(masks).all(axis=(1, 2))).tolist()
        raise ValueError(f"masks with NaN or infinite values: {wrong}")
    empty = np.flatnonzero(~(masks > 0).any(axis=(1, 2))).tolist()
    if empty:
        raise ValueError(f"masks without a pixel in the picture cannot be asked about: {empty}")


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the beginning two lists share."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
