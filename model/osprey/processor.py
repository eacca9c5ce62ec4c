"""Pictures as a tower was trained on: resized, stretched to a square, CLIP statistics."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model.osprey.vision import stack_pixels

CPU = torch.device("cpu")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(
    image: NDArray[np.uint8],
    side_px: int,
    resize: str = "official",
    device: torch.device = CPU,
) -> Tensor:
    """Bring a picture to 3 x side_px x side_px, float32, normalised, on a device.

    Args:
        image: HxWx3 uint8 RGB.
        resize: "official" is the released code's way: first the shortest edge goes to `side_px` by
            Pillow's bicubic on uint8, the aspect ratio kept; then a bilinear resize without
            antialiasing stretches the normalised picture to the square. One resize is not
            equivalent (up to 0.79 off on a 720p frame). "direct" is that one: bilinear,
            antialiased, on uint8.
        device: where the arithmetic on floats is done.

    Raises:
        ValueError: for any other shape or type.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture is HxWx3 uint8 RGB, not {image.shape} {image.dtype}")
    if resize == "official":
        image = _shortest_edge_to(image, side_px)
    # torch warns about arrays that are read-only
    pixels = torch.from_numpy(image) if image.flags.writeable else torch.tensor(image)
    pixels = pixels.permute(2, 0, 1)[None]
    official = resize == "official"
    if official:
        pixels = pixels.to(device)
    if pixels.shape[2:] != (side_px, side_px):
        if official:
            pixels = pixels.to(torch.float32, memory_format=torch.channels_last)
        # before normalising, not after: that is the same, and there are fewer pixels to normalise
        pixels = F.interpolate(
            pixels,
            size=(side_px, side_px),
            mode="bilinear",
            align_corners=False,
            antialias=not official,
        )
    pixels = pixels.to(device).to(torch.float32, memory_format=torch.channels_last)
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD)
    )
    return (pixels[0] * (1 / 255) - mean) / std


def _shortest_edge_to(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    resized_long = int(side_px * max(height, width) / min(height, width))
    size = (side_px, resized_long) if width <= height else (resized_long, side_px)
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def preprocess_all(
    images: Sequence[NDArray[np.uint8]],
    side_px: int,
    resize: str = "official",
    device: torch.device = CPU,
) -> Tensor:
    """`preprocess` for a batch: B x 3 x side_px x side_px. A resize uses one core an image, so the
    images share the cores."""

    def one(image: NDArray[np.uint8]) -> Tensor:
        return preprocess(image, side_px, resize, device)

    with ThreadPoolExecutor(max_workers=min(len(images), torch.get_num_threads())) as pool:
        return stack_pixels(list(pool.map(one, images)))
