"""The official procedure, the reference of the benchmark: one region a call, nothing shared.

Every region preprocesses and encodes the image anew, prefills the whole prompt with the output
head on all its positions, and decodes alone, as the published code does it (the casts of the whole
model on every call, which only cost time, are left out).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from model.evaluation.stopwatch import Stopwatch
from model.osprey.model import Osprey
from model.osprey.processor import preprocess_all


@torch.inference_mode()
def describe_officially(
    model: Osprey,
    image: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    eos_token_id: int | None,
    watch: Stopwatch,
) -> list[int]:
    """Greedy token ids of one region.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW.
        ids: the prompt, with IMAGE_TOKEN_INDEX where the image stands.
    """
    with watch("tower"):
        pixels = preprocess_all([image], model.config.image_size_px)
        levels = model.vision_tower(pixels.to(model.device, model.dtype))
        image_tokens = model.image_tokens(levels)[0]
    with watch("extractor"):
        tokens = model.mask_extractor(levels, torch.from_numpy(mask[None]).to(model.device))
    cache = DynamicCache()
    with watch("prefill"):
        row = torch.tensor(ids, device=model.device)
        embeds = model.splice(row, image_tokens, *tokens)[None]
        chosen = _forward(model, cache, embeds)
    answer: list[int] = []
    with watch("decode"):
        while True:
            word = int(chosen)
            if word == eos_token_id:
                break
            answer.append(word)
            if len(answer) == max_new_tokens:
                break
            chosen = _forward(model, cache, model.embed(chosen[None, None]))
    return answer


def _forward(model: Osprey, cache: DynamicCache, embeds_1SD: torch.Tensor) -> torch.Tensor:
    """The likeliest next word, out of the scores of all positions."""
    output = model.language.model(inputs_embeds=embeds_1SD, past_key_values=cache, use_cache=True)
    scores: torch.Tensor = model.language.lm_head(output.last_hidden_state)
    return scores[0, -1].argmax()
