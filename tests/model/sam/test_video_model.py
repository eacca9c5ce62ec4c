"""Folders of SAM 2 and EdgeTAM: loaded as released, refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model.sam.video_model import load_video_model
from model.sam.video_session import VideoSession
from model.weights.identify import identify
from tests.model.sam.small_video_models import KINDS, film, small_video_model, square

HW = (48, 80)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    small_video_model(request.param).network.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_folder_gives_the_masks_of_the_network_it_was_saved_from(folder: Path) -> None:
    loaded = load_video_model(folder, device="cpu")
    saved = small_video_model(loaded.kind)
    seen = []
    for model in (loaded, saved):
        session = VideoSession(model)
        session.show(film(1)[0])
        session.add_object(1, mask=square(HW, 5, 8, 30, 30))
        seen.append(session.step(film(2)[1])[1])
    # the weights are equal; where they lie in memory decides about the last bits of sums
    np.testing.assert_allclose(seen[0].logits, seen[1].logits, atol=1e-4)
    assert not loaded.network.training


def test_half_precision_files_are_run_in_full(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    half = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    save_file(half, copy / "model.safetensors", metadata={"format": "pt"})
    assert load_video_model(copy, device="cpu").network.dtype == torch.float32


def test_missing_tensors_are_not_made_up(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    lost = sorted(name for name in state if name.startswith("memory_encoder"))[:2]
    kept = {name: tensor for name, tensor in state.items() if name not in lost}
    kept["no_memory_embedding"] = torch.zeros(1, 1, 5)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    wanted = r"2 tensors are missing and 1 have another shape \(memory_encoder"
    with pytest.raises(ValueError, match=wanted) as raised:
        load_video_model(copy, device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["no weights", "cut off", "no config", "bad config", "other"])
def test_what_is_wrong_is_said_in_one_line(copy: Path, damage: str) -> None:
    weights, config = copy / "model.safetensors", copy / "config.json"
    wanted = "cannot be loaded"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "no config":
        config.unlink()
        wanted = "no config.json"
    elif damage == "bad config":
        config.write_text("{")
        wanted = "config.json that cannot be read"
    else:
        config.write_text(json.dumps({"model_type": "sam2"}))
        wanted = "type 'sam2'; wanted sam2_video or edgetam_video"
    with pytest.raises(ValueError, match=wanted) as raised:
        load_video_model(copy, device="cpu")
    assert "\n" not in str(raised.value)


def test_another_device_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="cannot be used here"):
        load_video_model(folder, device="cuda:99")


def test_models_verify_knows_it(copy: Path) -> None:
    found = identify(copy)
    assert found.architecture in ("SAM 2 (video)", "EdgeTAM (video)")
    assert found.problems == []
    state = load_file(copy / "model.safetensors")
    del state["no_memory_embedding"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    (problem,) = identify(copy).problems
    assert "1 tensors are missing" in problem
