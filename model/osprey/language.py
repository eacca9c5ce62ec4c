"""Llama decoding for many regions over one shared prefix.

Everything before the region tokens is the same for all regions of an image. It is prefilled once,
with a batch of one; then the regions' own tokens run as a batch whose queries attend to that one
prefix and to their own past. The two sets of scores are joined in one softmax, so the prefix is
never copied (the idea of Hydragen, arXiv 2402.05099; exact, not an approximation).

Shapes: R regions, S new positions, P prefix positions, T own positions so far, H heads, K key and
value heads, E channels of a head, D channels of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "osprey_shared_prefix"


@dataclass(frozen=True)
class PrefixKV:
    """Keys and values of a prefilled prefix, one (1KPE, 1KPE) pair a layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        """Number of positions."""
        return int(self.layers[0][0].shape[2])


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    prefix: PrefixKV | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """An attention function for transformers; without a prefix it is its SDPA one."""
    if prefix is None:
        output, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return output, weights
    layer: int = module.layer_idx  # type: ignore[assignment]
    key_1KPE, value_1KPE = prefix.layers[layer]
    regions, heads, new, width = query.shape
    kv_heads, length = key_1KPE.shape[1], key_1KPE.shape[2]
    scale = width**-0.5 if scaling is None else scaling
    # heads that share keys, regions and positions all become rows of one matrix product
    grouped = query.reshape(regions, kv_heads, -1, width) * scale
    folded = grouped.transpose(0, 1).reshape(kv_heads, -1, width)
    to_prefix = folded @ key_1KPE[0].transpose(1, 2)
    to_prefix = to_prefix.view(kv_heads, regions, -1, length).transpose(0, 1)
    to_own = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        own = key.shape[2]
        masked = to_own.view(regions, kv_heads, -1, new, own) + attention_mask[:, :, None]
        to_own = masked.view_as(to_own)
    weights = torch.cat([to_prefix, to_own], dim=-1).softmax(dim=-1, dtype=torch.float32)
    weights = weights.to(query.dtype)
    on_prefix = weights[..., :length].transpose(0, 1).reshape(kv_heads, -1, length) @ value_1KPE[0]
    output = on_prefix.view(kv_heads, regions, -1, width).transpose(0, 1)
    output = output + weights[..., length:] @ value
    return output.reshape(regions, heads, new, width).transpose(1, 2), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, shared_prefix_attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)


def build_language_model(sizes: dict[str, Any]) -> LlamaForCausalLM:
    """A Llama of the given LlamaConfig fields, random weights, with the attention above."""
    return LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation=ATTENTION))


@dataclass(frozen=True)
class Generated:
    """Answer of one region: token ids without the end token, and every token's
    natural-log probability (the end token's included, when it came)."""

    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]


def prefill(language: LlamaForCausalLM, embeds_1PD: Tensor) -> PrefixKV:
    """Run the prefix once; no output head."""
    cache = DynamicCache()
    language.model(inputs_embeds=embeds_1PD, past_key_values=cache, use_cache=True)
    return PrefixKV(tuple((layer.keys, layer.values) for layer in cache.layers))


def decode_greedy(
    language: LlamaForCausalLM,
    prefix: PrefixKV,
    embeds_RSD: Tensor,
    *,
    max_new_tokens: int,
    eos_token_id: int | None,
) -> list[Generated]:
    """Answers of R regions over one prefix; a finished region leaves the batch.

    Args:
        embeds_RSD: the regions' own tokens, all of one length.
        eos_token_id: ends an answer; None lets every answer run to `max_new_tokens`.
    """
    regions = embeds_RSD.shape[0]
    device = embeds_RSD.device
    tokens: list[list[int]] = [[] for _ in range(regions)]
    logprobs: list[list[float]] = [[] for _ in range(regions)]
    rows = torch.arange(regions, device=device)
    cache = DynamicCache()
    embeds = embeds_RSD
    own = 0
    for _ in range(max_new_tokens):
        hidden = _advance(language, prefix, cache, embeds, own)
        own += embeds.shape[1]
        scores = language.lm_head(hidden).float().log_softmax(dim=-1)
        best, chosen = scores.max(dim=-1)
        for row, logprob, token in zip(rows.tolist(), best.tolist(), chosen.tolist(), strict=True):
            logprobs[row].append(logprob)
            if token != eos_token_id:
                tokens[row].append(token)
        going = (
            torch.ones_like(chosen, dtype=torch.bool)
            if eos_token_id is None
            else chosen != eos_token_id
        )
        if not bool(going.any()):
            break
        if not bool(going.all()):
            kept = going.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, chosen = rows[kept], chosen[kept]
        embeds = language.model.embed_tokens(chosen)[:, None]
    return [
        Generated(tuple(ids), tuple(values)) for ids, values in zip(tokens, logprobs, strict=True)
    ]


def _advance(
    language: LlamaForCausalLM, prefix: PrefixKV, cache: DynamicCache, embeds: Tensor, own: int
) -> Tensor:
    """Run S new positions behind `own` earlier ones; the last position's state, R x D."""
    new = embeds.shape[1]
    start = prefix.length + own
    positions = torch.arange(start, start + new, device=embeds.device)[None]
    mask = torch.full(
        (new, own + new), torch.finfo(embeds.dtype).min, dtype=embeds.dtype, device=embeds.device
    ).triu(own + 1)
    output = language.model(
        inputs_embeds=embeds,
        attention_mask=mask[None, None],
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        prefix=prefix,
    )
    state: Tensor = output.last_hidden_state[:, -1]
    return state
