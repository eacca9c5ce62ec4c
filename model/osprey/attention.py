"""Attention in two parts: what rows share, and what is each row's own.

Everything before the region tokens is the same for all regions of an image. Its keys and values
are there once; the queries of all regions that share them become rows of one matrix product. A
second attention runs over each row's own positions. The two are joined as one softmax through
their log-sum-exp, so that a prefix is never copied (the idea of Hydragen, arXiv 2402.05099; exact,
not an approximation).

Shapes: B rows, S new positions, G prefixes side by side, M rows a prefix, P prefix positions,
T own positions, H heads, K key and value heads, E channels of a head, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

try:
    from model.osprey import kernels as kernels
except ImportError:  # Triton comes with PyTorch's builds for CUDA
    kernels = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class PrefixKV:
    """Keys and values of a prefilled prefix, one L x 2 x K x P x E tensor."""

    kv_L2KPE: Tensor

    @property
    def length(self) -> int:
        """Number of positions."""
        return int(self.kv_L2KPE.shape[3])

    @property
    def nbytes(self) -> int:
        return self.kv_L2KPE.nbytes

    def first(self, positions: int) -> PrefixKV:
        """A view of the first positions."""
        if positions == self.length:
            return self
        return PrefixKV(self.kv_L2KPE[:, :, :, :positions])


@dataclass(frozen=True, eq=False)
class Block:
    """G prefixes and the rows that read them, M each: `rows` lists them prefix by prefix; None
    when all rows of the batch read the one prefix. `bias_G11P` hides padding positions."""

    kv_L2GKPE: Tensor
    rows: Tensor | None = None
    bias_G11P: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Shared:
    """What the rows of a batch share. `slots_B`: where each row stands among the rows of all
    blocks, one block behind the other."""

    blocks: tuple[Block, ...]
    slots_B: Tensor | None = None

    @classmethod
    def of_rows(cls, prefixes: Sequence[PrefixKV]) -> Shared:
        """One block for each different prefix of the rows, none of them copied."""
        if len({id(prefix) for prefix in prefixes}) == 1:
            return cls((Block(prefixes[0].kv_L2KPE[:, :, None]),))
        device = prefixes[0].kv_L2KPE.device
        readers: dict[int, list[int]] = {}
        for row, prefix in enumerate(prefixes):
            readers.setdefault(id(prefix), []).append(row)
        blocks = [
            Block(prefixes[rows[0]].kv_L2KPE[:, :, None], torch.tensor(rows, device=device))
            for rows in readers.values()
        ]
        order = torch.tensor([row for rows in readers.values() for row in rows])
        return cls(tuple(blocks), order.argsort().to(device))

    def attend(self, layer: int, q_BSHE: Tensor) -> tuple[Tensor, Tensor]:
        """Output B x S x H x E and log-sum-exp B x S x H of every row over its prefix."""
        parts = [_over_block(block, layer, q_BSHE) for block in self.blocks]
        if self.slots_B is None:
            return parts[0]
        return tuple(torch.cat(tensors)[self.slots_B] for tensors in zip(*parts, strict=True))  # type: ignore[return-value]


def _over_block(block: Block, layer: int, q_BSHE: Tensor) -> tuple[Tensor, Tensor]:
    q = q_BSHE if block.rows is None else q_BSHE[block.rows]
    count, new, heads, width = q.shape
    key, value = block.kv_L2GKPE[layer]
    # the rows of a prefix become more queries of it
    folded = q.reshape(key.shape[0], -1, heads, width)
    out, lse = attend(folded, key, value, bias=block.bias_G11P)
    return out.reshape(count, new, heads, width), lse.reshape(count, new, heads)


def join(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> Tensor:
    """Two attentions over different positions as the one over all of them."""
    weight = torch.sigmoid(lse_a - lse_b).to(out_a.dtype)
    return torch.lerp(out_b, out_a, weight[..., None])


def attend(
    q_BSHE: Tensor,
    k_BKTE: Tensor,
    v_BKTE: Tensor,
    *,
    bias: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention with its log-sum-exp.

    Args:
        bias: B x 1 x 1 x T in the queries' type, added to the scores (0 or -inf).
        causal: query i reads keys 0 to i; S equals T then.

    Returns:
        Output B x S x H x E and natural log-sum-exp of the scores B x S x H, float32.
    """
    batch, new, heads, width = q_BSHE.shape
    groups = heads // k_BKTE.shape[1]
    if groups > 1 and causal:
        k_BKTE, v_BKTE = (x.repeat_interleave(groups, dim=1) for x in (k_BKTE, v_BKTE))
    elif groups > 1:
        # heads that share keys become more queries of them
        q_BSHE = q_BSHE.reshape(batch, new, -1, groups, width).transpose(2, 3)
        q_BSHE = q_BSHE.reshape(batch, new * groups, -1, width)
    kernel = _KERNELS.get(q_BSHE.device.type, attend_plainly)
    out, lse = kernel(q_BSHE.transpose(1, 2), k_BKTE, v_BKTE, bias, causal)
    out, lse = out.transpose(1, 2), lse.transpose(1, 2)
    if groups > 1 and not causal:
        out = out.reshape(batch, new, groups, -1, width).transpose(2, 3)
        lse = lse.reshape(batch, new, groups, -1).transpose(2, 3)
    return out.reshape(batch, new, heads, width), lse.reshape(batch, new, heads)


def fuses(x: Tensor) -> bool:
    """Whether `kernels` can be used for a tensor."""
    return x.device.type == "cuda" and kernels is not None


def attend_plainly(
    q_BHSE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, bias: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    """The definition, for devices without a kernel that tells the log-sum-exp."""
    scores = (q_BHSE.float() @ k_BHTE.float().transpose(2, 3)) * q_BHSE.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if causal:
        later = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    lse = scores.logsumexp(dim=-1)
    weights = (scores - lse[..., None]).exp()
    return (weights @ v_BHTE.float()).to(q_BHSE.dtype), lse


def _attend_cpu(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, attn_mask=bias
    )
    return out, lse


def _attend_cuda(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    if bias is None and q.dtype != torch.float32:
        # faster, but takes no bias and no float32
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
        return out, lse
    if bias is not None:
        # the kernel reads it in aligned pieces
        bias = F.pad(bias, (0, -k.shape[2] % 16))[..., : k.shape[2]]
        bias = bias.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    out, lse, _, _ = torch.ops.aten._scaled_dot_product_efficient_attention(
        q, k, v, bias, True, 0.0, causal
    )
    return out, lse[..., : q.shape[2]]  # the kernel pads the queries to its tile


_KERNELS = {"cpu": _attend_cpu, "cuda": _attend_cuda}
