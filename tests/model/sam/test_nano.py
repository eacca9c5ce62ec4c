"""sam-nano behind the interface of the segment-anything package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from model.sam.checkpoint import load_nano, load_sam, save_nano
from model.sam.decoding import decode
from model.sam.nano import NanoConfig
from tests.model.sam.small_models import CONFIG, picture, small_nano, small_sam


def test_the_predictor_takes_it() -> None:
    predictor = SamPredictor(small_nano())
    predictor.set_image(picture())
    assert predictor.get_image_embedding().shape == (1, 32 + 16 * 4, 8, 8)
    masks, quality, logits = predictor.predict(
        point_coords=np.array([[30, 30]]), point_labels=np.array([1])
    )
    assert (masks.shape, quality.shape, logits.shape) == ((3, 90, 130), (3,), (3, 32, 32))
    again, _, _ = predictor.predict(box=np.array([5, 5, 60, 60]), mask_input=logits[:1])
    assert again.shape == (3, 90, 130)


@pytest.mark.parametrize("hinted", [False, True])
def test_the_shared_block_gives_what_the_decoder_gives(hinted: bool) -> None:
    torch.manual_seed(0)
    sam = small_sam()
    with torch.inference_mode():
        embedding = sam.image_encoder(torch.randn(1, 3, 64, 64))
        points, labels = 64 * torch.rand(6, 2, 2), torch.tensor([[1, 0], [1, -1]] * 3)
        hints = 5 * torch.randn(6, 1, 32, 32) if hinted else None
        sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=hints)
        wanted = sam.mask_decoder.predict_masks(
            embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
        given = decode(sam, embedding, sparse, dense, hinted=hinted)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(given[0][0], given[0][1], atol=1e-4)  # prompts make a difference


def test_prompts_of_several_images_are_decoded_as_each_alone() -> None:
    sam = small_nano()
    torch.manual_seed(0)
    with torch.inference_mode():
        embeddings = sam.image_encoder(torch.randn(2, 3, 128, 128))
        points, labels = 128 * torch.rand(6, 1, 2), torch.ones(6, 1)
        sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=None, masks=None)
        together = decode(sam, embeddings, sparse, dense, hinted=False)
        alone = [
            decode(sam, embeddings[i : i + 1], sparse[some], dense[some], hinted=False)
            for i, some in enumerate((slice(0, 3), slice(3, 6)))
        ]
    for one, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(one, torch.cat(parts), rtol=1e-3, atol=1e-2)


def test_a_window_is_drawn_as_in_the_whole() -> None:
    encoder = small_nano().prompt_encoder
    points, labels = torch.tensor([[[70.0, 40.0]]]), torch.ones(1, 1)
    boxes = torch.tensor([[60.0, 36.0, 100.0, 70.0]])
    with torch.inference_mode():
        whole = encoder.draw((points, labels), boxes, (8, 8))
        shift = torch.tensor([32.0, 16.0])
        window = encoder.draw((points - shift, labels), boxes - shift.repeat(2), (6, 5))
    torch.testing.assert_close(window, whole[:, :, 1:7, 2:7], rtol=1e-4, atol=1e-5)


def test_a_folder_keeps_it(tmp_path: Path) -> None:
    sam = small_nano()
    save_nano(sam, CONFIG, tmp_path)
    loaded = load_nano(tmp_path)
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(
            tensor.float(), sam.state_dict()[name].float(), rtol=1e-3, atol=1e-4
        )
    assert loaded.image_encoder.img_size == 128


def test_folders_that_are_none(tmp_path: Path) -> None:
    def failure() -> str:
        with pytest.raises(ValueError, match=r".") as caught:
            load_nano(tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "config.json is missing" in failure()
    (tmp_path / "config.json").write_text("{")
    assert "cannot be read as a sam-nano" in failure()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "osprey"}))
    assert "model_type is 'osprey', not 'sam-nano'" in failure()
    values = CONFIG.to_dict()
    (tmp_path / "config.json").write_text(
        json.dumps({k: v for k, v in values.items() if k != "heads"})
    )
    assert "heads is missing" in failure()
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert "model.safetensors" in failure()
    (tmp_path / "model.safetensors").write_bytes(b"words")
    assert "cannot be read as a sam-nano" in failure()
    save_nano(small_nano(), CONFIG, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**values, "mlp_width": 64}))
    assert "have another shape" in failure()


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        NanoConfig(side_px=100)
    with pytest.raises(ValueError, match="embed_width"):
        NanoConfig(embed_width=100)


def test_a_checkpoint_of_another_type_names_both(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b.pth"
    torch.save({"image_encoder.patch_embed.proj.weight": torch.zeros(1280, 1, 1, 1)}, path)
    with pytest.raises(ValueError, match=r"SAM vit_h, .* vit_b; .* take vit_h"):
        load_sam(path, kind="vit_b")
