"""Regions classified by CLIP: against open_clip's own picture and text features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model.clip.region_classifier import RegionClassifier
from model.osprey.processor import preprocess
from tests.operators.captioning.scenes import HW, squares, write_small_clip

LABELS = ["red square", "green square, lawn", "sea"]
TEMPLATES = ["a photo of a {}.", "a {}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_clip(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> RegionClassifier:
    return RegionClassifier.from_path(folder, LABELS, TEMPLATES, image_size_px=128, device="cpu")


def test_the_whole_picture_is_what_open_clip_sees(classifier: RegionClassifier) -> None:
    image = squares(1)[0].image
    whole = classifier.region_features(image, np.ones((1, *HW), np.bool_))
    with torch.inference_mode():
        wanted = classifier.clip.encode_image(preprocess(image, 128)[None])
    torch.testing.assert_close(whole, wanted, atol=1e-5, rtol=1e-4)


def test_a_region_is_the_head_over_its_own_cells(classifier: RegionClassifier) -> None:
    image = squares(2)[0].image
    mask = np.zeros((1, *HW), np.bool_)
    mask[0, :60, :100] = True  # 2 x 2 of the 4 x 4 cells
    got = classifier.region_features(image, mask)
    visual = classifier.clip.visual
    with torch.inference_mode():
        cells = visual.trunk.forward_features(preprocess(image, 128)[None])
        mean = cells[:, :, :2, :2].mean(dim=(2, 3), keepdim=True)
        wanted = visual.head(visual.trunk.head(mean))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_probabilities_are_those_of_the_best_synonym(classifier: RegionClassifier) -> None:
    import open_clip

    picture, _ = squares(1)
    logprobs = classifier.classify(picture.image, np.stack(picture.masks))
    torch.testing.assert_close(logprobs.exp().sum(dim=1), torch.ones(3))
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    clip = classifier.clip
    with torch.inference_mode():
        words = ["red square", "green square", "lawn", "sea"]
        text = torch.stack(
            [
                F.normalize(
                    clip.encode_text(
                        tokenizer([t.format(w) for t in TEMPLATES]), normalize=True
                    ).mean(0),
                    dim=0,
                )
                for w in words
            ]
        )
        region = F.normalize(
            classifier.region_features(picture.image, np.stack(picture.masks)), dim=-1
        )
        scores = clip.logit_scale.exp() * region @ text.T
    merged = torch.stack([scores[:, 0], scores[:, 1:3].amax(1), scores[:, 3]], dim=1)
    torch.testing.assert_close(logprobs, merged.log_softmax(-1), atol=1e-4, rtol=1e-4)
    assert classifier.labels == ["red square", "green square", "sea"]


def damaged(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folder / "open_clip_pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("logit_scale"), "missing logit_scale"),
        (lambda s: s.update(more=torch.ones(1)), "extra more"),
        (lambda s: s.update(text_projection=torch.ones(3)), r"text_projection is \(3,\), not"),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    write_small_clip(tmp_path)
    damaged(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        RegionClassifier.from_path(tmp_path, LABELS, TEMPLATES, device="cpu")


def test_other_mistakes(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"neither open_clip_model\.safetensors nor"):
        RegionClassifier.from_path(tmp_path, LABELS, TEMPLATES)
    with pytest.raises(ValueError, match="every label needs words"):
        RegionClassifier.from_path(folder, ["a", " , "], TEMPLATES, image_size_px=64)
    with pytest.raises(ValueError, match="not a multiple of 32"):
        RegionClassifier.from_path(folder, LABELS, TEMPLATES, image_size_px=100)
    bare = tmp_path / "open_clip_pytorch_model.bin"
    bare.write_bytes((folder / bare.name).read_bytes())
    with pytest.raises(ValueError, match="open_clip knows no architecture 'convnext_huge'"):
        RegionClassifier.from_path(bare, LABELS, TEMPLATES, architecture="convnext_huge")
