"""Models small enough for tests, with random weights, and a picture for them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from model.sam.nano import NanoConfig, build_nano

SIDE_PX, WIDTH = 64, 32
CONFIG = NanoConfig(
    side_px=128, stem_width=8, widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1), embed_width=32,
    fine_width=4, heads=2, mlp_width=32,
)  # fmt: skip


def small_sam(checkpoint: None = None) -> Any:
    """Everything SAM has, over pictures of 64 px; random weights unless loaded."""
    sam = Sam(
        image_encoder=ImageEncoderViT(
            depth=2, embed_dim=WIDTH, img_size=SIDE_PX, mlp_ratio=2, num_heads=2, patch_size=8,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), qkv_bias=True, use_rel_pos=True,
            global_attn_indexes=[1], window_size=4, out_chans=WIDTH,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH, image_embedding_size=(8, 8), input_image_size=(SIDE_PX, SIDE_PX),
            mask_in_chans=4,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3, transformer_dim=WIDTH, iou_head_depth=2,
            iou_head_hidden_dim=WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=64, num_heads=2),
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip
    return sam.eval()


def sure_sam() -> Any:
    """Sure of itself, so that the generator keeps some masks."""
    torch.manual_seed(5)
    sam = small_sam()
    with torch.no_grad():
        sam.mask_decoder.iou_prediction_head.layers[-1].bias += 1.0
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 2000
            mlp.layers[-1].bias *= 2000
    return sam


def small_nano() -> Any:
    torch.manual_seed(5)
    return build_nano(CONFIG)


def picture(seed: int = 0) -> NDArray[np.uint8]:
    image = np.random.default_rng(seed).integers(0, 90, (90, 130, 3)).astype(np.uint8)
    image[12:50, 10:60] += 120
    image[20:75, 70:110, 1] += 140
    return image
