"""Pictures as the tower was trained on: two resizes, stretched to a square, CLIP statistics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(image: NDArray[np.uint8], side_px: int) -> Tensor:
    """Bring a picture to 3 x side_px x side_px, float32, normalised.

    First the shortest edge goes to `side_px` by Pillow's bicubic on uint8, the aspect ratio kept;
    then a bilinear resize without antialiasing stretches the normalised picture to the square.
    One direct resize is not equivalent (up to 0.79 off on a 720p frame).

    Args:
        image: HxWx3 uint8 RGB.

    Raises:
        ValueError: for any other shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is HxWx3 uint8 RGB, not {image.shape} {image.dtype}")
    height, width = image.shape[:2]
    short, long = min(height, width), max(height, width)
    resized_long = int(side_px * long / short)
    size = (side_px, resized_long) if width <= height else (resized_long, side_px)
    if size != (width, height):
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    scaled = image.astype(np.float32) * np.float32(1 / 255)
    normalised = (scaled - np.asarray(CLIP_MEAN, np.float32)) / np.asarray(CLIP_STD, np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
    if pixels.shape[1:] == (side_px, side_px):
        return pixels
    return F.interpolate(
        pixels[None], size=(side_px, side_px), mode="bilinear", align_corners=False
    )[0]
