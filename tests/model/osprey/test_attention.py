"""The parts of the engine against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from model.osprey.attention import Block, PrefixKV, Shared, attend, attend_plainly, join
from model.osprey.language import LanguageRunner
from model.osprey.mask_extractor import resize, touched
from model.osprey.model import Osprey


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_is_its_definition(kv_heads: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(3, 5, 4, 16)
    k, v = torch.randn(2, 3, kv_heads, 9, 16)
    bias = torch.zeros(3, 1, 1, 9).masked_fill(torch.rand(3, 1, 1, 9) < 0.4, float("-inf"))
    bias[..., 0] = 0
    wide_k, wide_v = (x.repeat_interleave(4 // kv_heads, dim=1) for x in (k, v))
    mask = bias.expand(3, 4, 5, 9)
    wanted = F.scaled_dot_product_attention(q.transpose(1, 2), wide_k, wide_v, attn_mask=mask)
    out, lse = attend(q, k, v, bias=bias)
    torch.testing.assert_close(out, wanted.transpose(1, 2), atol=1e-5, rtol=1e-5)
    plain, plain_lse = attend_plainly(q.transpose(1, 2), wide_k, wide_v, bias, causal=False)
    torch.testing.assert_close(out, plain.transpose(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse, plain_lse.transpose(1, 2), atol=1e-5, rtol=1e-5)
    left = attend(q, k[:, :, :4], v[:, :, :4], bias=bias[..., :4])
    right = attend(q, k[:, :, 4:], v[:, :, 4:])
    both = attend(q, k, v, bias=torch.cat([bias[..., :4], torch.zeros(3, 1, 1, 5)], dim=-1))
    torch.testing.assert_close(join(*left, *right), both[0], atol=1e-5, rtol=1e-5)
    causal, _ = attend(q, k[:, :, :5], v[:, :, :5], causal=True)
    wanted = F.scaled_dot_product_attention(
        q.transpose(1, 2), wide_k[:, :, :5], wide_v[:, :, :5], is_causal=True
    )
    torch.testing.assert_close(causal, wanted.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_prefixes_side_by_side_are_prefixes_one_by_one() -> None:
    torch.manual_seed(0)
    short, long = (PrefixKV(torch.randn(1, 2, 2, length, 16)) for length in (7, 11))
    q = torch.randn(5, 2, 4, 16)
    readers = [long, short, long, long, short]
    out, lse = Shared.of_rows(readers).attend(0, q)
    lanes = torch.zeros(1, 2, 2, 2, 11, 16)
    lanes[:, :, 0], lanes[:, :, 1, :, :7] = long.kv_L2KPE, short.kv_L2KPE
    bias = torch.zeros(2, 1, 1, 11)
    bias[1, ..., 7:] = float("-inf")
    block = Block(lanes, torch.tensor([0, 2, 3, 1, 4, 0]), bias)
    static = Shared((block,), torch.tensor([0, 3, 1, 2, 4])).attend(0, q)
    torch.testing.assert_close(static[0], out, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(static[1], lse, atol=1e-5, rtol=1e-5)
    for row, prefix in enumerate(readers):
        alone = Shared.of_rows([prefix]).attend(0, q[row : row + 1])
        torch.testing.assert_close(alone[0][0], out[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("hw", [(720, 1280), (37, 53), (333, 517), (64, 64), (20, 500)])
def test_masks_are_resized_as_interpolate_does(hw: tuple[int, int]) -> None:
    masks = torch.rand(3, *hw, generator=torch.manual_seed(0)) > 0.97
    for side in (128, 16, 112):
        wanted = F.interpolate(
            masks.float()[:, None], size=(side, side), mode="bilinear", align_corners=False
        )[:, 0]
        found = resize(masks, (side, side))
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)
        assert torch.equal(found > 0, wanted > 0)
        for given in (masks, masks.half() * 0.3):
            assert torch.equal(touched(given, (side, side)), wanted > 0)


def test_positions_stay_exact_in_bf16(tiny: Osprey) -> None:
    exact = LanguageRunner(tiny.language)
    model = Osprey(tiny.config).to(torch.bfloat16)
    coarse = LanguageRunner(model.language)
    torch.testing.assert_close(coarse._cos_PE, exact._cos_PE.to(torch.bfloat16))
