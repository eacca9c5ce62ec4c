"""A picture of plain coloured squares, and small CLIP weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import model.clip  # noqa: F401  (defines what torchvision lacks, before open_clip imports it)
from operators.captioning.base import Picture
from tests.operators.captioning.chat_server import COLOURS

HW = (120, 200)


def squares(seed: int = 0) -> tuple[Picture, list[str]]:
    """Three squares on grey, and the names of their colours in order."""
    rng = np.random.default_rng(seed)
    image = np.full((*HW, 3), COLOURS["grey"], np.uint8)
    names = [str(name) for name in rng.permutation(["red", "green", "blue"])]
    masks: list[NDArray[np.bool_]] = []
    for i, name in enumerate(names):
        mask = np.zeros(HW, np.bool_)
        mask[30 + 10 * i : 70 + 10 * i, 10 + 65 * i : 50 + 65 * i] = True
        image[mask] = COLOURS[name]
        masks.append(mask)
    return Picture(image=image, masks=masks), names


def write_small_clip(folder: Path) -> Path:
    """A CLIP with a tiny ConvNeXt and random weights, in the layout of open_clip's folders."""
    import open_clip

    sizes = {
        "embed_dim": 32,
        "vision_cfg": {
            "timm_model_name": "test_convnext", "timm_model_pretrained": False, "timm_pool": "",
            "timm_proj": "mlp", "timm_drop": 0.0, "image_size": 64,
        },
        "text_cfg": {
            "context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2,
        },
    }  # fmt: skip
    torch.manual_seed(11)
    clip = open_clip.CLIP(**sizes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": sizes}))
    torch.save(clip.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
