"""`streamer models`: what a user asks and gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.osprey.checkpoint import load_folder
from model.weights import weights_folder, weights_path
from model.weights.identify import identify
from streamer.commands.models import convert_model, list_models, pull_model, verify_model
from streamer.errors import InputError, OutputError, WeightsError
from tests.model.osprey.small_models import small_model, write_official
from tests.operators.captioning.scenes import write_small_clip


@pytest.fixture(autouse=True)
def models_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_list(tmp_path: Path, models_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models_here / "sam_vit_b").mkdir(parents=True)
    (models_here / "sam_vit_b" / "sam_vit_b_01ec64.pth").touch()
    assert list_models(tmp_path / "list.json") == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "list.json").read_text())}
    assert {"osprey-nano", "osprey-7b", "osprey-chat-7b", "osprey-7b-refcocog", "sam_vit_h"} <= set(
        rows
    )
    assert [name for name, row in rows.items() if row["here"]] == [
        "osprey-nano",
        "sam-nano",
        "sam_vit_b",
    ]
    assert rows["sam_vit_l"]["folder"] == str(models_here / "sam_vit_l")
    assert "14.0 GB" in capsys.readouterr().out


def test_verify_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_official(tmp_path / "m", small_model(), shards=2)
    assert verify_model(str(tmp_path / "m"), tmp_path / "v.json") == 0
    found = json.loads((tmp_path / "v.json").read_text())
    parameters = sum(p.numel() for p in small_model().parameters())
    assert found["architecture"] == "Osprey"
    assert found["files"] == 2
    assert found["unused"] == 3
    assert found["parameters"] == parameters + 4 + 8 * 32 + 32
    assert found["dtypes"] == {"float32": found["parameters"]}
    assert len(found["sha256"]) == 12
    assert "complete and fit for use" in capsys.readouterr().out


def sam(width: int) -> dict[str, torch.Tensor]:
    return {
        "image_encoder.pos_embed": torch.zeros(1, 4, 4, width),
        "mask_decoder.iou_token.weight": torch.zeros(1, 8),
    }


@pytest.mark.parametrize(
    ("state", "architecture", "problems"),
    [
        (sam(768), "SAM ViT-B", 0),
        (sam(1280), "SAM ViT-H", 0),
        (sam(5), "SAM of unknown size", 1),
        ({"image_encoder.pos_embed": torch.zeros(1, 4, 4, 1024)}, "SAM ViT-L", 1),
        ({"conv.weight": torch.zeros(3)}, "unknown", 1),
    ],
)
def test_other_weights(
    tmp_path: Path, state: dict[str, torch.Tensor], architecture: str, problems: int
) -> None:
    torch.save(state, tmp_path / "file.pth")
    for path in (tmp_path / "file.pth", tmp_path):
        summary = identify(path)
        assert (summary.architecture, len(summary.problems)) == (architecture, problems)
    assert verify_model(str(tmp_path), None) == (2 if problems else 0)


def test_verify_clip(tmp_path: Path) -> None:
    summary = identify(write_small_clip(tmp_path))
    assert summary.architecture == "CLIP (ConvNeXt, open_clip)"
    assert summary.sizes.endswith("with a text tower")
    assert not summary.problems


def test_problems_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_official(tmp_path, small_model(), vocab_size=60)
    assert verify_model(str(tmp_path), None) == 2
    said = capsys.readouterr().err
    assert "lm_head.weight is (64, 32), not (60, 32)" in said
    assert "the tokenizer has <mask> and <pos> at [64, 65], the model wants [60, 61]" in said


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no file or folder"),
        (lambda p: p.mkdir(), "no config.json and 0 weight files"),
        (lambda p: p.write_text("words"), "no file of plain tensors"),
        (lambda p: p.touch(), "is empty"),
    ],
)
def test_nothing_to_verify(tmp_path: Path, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / "x.bin")
    with pytest.raises(InputError, match=message):
        verify_model(str(tmp_path / "x.bin"), None)


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    write_official(tmp_path / "a", model)
    target = tmp_path / "b"
    assert (
        convert_model(
            str(tmp_path / "a"), target, kind="safetensors", dtype="bfloat16", shard_gb=0.001
        )
        == 0
    )
    assert "1 weight files" in capsys.readouterr().out
    loaded = load_folder(target, device=torch.device("cpu"), dtype=torch.float32)
    for name, tensor in model.bfloat16().float().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert verify_model(str(target), None) == 0
    with pytest.raises(WeightsError, match="in use already"):
        convert_model(str(tmp_path / "a"), target, kind="bin", dtype="keep", shard_gb=2.0)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        convert_model(
            str(tmp_path / "a"), tmp_path / "file" / "c", kind="bin", dtype="keep", shard_gb=2.0
        )


def test_pull_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_here: Path
) -> None:
    from model.weights import known

    gone = known.KnownModel("SAM", 0.4, url="http://127.0.0.1:9/sam_x.pth", md5="01")
    monkeypatch.setattr(known, "KNOWN", {**known.KNOWN, "sam_x": gone})
    with pytest.raises(InputError) as caught:
        pull_model("sam_x", None)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    for part in ("sam_x (0.4 GB)", "sam_x.pth from http://127.0.0.1:9", str(models_here / "sam_x")):
        assert part in said
    with pytest.raises(InputError, match="there are osprey-7b, osprey-chat-7b"):
        pull_model("osprey-8b", None)


def test_names_lead_to_folders(models_here: Path) -> None:
    with pytest.raises(ValueError, match="`streamer models pull osprey-7b` downloads it"):
        weights_folder("osprey-7b")
    (models_here / "osprey-7b").mkdir(parents=True)
    with pytest.raises(ValueError, match="streamer models pull osprey-7b"):
        weights_path("osprey-7b")
    write_official(models_here / "osprey-7b", small_model())
    assert weights_folder("osprey-7b") == models_here / "osprey-7b"
    with pytest.raises(ValueError, match=r"no model of that name \(bundled: osprey-nano"):
        weights_folder("osprey-8b")


def test_verify_knows_the_masks_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_model("sam-nano", None) == 0
    assert "sam-nano" in capsys.readouterr().out
