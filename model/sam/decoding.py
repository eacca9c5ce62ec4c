"""SAM's mask decoder over many prompts of an image, without doing the image's share again for each.

Until its first block ends, every prompt without a mask input sees the same cells: what is computed
of them is computed once, and all prompts' tokens attend to them as one long query. The numbers are
those of `MaskDecoder.predict_masks` but for rounding.

Shapes: B images, P prompts of an image, N = B P, T tokens of a prompt, C width, G side of the
embedding, L = G G cells, M masks, D inner width of an attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from model.sam.nano import DrawingPromptEncoder, FineMaskDecoder, form_masks


def decode(
    sam: Any, embedding_BCGG: Tensor, sparse_NTC: Tensor, dense_NCGG: Tensor, *, hinted: bool
) -> tuple[Tensor, Tensor]:
    """All masks (NxMx4Gx4G logits, the single one first) and their qualities (NxM).

    Args:
        embedding_BCGG: of B images that have as many prompts each, one image after the other.
        hinted: whether there are mask inputs among the prompts.
    """
    decoder, prompts = sam.mask_decoder, sam.prompt_encoder
    c = decoder.transformer_dim
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], dim=0)
    tokens_NTC = torch.cat([own.expand(len(sparse_NTC), -1, -1), sparse_NTC], dim=1)
    positions_1LC = prompts.get_dense_pe().flatten(2).transpose(1, 2)
    cells_BCGG = embedding_BCGG[:, :c]
    grid = cells_BCGG.shape[-2:]
    each = len(sparse_NTC) // len(embedding_BCGG)
    if not hinted and not isinstance(prompts, DrawingPromptEncoder):
        # the same for all prompts
        cells_BLC = (cells_BCGG + dense_NCGG[:1]).flatten(2).transpose(1, 2)
        cells_NLC, out_NTC = _first_block(
            decoder.transformer.layers[0], cells_BLC, positions_1LC, tokens_NTC
        )
        rest = decoder.transformer.layers[1:]
    else:
        cells_NCGG = cells_BCGG.repeat_interleave(each, dim=0) + dense_NCGG
        cells_NLC, out_NTC = cells_NCGG.flatten(2).transpose(1, 2), tokens_NTC
        rest = decoder.transformer.layers
    for layer in rest:
        out_NTC, cells_NLC = layer(
            queries=out_NTC, keys=cells_NLC, query_pe=tokens_NTC, key_pe=positions_1LC
        )
    last = decoder.transformer.final_attn_token_to_image(
        q=out_NTC + tokens_NTC, k=cells_NLC + positions_1LC, v=cells_NLC
    )
    out_NTC = decoder.transformer.norm_final_attn(out_NTC + last)
    fine = decoder.fine(embedding_BCGG) if isinstance(decoder, FineMaskDecoder) else None
    return form_masks(decoder, out_NTC, cells_NLC, grid, fine)


def _first_block(
    block: Any, cells_BLC: Tensor, positions_1LC: Tensor, tokens_NTC: Tensor
) -> tuple[Tensor, Tensor]:
    """The first TwoWayAttentionBlock; returns cells (NxLxC) and tokens (NxTxC)."""
    images = len(cells_BLC)
    each = len(tokens_NTC) // images
    placed_BLC = cells_BLC + positions_1LC
    out = block.norm1(block.self_attn(q=tokens_NTC, k=tokens_NTC, v=tokens_NTC))
    asked = (out + tokens_NTC).unflatten(0, (images, each)).flatten(1, 2)
    seen = block.cross_attn_token_to_image(q=asked, k=placed_BLC, v=cells_BLC)
    out = block.norm2(out + seen.unflatten(1, (each, -1)).flatten(0, 1))
    out = block.norm3(out + block.mlp(out))
    attention = block.cross_attn_image_to_token
    heads = attention.num_heads
    q = attention.q_proj(placed_BLC).unflatten(2, (heads, -1)).transpose(1, 2)
    k = attention.k_proj(out + tokens_NTC).unflatten(2, (heads, -1)).transpose(1, 2)
    v = attention.v_proj(out).unflatten(2, (heads, -1)).transpose(1, 2)
    told = F.scaled_dot_product_attention(q.repeat_interleave(each, dim=0), k, v)
    told = attention.out_proj(told.transpose(1, 2).flatten(2))
    cells_NLC = (cells_BLC[:, None] + told.unflatten(0, (images, each))).flatten(0, 1)
    return block.norm4(cells_NLC), out
