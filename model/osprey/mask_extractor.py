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


def resize(masks_RHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear without antialiasing, float32, as `F.interpolate` does it, but only the pixels that
    count are ever looked at: most of a large mask is never converted to float."""
    if masks_RHW.shape[-2:] == size:
        return masks_RHW.float()
    (top, bottom, down), (left, right, across) = (
        _corners(there, here, masks_RHW.device)
        for there, here in zip(masks_RHW.shape[-2:], size, strict=True)
    )
    rows = _take(masks_RHW, 1, torch.cat([top, bottom]))
    above, below = _take(rows, 2, torch.cat([left, right])).float().chunk(2, dim=1)
    one, other = torch.lerp(above, below, down[:, None]).chunk(2, dim=2)
    return torch.lerp(one, other, across)


def touched(masks_RHW: Tensor, size: tuple[int, int]) -> Tensor:
    """`resize(masks_RHW, size) > 0` without any arithmetic: whether one of the source pixels that
    have a weight lies inside. Masks are boolean, or numbers from 0 on."""
    inside = masks_RHW if masks_RHW.dtype == torch.bool else masks_RHW > 0
    if masks_RHW.shape[-2:] == size:
        return inside
    for dim in (1, 2):
        low, high, weight = _corners(inside.shape[dim], size[dim - 1], inside.device)
        inside = _take(inside, dim, low) | _take(inside, dim, torch.where(weight > 0, high, low))
    return inside


def _take(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """`index_select`; on a CPU by NumPy, which gathers bytes ten times as fast."""
    if x.device.type != "cpu":
        return x.index_select(dim, index)
    return torch.from_numpy(x.numpy().take(index.numpy(), axis=dim))


def _corners(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the two source pixels of every target pixel, and the second one's weight."""
    centres = torch.arange(target, dtype=torch.float32, device=device) + 0.5
    real = (centres * (source / target) - 0.5).clamp_min(0)
    low = real.long().clamp_max(source - 1)
    return low, (low + 1).clamp_max(source - 1), real - low


def cells(
    masks_RHW: Tensor, sizes: Sequence[tuple[int, int]], *, keep_small: bool = False
) -> list[Tensor]:
    """The cells of grids of some sizes that count as inside of masks: R x H_n x W_n, boolean.

    Masks are resized straight to each size and every cell with a weight above 0 counts. A region
    of a few pixels can fall between the sample points, and then has no cell on coarse grids.

    Args:
        keep_small: regions without a cell on any of the grids get those that their pixels lie in.
    """
    inside = [touched(masks_RHW, size) for size in sizes]
    if keep_small:
        kept = torch.stack([grid.flatten(1).any(dim=1) for grid in inside]).any(dim=0)
        if not bool(kept.all()):
            small = masks_RHW[~kept].float()
            for grid, size in zip(inside, sizes, strict=True):
                grid[~kept] = F.adaptive_max_pool2d(small, size) > 0
    return inside


def pool(level_1CHW: Tensor, masks_RHW: Tensor, *, keep_small: bool = False) -> Tensor:
    """Mean of a level over each mask's `cells`: R x C. No cell gives zeros."""
    (inside,) = cells(masks_RHW, [_size(level_1CHW)], keep_small=keep_small)
    return _mean(level_1CHW, inside)


def _mean(level_1CHW: Tensor, inside_RHW: Tensor) -> Tensor:
    """As one matrix product."""
    inside = inside_RHW.to(torch.float32).flatten(1)
    sums = inside @ level_1CHW[0].float().flatten(1).T
    return sums / (inside.sum(dim=1, keepdim=True) + 1e-8)


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
        return self.of_images([levels], [masks_RHW])

    def of_images(self, levels: Sequence[Levels], masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The tokens of all regions of several images, image by image; the linear layers run once
        for all of them."""
        together = _together(masks)
        grids = torch.cat([self.grids(masks_RHW) for masks_RHW in together])
        counts = [len(masks_RHW) for masks_RHW in masks]
        return self._mask_tokens(levels, together, counts), self.position_tokens(grids)

    def mask_tokens(self, levels: Levels, masks_RHW: Tensor) -> Tensor:
        """R x D: pooled on every level, projected, summed, projected."""
        return self._mask_tokens([levels], [masks_RHW], [len(masks_RHW)])

    def _mask_tokens(
        self, levels: Sequence[Levels], masks: Sequence[Tensor], counts: list[int]
    ) -> Tensor:
        """`counts`: how many of the masks, one after the other, are of each image."""
        total = torch.zeros((), device=masks[0].device)
        sizes = [_size(level) for level in levels[0]]
        found = [cells(masks_RHW, sizes, keep_small=self.keep_small) for masks_RHW in masks]
        for n, linear in enumerate((self.res2, self.res3, self.res4, self.res5)):
            inside = torch.split(torch.cat([grids[n] for grids in found]), counts)
            pooled = [
                _mean(of_image[n], grids) for of_image, grids in zip(levels, inside, strict=True)
            ]
            total = total + _float_linear(linear, torch.cat(pooled))
        return _float_linear(self.feat_linear, total)

    def grids(self, masks_RHW: Tensor) -> Tensor:
        """R x G*G: the masks on the position grid, soft values kept."""
        size = (self.grid, self.grid)
        grids = resize(masks_RHW, size)
        if self.keep_small:
            kept = grids.flatten(1).any(dim=1)
            if not bool(kept.all()):
                grids[~kept] = F.adaptive_max_pool2d(masks_RHW[~kept].float(), size)
        return grids.flatten(1)

    def position_tokens(self, grids_RG: Tensor) -> Tensor:
        """R x D from position grids."""
        tokens: Tensor = self.mask_linear(grids_RG)
        return tokens


def _together(masks: Sequence[Tensor]) -> Sequence[Tensor]:
    """Masks of several images as one, where that is possible and pays: on a GPU, where a launch
    costs more than a copy."""
    if masks[0].device.type == "cpu" or len({masks_RHW.shape[1:] for masks_RHW in masks}) > 1:
        return masks
    return [torch.cat(list(masks))]


def _size(level_1CHW: Tensor) -> tuple[int, int]:
    return level_1CHW.shape[-2], level_1CHW.shape[-1]


def _float_linear(linear: nn.Module, x: Tensor) -> Tensor:
    """The extractor computes in float32, whatever the weights are stored in."""
    assert isinstance(linear, nn.Linear)
    return F.linear(x.float(), linear.weight.float(), linear.bias.float())
