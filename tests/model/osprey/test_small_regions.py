"""Regions that fall between the sample points of every level."""

from __future__ import annotations

import pytest
import torch

from model.osprey.mask_extractor import MaskExtractor, cells, pool
from model.osprey.vision import Levels

HW = (1080, 1920)


@pytest.fixture(scope="module")
def levels() -> Levels:
    generator = torch.Generator().manual_seed(0)
    sides = ((4, 128), (6, 64), (8, 32), (10, 16))
    return Levels(*(torch.randn(1, c, s, s, generator=generator) for c, s in sides))


@pytest.fixture(scope="module")
def extractor() -> MaskExtractor:
    torch.manual_seed(0)
    return MaskExtractor((4, 6, 8, 10), 12, 12, 112, 16).eval()


def masks() -> torch.Tensor:
    """Two pixels between sample points, a thin line, a large box, nothing."""
    drawn = torch.zeros(5, *HW)
    drawn[0, 540, 960] = 1
    drawn[1, 108, 1500] = 1
    drawn[2, 540, 200:1700] = 1
    drawn[3, 300:700, 400:900] = 1
    return drawn


@pytest.mark.parametrize("keep_small", [False, True])
def test_which_vanish(levels: Levels, keep_small: bool) -> None:
    sizes = [(level.shape[2], level.shape[3]) for level in levels]
    found = cells(masks(), sizes, keep_small=keep_small)
    seen = torch.stack([grid.flatten(1).any(dim=1) for grid in found]).any(dim=0)
    assert seen.tolist() == [keep_small, keep_small, keep_small, True, False]
    exact = cells(masks()[3:4], sizes)
    assert all(torch.equal(grid[3:4], alone) for grid, alone in zip(found, exact, strict=True))


def test_official_tokens_are_made_of_biases_only(levels: Levels, extractor: MaskExtractor) -> None:
    mask_RD, position_RD = extractor(levels, masks())
    nothing_RD, nowhere_RD = extractor(levels, torch.zeros(1, *HW))
    for i in (0, 1, 2):
        torch.testing.assert_close(mask_RD[i], nothing_RD[0])
    torch.testing.assert_close(position_RD[0], nowhere_RD[0])


def test_kept_regions_are_pooled_over_the_cells_they_touch(
    levels: Levels, extractor: MaskExtractor
) -> None:
    official = extractor(levels, masks())
    extractor.keep_small = True
    try:
        mask_RD, position_RD = extractor(levels, masks())
    finally:
        extractor.keep_small = False
    for i in (3, 4):  # what is large, and what is nothing, stays as it is
        assert torch.equal(mask_RD[i], official[0][i])
        assert torch.equal(position_RD[i], official[1][i])
    for tokens in (mask_RD, position_RD):
        assert len({tuple(row.tolist()) for row in tokens[[0, 1, 2, 4]]}) == 4
    for level in levels:
        side = level.shape[-1]
        pooled = pool(level, masks(), keep_small=True)
        cell = level[0, :, 540 * side // 1080, 960 * side // 1920]
        near = level[0, :, (540 * side // 1080) - 1 : (540 * side // 1080) + 1]
        assert torch.allclose(pooled[0], cell)
        assert pooled[2].abs().max() <= near.abs().max()
