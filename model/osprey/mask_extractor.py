"""The mask-aware visual extractor: a region becomes two tokens.

Shapes: R regions of one image, H x W of the masks (the picture's own size), D the width of the
language model, G the side of the position grid.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.osprey.vision import Levels


def pool(level_1CHW: Tensor, masks_RHW: Tensor, touched_R: Tensor | None = None) -> Tensor:
    """Mean of a level over each mask, as one matrix product: R x C.

    Masks of another size are resized (bilinear, no antialiasing) straight to the level's size and
    every pixel with a weight above 0 counts. A mask that is empty on this level gives zeros: a
    region of a few pixels can fall between the sample points of the coarse levels.

    Args:
        touched_R: for these masks (boolean) every cell counts that one of their pixels lies in.
    """
    size = (level_1CHW.shape[-2], level_1CHW.shape[-1])
    masks = _resized(masks_RHW.float(), size)
    if touched_R is not None and bool(touched_R.any()):
        masks[touched_R] = F.adaptive_max_pool2d(masks_RHW[touched_R].float(), size)
    inside = (masks > 0).to(torch.float32).flatten(1)
    sums = inside @ level_1CHW[0].float().flatten(1).T
    return sums / (inside.sum(dim=1, keepdim=True) + 1e-8)


def vanished(levels: Sequence[Tensor], masks_RHW: Tensor) -> Tensor:
    """Which masks have pixels, but no cell on any of the levels (1CHW): R, boolean."""
    gone = masks_RHW.flatten(1).any(dim=1)
    for level in levels:
        size = (level.shape[-2], level.shape[-1])
        if bool(gone.any()):  # the finest level keeps nearly all
            kept = (_resized(masks_RHW[gone].float(), size) > 0).flatten(1).any(dim=1)
            gone[gone.clone()] = ~kept
    return gone


class PositionMLP(nn.Module):
    """Linear layers with ReLU between them, computed in float32."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = _float_linear(layer, x)
            x = x if i == last else F.relu(x)
        return x


class MaskExtractor(nn.Module):
    """Mask tokens from pooled features, position tokens from the masks' outline on a grid.

    `keep_small` decides about regions so small (or thin) that they fall between the sample points
    of every level: False is the official behaviour, their mask token is then made of biases only
    and says nothing about the picture. True pools them over the cells that their pixels lie in,
    and likewise draws a region that would vanish from the position grid into its cells. All other
    regions give the same numbers either way.
    """

    keep_small = False

    def __init__(
        self,
        widths: Sequence[int],
        extractor_width: int,
        position_width: int,
        grid: int,
        hidden_size: int,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.res2, self.res3, self.res4, self.res5 = (
            nn.Linear(width, extractor_width) for width in widths
        )
        self.feat_linear = nn.Linear(extractor_width, hidden_size)
        self.mask_linear = PositionMLP((grid * grid, position_width, position_width, hidden_size))

    def forward(self, levels: Levels, masks_RHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mask tokens and position tokens, both R x D float32, for the regions of one image."""
        return self.mask_tokens(levels, masks_RHW), self.position_tokens(self.grids(masks_RHW))

    def mask_tokens(self, levels: Levels, masks_RHW: Tensor) -> Tensor:
        """R x D: pooled on every level, projected, summed, projected."""
        total = torch.zeros((), device=masks_RHW.device)
        masks_RHW = masks_RHW.float()  # once, not for every level
        touched = vanished(levels, masks_RHW) if self.keep_small else None
        for linear, level in zip((self.res2, self.res3, self.res4, self.res5), levels, strict=True):
            total = total + _float_linear(linear, pool(level, masks_RHW, touched))
        return _float_linear(self.feat_linear, total)

    def grids(self, masks_RHW: Tensor) -> Tensor:
        """R x G*G: the masks on the position grid, soft values kept."""
        masks_RHW = masks_RHW.float()
        grids = _resized(masks_RHW, (self.grid, self.grid))
        if self.keep_small:
            gone = ~grids.flatten(1).any(dim=1)
            if bool(gone.any()):
                grids[gone] = F.adaptive_max_pool2d(masks_RHW[gone], (self.grid, self.grid))
        return grids.flatten(1)

    def position_tokens(self, grids_RG: Tensor) -> Tensor:
        """R x D from position grids."""
        tokens: Tensor = self.mask_linear(grids_RG)
        return tokens


def _resized(masks_RHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks at another size, as the official code does it; always a tensor of its own."""
    if masks_RHW.shape[-2:] == size:
        return masks_RHW.clone()
    return F.interpolate(masks_RHW[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _float_linear(linear: nn.Module, x: Tensor) -> Tensor:
    """The extractor computes in float32, whatever the weights are stored in."""
    assert isinstance(linear, nn.Linear)
    return F.linear(x.float(), linear.weight.float(), linear.bias.float())
