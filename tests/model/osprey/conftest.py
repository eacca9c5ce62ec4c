"""The end-to-end golden model, shared by the tests of Osprey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from model.osprey.checkpoint import load_state
from model.osprey.config import OspreyConfig
from model.osprey.model import Osprey


@pytest.fixture(scope="session")
def tiny(reference_dir: Path) -> Osprey:
    data: dict[str, Any] = json.loads((reference_dir / "e2e_tiny_config.json").read_text())
    data["osprey_streamer"] = {
        "vision_depths": [2, 2, 3, 2],
        "vision_widths": [16, 32, 64, 128],
        "extractor_width": 32,
        "position_width": 32,
    }
    model = Osprey(OspreyConfig.from_dict(data)).eval()
    load_state(model, load_file(reference_dir / "e2e_tiny_state_dict.safetensors"))
    return model


@pytest.fixture(scope="session")
def golden(reference_dir: Path) -> dict[str, Tensor]:
    vectors = load_file(reference_dir / "e2e_tiny.safetensors")
    pixels = load_file(reference_dir / "preprocess.safetensors")["pixel_values_200x300"]
    return vectors | {"pixels": pixels.reshape(1, 3, 512, 512)}
