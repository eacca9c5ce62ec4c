"""Prompts in batches give what SamPredictor gives for each alone."""

from __future__ import annotations

import numpy as np
import pytest
from segment_anything import SamPredictor

from model.sam import segmenter as module
from model.sam.segmenter import Prompts, Segmenter
from tests.model.sam.small_models import picture, small_nano

POINTS = np.array([[[30, 30], [90, 40]], [[90, 50], [20, 20]], [[5, 80], [60, 60]]], np.float32)
LABELS = np.array([[1, 0], [1, -1], [1, 1]])
BOXES = np.array([(10, 12, 60, 50), (70, 20, 110, 75), (0, 0, 129, 89)], np.float32)


@pytest.mark.parametrize("three", [True, False])
@pytest.mark.parametrize("ways", ["points", "boxes", "points boxes", "boxes hints", "hints"])
def test_batches_equal_single_prompts(
    ways: str, three: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROMPTS_AT_ONCE", 2)
    sam = small_nano()
    hints = 4 * np.random.default_rng(1).normal(size=(3, 32, 32)).astype(np.float32)
    prompts = Prompts(
        points=POINTS if "points" in ways else None,
        labels=LABELS if "points" in ways else None,
        boxes=BOXES if "boxes" in ways else None,
        hints=hints if "hints" in ways else None,
    )
    answers = Segmenter(sam).ask(picture(), prompts, three=three)
    predictor = SamPredictor(sam)
    predictor.set_image(picture())
    for i in range(3):
        masks, quality, logits = predictor.predict(
            point_coords=POINTS[i] if "points" in ways else None,
            point_labels=LABELS[i] if "points" in ways else None,
            box=BOXES[i] if "boxes" in ways else None,
            mask_input=hints[i][None] if "hints" in ways else None,
            multimask_output=three,
        )
        assert answers.masks[i].shape == masks.shape
        assert (answers.masks[i] != masks).mean() < 1e-3
        np.testing.assert_allclose(answers.quality[i], quality, atol=1e-4)
        np.testing.assert_allclose(answers.logits[i], logits, atol=1e-2, rtol=1e-3)
        assert (answers.best()[i] == answers.masks[i, quality.argmax()]).all()


def test_a_mask_becomes_a_hint() -> None:
    masks = np.zeros((2, 90, 130), bool)
    masks[0, 20:60, 30:90] = True
    segmenter = Segmenter(small_nano())
    hints = segmenter.hints_of(masks)
    assert hints.shape == (2, 32, 32)
    assert (hints[1] == -8).all()
    inside = hints[0] > 0
    # 130 px are the 32 cells of a row
    assert inside.sum() == pytest.approx(40 * 60 * (32 / 130) ** 2, rel=0.15)
    assert inside[int(40 * 32 / 130), int(60 * 32 / 130)]
    assert segmenter.refine(picture(), BOXES[:2], masks).shape == (2, 90, 130)


def test_prompts_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="come together"):
        Prompts(points=POINTS)
    with pytest.raises(ValueError, match="wanted N x K x 2"):
        Prompts(points=POINTS[0], labels=LABELS[0])
    with pytest.raises(ValueError, match="no objects"):
        Prompts()
    with pytest.raises(ValueError, match="wanted one number"):
        Prompts(boxes=BOXES[:2], points=POINTS, labels=LABELS)
    with pytest.raises(ValueError, match="wanted N x 4"):
        Prompts(boxes=BOXES[:, :3])
