"""The vision tower: a ConvNeXt, its four stages handed out as they are.

Shapes: B images, C channels, H and W of a level, N = H * W image tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn


class Levels(NamedTuple):
    """Outputs of the four stages, B x C_n x H_n x W_n, at strides 4, 8, 16 and 32."""

    res2: Tensor
    res3: Tensor
    res4: Tensor
    res5: Tensor

    def of_image(self, index: int) -> Levels:
        """The levels of one image, still with a batch axis of 1."""
        return Levels(*(level[index : index + 1] for level in self))

    def images(self) -> list[Levels]:
        """The levels of every image. Gradients flow back through one copy, not one an image."""
        return [
            Levels(*parts) for parts in zip(*(torch.split(level, 1) for level in self), strict=True)
        ]

    def image_tokens(self) -> Tensor:
        """res4 in reading order: B x N x C."""
        return self.res4.flatten(2).transpose(1, 2)


class VisionTower(nn.Module):
    """ConvNeXt without its classification head; parameters are named as in timm's trunk."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.trunk = ConvNeXt(depths=tuple(depths), dims=tuple(widths), num_classes=0)
        self.trunk.head = nn.Identity()

    def forward(self, pixels_BCHW: Tensor) -> Levels:
        """Normalised pixels in, the outputs of the four stages out, with no extra norm."""
        x = self.trunk.stem(pixels_BCHW)
        levels = []
        for stage in self.trunk.stages:
            x = stage(x)
            levels.append(x)
        return Levels(*levels)


def stack_pixels(pixels: Sequence[Tensor]) -> Tensor:
    """A batch in the memory format in which depthwise convolutions are fastest."""
    return torch.stack(list(pixels)).contiguous(memory_format=torch.channels_last)
