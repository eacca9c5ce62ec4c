"""The Llama as the captioner runs it: prefixes that grow, an output head only where it is needed.

The modules and their weights are those of transformers (which also trains them); the pass over
them is here, because keys and values live in places of our own: a prefix that is shared, and
static buffers for what is a row's own.

Shapes: B rows, S new positions, P prefix positions, H heads, K key and value heads, E channels of
a head, D channels of the model, V words, L layers.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from model.osprey.attention import PrefixKV, Shared, attend, fuses, join, kernels
from model.osprey.config import Hedge


def build_language_model(sizes: dict[str, Any]) -> LlamaForCausalLM:
    """A Llama of the given LlamaConfig fields, with random weights."""
    return LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation="sdpa"))


class Memory(Protocol):
    """Where keys and values of new positions go, and how queries read them."""

    def put(self, layer: int, k_BSKE: Tensor, v_BSKE: Tensor) -> None: ...

    def read(self, layer: int, q_BSHE: Tensor) -> Tensor: ...


class LanguageRunner:
    """Runs a Llama for inference."""

    def __init__(self, language: LlamaForCausalLM, hedge: Hedge | None = None) -> None:
        self.language = language
        self._hedge = hedge
        config = language.config
        self.layers: int = config.num_hidden_layers
        self.kv_heads: int = config.num_key_value_heads
        self.context: int = config.max_position_embeddings
        weight: Tensor = language.lm_head.weight
        self.device, self.dtype = weight.device, weight.dtype
        # the log-probability below which a word is not said
        self._least_V = torch.full((config.vocab_size,), -math.inf, device=self.device)
        if hedge is not None:
            self._least_V[list(hedge.token_ids)] = torch.tensor(hedge.least).log().to(self.device)
        self.width = int(language.model.layers[0].self_attn.head_dim)
        self._epsilon: float = config.rms_norm_eps
        # its frequencies are a buffer: a model that was cast has them rounded, which turns far
        # positions by whole radians
        rotary = type(language.model.rotary_emb)(config=config).to(self.device)
        language.model.rotary_emb = rotary
        with torch.inference_mode():
            every = torch.arange(self.context, device=self.device)[None]
            cos, sin = rotary(weight[:1, :1], every)
        self._cos_PE, self._sin_PE = cos[0], sin[0]

    @property
    def position_bytes(self) -> int:
        """Memory of the keys and values of one position."""
        return self.layers * 2 * self.kv_heads * self.width * self.dtype.itemsize

    def empty_kv(self, *batch: int, positions: int) -> Tensor:
        """Uninitialised L x 2 x (batch) x K x positions x E."""
        shape = (self.layers, 2, *batch, self.kv_heads, positions, self.width)
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def run(
        self, x_BSD: Tensor, at_BS: Tensor, memory: Memory, last_B: Tensor | None
    ) -> Tensor | None:
        """Run new positions.

        Args:
            at_BS: their places in the text.
            last_B: for each row the one new position whose outcome matters; None when only keys
                and values are wanted. The last layer does no more than that needs.

        Returns:
            States before the final norm, B x D, or None.
        """
        x = x_BSD
        cos, sin = self._cos_PE[at_BS][:, :, None], self._sin_PE[at_BS][:, :, None]
        for index, layer in enumerate(self.language.model.layers):
            attention = layer.self_attn
            h = self._norm(layer.input_layernorm, x)
            heads = (*h.shape[:2], -1, self.width)
            k = _rotate(attention.k_proj(h).view(heads), cos, sin)
            memory.put(index, k, attention.v_proj(h).view(heads))
            if index == self.layers - 1:
                if last_B is None:
                    return None
                if x.shape[1] > 1:
                    rows = torch.arange(x.shape[0], device=x.device)
                    x, h, cos, sin = (
                        t.expand(len(rows), *t.shape[1:])[rows, last_B][:, None]
                        for t in (x, h, cos, sin)
                    )
            q = _rotate(attention.q_proj(h).view(*h.shape[:2], -1, self.width), cos, sin)
            x = x + attention.o_proj(memory.read(index, q).flatten(2))
            x = x + layer.mlp(self._norm(layer.post_attention_layernorm, x))
        return x[:, 0]

    def words(self, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest next word of each row, or what a hedge says for it, and its natural-log
        probability, both B."""
        state = self._norm(self.language.model.norm, state_BD)
        logits_BV = self.language.lm_head(state).float()
        best, chosen = logits_BV.max(dim=-1)
        total = logits_BV.logsumexp(dim=-1)
        if self._hedge is not None:
            unsure = best - total < self._least_V[chosen]
            chosen = chosen.masked_fill(unsure, self._hedge.instead_id)
            best = torch.where(unsure, logits_BV[:, self._hedge.instead_id], best)
        return chosen, best - total

    def extend(self, past: PrefixKV | None, embeds_SD: Tensor) -> PrefixKV:
        """A prefix with S more positions behind `past`; no output head."""
        start = past.length if past else 0
        kv = self.empty_kv(positions=start + len(embeds_SD))
        if past:
            kv[:, :, :, :start] = past.kv_L2KPE
        whole = PrefixKV(kv)
        at = torch.arange(start, whole.length, device=self.device)[None]
        self.run(embeds_SD[None], at, _Growing(whole, start), None)
        return whole

    def _norm(self, norm: torch.nn.Module, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), norm.weight, self._epsilon)  # type: ignore[arg-type]


class _Growing:
    """A prefix that is being filled from `start` on."""

    def __init__(self, prefix: PrefixKV, start: int) -> None:
        self.kv_L2KPE = prefix.kv_L2KPE
        self.start = start
        self.past = Shared.of_rows([prefix.first(start)]) if start else None

    def put(self, layer: int, k_BSKE: Tensor, v_BSKE: Tensor) -> None:
        self.kv_L2KPE[layer, 0, :, self.start :] = k_BSKE[0].transpose(0, 1)
        self.kv_L2KPE[layer, 1, :, self.start :] = v_BSKE[0].transpose(0, 1)

    def read(self, layer: int, q_BSHE: Tensor) -> Tensor:
        key, value = self.kv_L2KPE[layer, :, None, :, self.start :]
        own = attend(q_BSHE, key, value, causal=True)
        return join(*self.past.attend(layer, q_BSHE), *own) if self.past else own[0]


def _rotate(x_BSHE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, the halves of a head as pairs."""
    if fuses(x_BSHE):
        return kernels.rotate(x_BSHE, cos, sin)
    a, b = x_BSHE.chunk(2, dim=-1)
    return torch.addcmul(x_BSHE * cos, torch.cat([-b, a], dim=-1), sin)
