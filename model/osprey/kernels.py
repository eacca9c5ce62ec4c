"""Triton kernels of the language model's pass on CUDA: what would be many small launches, each with
its way to memory and back, is one. Triton comes with PyTorch's CUDA builds; where it is missing,
`attention` and `language` do the same with PyTorch's own operators.

Shapes: B rows, S new positions, T places in the buffer, H heads, K key and value heads, E channels
of a head.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_T = 16
TILE_H = 8


def read_own(
    q_B1HE: Tensor,
    k_BKTE: Tensor,
    v_BKTE: Tensor,
    last_B: Tensor,
    out_B1HE: Tensor,
    lse_B1H: Tensor,
) -> Tensor:
    """Attention of one query a row over its own positions 0 to `last`, joined to an attention over
    other positions, of which output and log-sum-exp are given. Only what is there is read.

    Returns:
        B x 1 x H x E, as one softmax over all positions.
    """
    rows, _, heads, width = q_B1HE.shape
    q, shared, lse = q_B1HE.contiguous(), out_B1HE.contiguous(), lse_B1H.contiguous()
    joined = torch.empty_like(q)
    _read_own[(rows, heads)](
        q, k_BKTE, v_BKTE, last_B, shared, lse, joined,
        *k_BKTE.stride()[:3], *v_BKTE.stride()[:3],
        width**-0.5, heads // k_BKTE.shape[1], heads,
        width, triton.next_power_of_2(width), TILE_T, num_warps=1,
    )  # fmt: skip
    return joined


@triton.jit
def _read_own(
    q, k, v, last, shared, lse, joined, k_b, k_k, k_t, v_b, v_k, v_t, scale, group, heads,
    width: tl.constexpr, E: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    e = tl.arange(0, E)
    inside = e < width
    at = (row * heads + head) * width + e
    query = tl.load(q + at, mask=inside, other=0.0).to(tl.float32) * scale
    # the softmax goes on from where the shared positions left it
    total = tl.load(shared + at, mask=inside, other=0.0).to(tl.float32)
    high = tl.load(lse + row * heads + head)
    weight = 1.0
    k += row * k_b + head // group * k_k
    v += row * v_b + head // group * v_k
    count = tl.load(last + row) + 1
    for start in range(0, count, T):
        t = start + tl.arange(0, T)
        there = (t < count)[:, None] & inside[None, :]
        keys = tl.load(k + t[:, None] * k_t + e[None, :], mask=there, other=0.0)
        values = tl.load(v + t[:, None] * v_t + e[None, :], mask=there, other=0.0)
        scores = tl.sum(keys.to(tl.float32) * query[None, :], 1)
        scores = tl.where(t < count, scores, float("-inf"))
        higher = tl.maximum(high, tl.max(scores, 0))
        chances = tl.exp(scores - higher)
        fade = tl.exp(high - higher)
        total = total * fade + tl.sum(chances[:, None] * values.to(tl.float32), 0)
        weight = weight * fade + tl.sum(chances, 0)
        high = higher
    tl.store(joined + at, (total / weight).to(joined.dtype.element_ty), mask=inside)


def rotate(x_BSHE: Tensor, cos_BS1E: Tensor, sin_BS1E: Tensor) -> Tensor:
    """Rotary positions, the halves of a head as pairs."""
    x, cos, sin = x_BSHE.contiguous(), cos_BS1E.contiguous(), sin_BS1E.contiguous()
    heads, width = x.shape[2:]
    turned = torch.empty_like(x)
    grid = (x.shape[0] * x.shape[1], triton.cdiv(heads, TILE_H))
    half = width // 2
    _rotate[grid](x, cos, sin, turned, heads, half, triton.next_power_of_2(half), TILE_H)
    return turned


@triton.jit
def _rotate(x, cos, sin, turned, heads, half: tl.constexpr, E: tl.constexpr, H: tl.constexpr):
    place, h = tl.program_id(0).to(tl.int64), tl.program_id(1) * H + tl.arange(0, H)
    e = tl.arange(0, E)
    inside = (h < heads)[:, None] & (e < half)[None, :]
    at = (place * heads + h)[:, None] * (2 * half) + e[None, :]
    angle = place * (2 * half) + e
    c = tl.load(cos + angle, mask=e < half, other=0.0).to(tl.float32)[None, :]
    s = tl.load(sin + angle, mask=e < half, other=0.0).to(tl.float32)[None, :]
    a = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + at + half, mask=inside, other=0.0).to(tl.float32)
    tl.store(turned + at, (a * c - b * s).to(turned.dtype.element_ty), mask=inside)
    tl.store(turned + at + half, (b * c + a * s).to(turned.dtype.element_ty), mask=inside)
