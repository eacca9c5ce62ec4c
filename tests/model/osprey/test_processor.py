"""Pictures on their way into a tower; the official way is compared in test_golden.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model.osprey.config import OspreyConfig
from model.osprey.processor import CLIP_MEAN, CLIP_STD, preprocess, preprocess_all


def picture(height: int, width: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(height)
    small = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("hw", [(720, 1280), (333, 77), (64, 64), (40, 30)])
def test_directly_is_one_antialiased_resize(hw: tuple[int, int]) -> None:
    image = picture(*hw)
    found = preprocess(image, 64, "direct")
    levels = found * torch.tensor(CLIP_STD).view(3, 1, 1) + torch.tensor(CLIP_MEAN).view(3, 1, 1)
    wanted = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))
    off = np.abs(levels.permute(1, 2, 0).numpy() * 255 - wanted)
    assert found.dtype == torch.float32
    assert off.max() < 1.01
    assert off.mean() < 0.2


def test_a_batch_is_its_pictures() -> None:
    images = [picture(90, 160), picture(100, 50)]
    for resize in ("official", "direct"):
        batch = preprocess_all(images, 64, resize)
        for pixels, image in zip(batch, images, strict=True):
            torch.testing.assert_close(pixels, preprocess(image, 64, resize), rtol=0, atol=0)


def test_a_picture_that_may_not_be_written_to_is_left_alone() -> None:
    image = picture(64, 64)
    image.flags.writeable = False
    before = image.copy()
    preprocess(image, 64, "direct")
    np.testing.assert_array_equal(image, before)


def test_the_way_is_kept_in_the_config() -> None:
    config = OspreyConfig(resize="direct")
    assert OspreyConfig.from_dict(config.to_dict()).resize == "direct"
    assert "resize" not in OspreyConfig().to_dict()["osprey_streamer"]
    with pytest.raises(ValueError, match=r"resize is 'quick', not one of \('official'"):
        OspreyConfig.from_dict({"osprey_streamer": {"resize": "quick"}})
