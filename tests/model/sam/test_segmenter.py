"""SAM as proposer and refiner: a small one with random weights, against its own package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from operators.track import Track
from streamer.errors import WeightsError
from streamer.records import TrackedFrame
from streamer.testing import frames_of
from tests.model.sam.small_models import small_sam, sure_sam

segmenter = pytest.importorskip("model.sam.segmenter")
from segment_anything import (  # noqa: E402 - its torchvision needs model.sam first
    SamAutomaticMaskGenerator,
    SamPredictor,
    sam_model_registry,
)

BOXES = np.array([(10, 12, 60, 50), (70, 20, 110, 75), (0, 0, 119, 79)], np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "sam_vit_b_small.pth"
    torch.save(sure_sam().state_dict(), path)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam_model_registry, "vit_b", small_sam)


def twin(checkpoint: Path) -> Any:
    """The same weights, loaded by the package alone."""
    sam = small_sam()
    sam.load_state_dict(torch.load(checkpoint, weights_only=True))
    return sam


def picture(seed: int = 0) -> NDArray[np.uint8]:
    image = np.random.default_rng(seed).integers(0, 90, (80, 120, 3)).astype(np.uint8)
    image[12:50, 10:60] += 120
    image[20:75, 70:110, 1] += 140
    return image


@pytest.mark.usefixtures("small")
def test_refined_masks_are_the_predictors_own(checkpoint: Path) -> None:
    ours = segmenter.Segmenter.from_checkpoint(str(checkpoint), device="cpu")
    predictor = SamPredictor(twin(checkpoint))
    for seed in (0, 1):
        image = picture(seed)
        refined = ours.refine(image, BOXES)
        assert (refined.shape, refined.dtype) == ((3, 80, 120), np.dtype(bool))
        predictor.set_image(image)
        for mask, box in zip(refined, BOXES, strict=True):
            masks, quality, _ = predictor.predict(box=box, multimask_output=True)
            wanted = masks[quality.argmax()]
            assert 0 < wanted.sum() < wanted.size
            assert (mask == wanted).mean() > 0.999


@pytest.mark.usefixtures("small")
def test_proposals_are_the_generators_own(checkpoint: Path) -> None:
    ours = segmenter.Segmenter.from_checkpoint(str(checkpoint), device="cpu")
    proposed = ours.propose(picture())
    generator = SamAutomaticMaskGenerator(twin(checkpoint), points_per_side=16)
    wanted = sorted(generator.generate(picture()), key=lambda item: -item["predicted_iou"])
    assert len(proposed) == len(wanted) > 0
    for mask, item in zip(proposed, wanted, strict=True):
        assert mask.dtype == np.dtype(bool)
        np.testing.assert_array_equal(mask, item["segmentation"])


@pytest.mark.usefixtures("small")
def test_a_picture_is_embedded_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = segmenter.Segmenter.from_checkpoint(str(checkpoint), device="cpu")
    encoder, seen = ours.predictor.model.image_encoder, []
    encoder.register_forward_hook(lambda *_: seen.append(1))
    ours.refine(picture(), BOXES[:1])
    ours.refine(picture(), BOXES[1:])
    assert len(seen) == 1
    ours.refine(picture(1), BOXES)
    assert len(seen) == 2
    # the same bytes, but another shape
    for hw in ((80, 120), (120, 80)):
        assert ours.refine(np.zeros((*hw, 3), np.uint8), BOXES[:1]).shape == (1, *hw)


@pytest.mark.usefixtures("small")
def test_tracking_with_sam(checkpoint: Path) -> None:
    operator = Track(sam=str(checkpoint), work_height_px=80, propose_every_s=0.08)
    operator.setup()
    assert operator._segmenter is not None
    sam, shown = operator._segmenter.predictor.model, []
    # random weights would make nothing of what is in the picture
    sam.mask_decoder.iou_prediction_head.layers[-1].bias.data.fill_(1.0)
    sam.image_encoder.register_forward_hook(lambda *_: shown.append(1))
    image = np.full((80, 120, 3), 60, np.uint8)
    image[20:40, 20:50, 0] = image[45:65, 70:100, 1] = 200
    made = [r for frame in frames_of([image] * 8) for r in operator.process([frame])]
    tracked = [r for r in made if isinstance(r, TrackedFrame)]
    assert len(tracked) == 8
    assert len(tracked[-1].regions) == 2
    assert len(shown) == 1  # the same picture: searched and refined again and again, embedded once
    operator.close()


def failure(path: Path, **settings: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        Track(sam=str(path), **settings).setup()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300
    return text


def test_a_checkpoint_of_another_kind_is_named(checkpoint: Path) -> None:
    # against the real vit_b; the same path as a vit_h file given as a vit_b
    text = failure(checkpoint, sam_type="vit_b", device="cpu")
    assert "does not fit this kind of SAM" in text
    assert "the kind stands in the file's name" in text


@pytest.mark.usefixtures("small")
def test_files_that_are_no_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    assert "no such SAM checkpoint" in failure(tmp_path / "nowhere.pth")
    assert "no config.json" in failure(tmp_path)
    path = tmp_path / "words.pth"
    path.write_text("words\n" * 99)
    assert "cannot be read as a SAM checkpoint" in failure(path)
    path.write_bytes(checkpoint.read_bytes()[:5000])
    assert "cannot be read as a SAM checkpoint" in failure(path)
    path.touch()
    torch.save({"model": {"a": torch.zeros(1)}}, path)
    assert "something else than the tensors" in failure(path)
    state = torch.load(checkpoint, weights_only=True)
    state.pop("mask_decoder.iou_token.weight")
    torch.save(state, path)
    assert "1 are missing and 0 have another shape, and 0 are not known" in failure(path)
    assert "cannot be used here" in failure(checkpoint, device="cuda:77")
