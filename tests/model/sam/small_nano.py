"""A sam-nano small enough for tests, sure enough of itself for everything-mode to keep masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.sam.nano import NanoConfig, build_nano

CONFIG = NanoConfig(
    side_px=128, stem_width=8, widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1), embed_width=32,
    fine_width=4, heads=2, mlp_width=32,
)  # fmt: skip


def small_nano(seed: int = 5) -> Any:
    torch.manual_seed(seed)
    sam = build_nano(CONFIG)
    with torch.no_grad():
        decoder = sam.mask_decoder
        decoder.iou_prediction_head.layers[-1].bias += 1.0
        for mlp in decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 300
            mlp.layers[-1].bias *= 300
        # fine features about 0, so that masks have an inside and an outside
        pixels = torch.from_numpy(picture()).permute(2, 0, 1)
        fine = decoder.fine(sam.image_encoder(sam.preprocess(pixels)[None]))
        decoder.fine_projection.bias -= fine[..., :22, :].mean((0, 2, 3))
        decoder.fine_projection.weight *= 100
        decoder.fine_projection.bias *= 100
    return sam


def picture(seed: int = 0) -> NDArray[np.uint8]:
    image = np.random.default_rng(seed).integers(0, 90, (90, 130, 3)).astype(np.uint8)
    image[12:50, 10:60] += 120
    image[20:75, 70:110, 1] += 140
    return image
