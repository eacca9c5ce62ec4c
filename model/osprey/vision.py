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
            x = _stage_on_cpu(stage, x) if _fuses(x) else stage(x)
            levels.append(x)
        return Levels(*levels)


def _fuses(x: Tensor) -> bool:
    """Whether oneDNN can compute a matrix product and the GELU behind it in one go."""
    return (
        x.device.type == "cpu"
        and (x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and bfloat16_on_cpu()))
        and not torch.is_grad_enabled()
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    )


def bfloat16_on_cpu() -> bool:
    """Whether this CPU computes in bfloat16, and does not only imitate it."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _stage_on_cpu(stage: nn.Module, x_BCHW: Tensor) -> Tensor:
    """A stage as timm computes it, but the wide inner activations are written once, not thrice:
    on a CPU their way to memory and back takes as long as the arithmetic."""
    x: Tensor = stage.downsample(x_BCHW)  # type: ignore[operator]
    for block in stage.blocks:  # type: ignore[union-attr]
        inner = block.norm(block.conv_dw(x).permute(0, 2, 3, 1))
        inner = _linear(inner, block.mlp.fc1, "gelu", "none")
        inner = _linear(inner, block.mlp.fc2, "none", "")
        x = torch.addcmul(x.permute(0, 2, 3, 1), inner, block.gamma).permute(0, 3, 1, 2)
    return x


def _linear(x: Tensor, linear: nn.Linear, activation: str, variant: str) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(
        x, linear.weight, linear.bias, activation, [], variant
    )
    return y


def stack_pixels(pixels: Sequence[Tensor]) -> Tensor:
    """A batch in the memory format in which depthwise convolutions are fastest."""
    return torch.stack(list(pixels)).contiguous(memory_format=torch.channels_last)
