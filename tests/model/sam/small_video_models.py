"""SAM 2 and EdgeTAM small enough for tests, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    EdgeTamVideoConfig,
    EdgeTamVideoModel,
    Sam2VideoConfig,
    Sam2VideoModel,
)

from model.sam.video_model import VideoModel

KINDS = ("sam2_video", "edgetam_video")
SIDE_PX, WIDTH = 64, 128  # wider than a memory's 64 channels, which transformers asks for
_CELLS = [[SIDE_PX // n] * 2 for n in (4, 8, 16)]
_VISION = {
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": _CELLS,
    "fpn_hidden_size": WIDTH,
}
_HIERA = {
    "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SIDE_PX, SIDE_PX],
    "window_positional_embedding_background_size": [2, 2], "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [3],
}  # fmt: skip
_REPVIT = {
    "model_type": "timm_wrapper", "architecture": "repvit_m1.dist_in1k", "do_pooling": True,
    "num_classes": 2, "label_names": ["a", "b"],
    "model_args": {
        "in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3],
        "embed_dim": [8, 16, 32, 64], "depth": [1, 1, 1, 1],
    },
}  # fmt: skip


def small_config(kind: str) -> Any:
    """All parts of a released configuration, narrow and over pictures of 64 px."""
    shared = {
        "image_size": SIDE_PX,
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_rope_feat_sizes": _CELLS[-1],
        "memory_encoder_hidden_size": WIDTH,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 32,
        "memory_fuser_num_layers": 1,
        "prompt_encoder_config": {
            "hidden_size": WIDTH, "image_size": SIDE_PX, "patch_size": 16, "mask_input_channels": 4,
        },
        "mask_decoder_config": {
            "hidden_size": WIDTH, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_depth": 2,
            "iou_head_hidden_dim": 32,
        },
    }  # fmt: skip
    if kind == "sam2_video":
        vision = {"model_type": "sam2_vision_model", "backbone_config": _HIERA, **_VISION}
        return Sam2VideoConfig(
            vision_config=vision, memory_attention_feed_forward_hidden_size=32, **shared
        )
    vision = {"model_type": "edgetam_vision_model", "backbone_config": _REPVIT, **_VISION}
    return EdgeTamVideoConfig(
        vision_config=vision, memory_attention_mlp_hidden_size=32,
        memory_attention_rope_k_sizes=[2, 2], perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4, perceiver_resampler_mlp_intermediate_size=32,
        perceiver_resampler_num_layers=1, **shared,
    )  # fmt: skip


def small_network(kind: str, seed: int = 0) -> Any:
    """Random weights, large enough for the memory to decide about the masks, and an object that
    is always there."""
    torch.manual_seed(seed)
    network_class = Sam2VideoModel if kind == "sam2_video" else EdgeTamVideoModel
    network = network_class(small_config(kind)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and not name.startswith("vision_encoder"):
                parameter.copy_(torch.randn_like(parameter) * parameter[0].numel() ** -0.5)
        network.mask_decoder.pred_obj_score_head.proj_out.bias += 3
    return network


def small_video_model(kind: str, seed: int = 0) -> VideoModel:
    return VideoModel(small_network(kind, seed))


def film(n: int, hw: tuple[int, int] = (48, 80)) -> list[NDArray[np.uint8]]:
    """A square and a disc-like blot that move over noise."""
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (*hw, 3), np.uint8)
    frames = []
    for i in range(n):
        frame = ground.copy()
        x = (3 * i) % (hw[1] - 14)
        frame[10:22, x : x + 12] = (230, 40, 40)
        frame[28:40, 60 - x // 2 : 70 - x // 2] = (30, 60, 230)
        frames.append(np.clip(frame + rng.integers(0, 6, frame.shape), 0, 255).astype(np.uint8))
    return frames


def square(hw: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> NDArray[np.bool_]:
    mask = np.zeros(hw, bool)
    mask[y0:y1, x0:x1] = True
    return mask
