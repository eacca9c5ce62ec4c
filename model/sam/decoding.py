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

from model.sam.nano_decoder import FineMaskDecoder


def decode(
    sam: Any, embedding_BCGG: Tensor, sparse_NTC: Tensor, dense_NCGG: Tensor, *, hinted: bool
) -> tuple[Tensor, Tensor]:
    """All masks (NxMx4Gx4G logits, the single one first) and their qualities (NxM).

    Args:
        embedding_BCGG: of one image; more when they have as many prompts each, one after the
            other, and no prompt has a mask input.
        hinted: whether there are mask inputs among the prompts.
    """
    decoder = sam.mask_decoder
    positions_1CGG = sam.prompt_encoder.get_dense_pe()
    if hinted or isinstance(decoder, FineMaskDecoder):
        # nothing is the same for all prompts
        masks, quality = decoder.predict_masks(
            embedding_BCGG, positions_1CGG, sparse_NTC, dense_NCGG
        )
        return masks, quality
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], dim=0)
    tokens_NTC = torch.cat([own.expand(len(sparse_NTC), -1, -1), sparse_NTC], dim=1)
    positions_1LC = positions_1CGG.flatten(2).transpose(1, 2)
    cells_BLC = (embedding_BCGG + dense_NCGG[:1]).flatten(2).transpose(1, 2)
    layers = decoder.transformer.layers
    cells_NLC, out_NTC = _first_block(layers[0], cells_BLC, positions_1LC, tokens_NTC)
    for layer in layers[1:]:
        out_NTC, cells_NLC = layer(
            queries=out_NTC, keys=cells_NLC, query_pe=tokens_NTC, key_pe=positions_1LC
        )
    last = decoder.transformer.final_attn_token_to_image(
        q=out_NTC + tokens_NTC, k=cells_NLC + positions_1LC, v=cells_NLC
    )
    out_NTC = decoder.transformer.norm_final_attn(out_NTC + last)
    grid = embedding_BCGG.shape[-2:]
    cells_NCGG = cells_NLC.transpose(1, 2).reshape(len(cells_NLC), -1, *grid)
    features = decoder.output_upscaling(cells_NCGG)
    weights = torch.stack(
        [mlp(out_NTC[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    masks = (weights @ features.flatten(2)).reshape(len(features), -1, *features.shape[-2:])
    return masks, decoder.iou_prediction_head(out_NTC[:, 0])


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
