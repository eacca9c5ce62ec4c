"""sam-nano: SAM's prompt encoder and mask decoder, small, behind a convolutional image encoder.

Shapes: B images, C the transformer's width, F fine channels, S the side of the square input, G =
S / 16 the side of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.nn import functional as F

from model.sam.nano_decoder import FINE_PER_CELL, STRIDE_PX, DrawingPromptEncoder, FineMaskDecoder


@dataclass(frozen=True, kw_only=True)
class NanoConfig:
    """Sizes of a sam-nano.

    `widths` and `blocks` are of the stages at strides 4, 8, 16 and 32; `side_px` is the side of
    the square that pictures are padded to.
    """

    side_px: int = 512
    stem_width: int = 24
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    blocks: tuple[int, int, int, int] = (1, 1, 2, 2)
    embed_width: int = 128
    fine_width: int = 24
    heads: int = 4
    mlp_width: int = 384

    def __post_init__(self) -> None:
        if self.side_px % (2 * STRIDE_PX) or self.side_px < 4 * STRIDE_PX:
            raise ValueError(f"side_px is {self.side_px}; wanted a multiple of 32 from 64 on")
        if len(self.widths) != 4 or len(self.blocks) != 4:
            raise ValueError("widths and blocks are four numbers each")
        if self.embed_width % (4 * self.heads) or self.embed_width < 8 * FINE_PER_CELL:
            raise ValueError("embed_width is a multiple of 4 * heads and at least 32")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NanoConfig:
        """From the JSON of a `config.json`.

        Raises:
            ValueError: when it is another model's, or a size is missing or wrong.
        """
        if values.get("model_type") != "sam-nano":
            raise ValueError(f"model_type is {values.get('model_type')!r}, not 'sam-nano'")
        names = {field.name for field in fields(cls)}
        try:
            sizes = {name: values[name] for name in names}
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
        for name in ("widths", "blocks"):
            sizes[name] = tuple(sizes[name])
        return cls(**sizes)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        return {"model_type": "sam-nano", **asdict(self)}


class ConvEncoder(nn.Module):
    """Bx3xSxS normalised pixels to B x (C + 16 F) x G x G: what SAM calls the image embedding.

    The first C channels go to the transformer. The rest are F fine channels at stride 4, packed
    16 to a cell so that one tensor holds the embedding, as `SamPredictor` wants it.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.img_size = config.side_px  # SamPredictor reads this name
        w4, w8, w16, w32 = config.widths
        stem = config.stem_width
        self.stem = nn.Sequential(_conv(3, stem, stride=2), _conv(stem, w4, stride=2))
        stages, before = [], w4
        for i, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            first = [_conv(before, width, stride=2)] if i else []
            stages.append(nn.Sequential(*first, *(_Block(width) for _ in range(blocks))))
            before = width
        self.stages = nn.ModuleList(stages)
        c, f = config.embed_width, config.fine_width
        self.from32 = nn.Conv2d(w32, c, 1)
        self.from16 = nn.Conv2d(w16, c, 1)
        self.neck = nn.Sequential(_conv(c, c), nn.Conv2d(c, c, 1))
        self.down16, self.from8 = nn.Conv2d(c, w8, 1), nn.Conv2d(w8, w8, 1)
        self.smooth8 = _conv(w8, w4)
        self.from4 = nn.Conv2d(w4, w4, 1)
        self.fine = nn.Sequential(_conv(w4, w4), nn.Conv2d(w4, f, 1))

    def forward(self, pixels_B3SS: Tensor) -> Tensor:
        level = self.stem(pixels_B3SS.contiguous(memory_format=torch.channels_last))
        levels = []
        for stage in self.stages:
            level = stage(level)
            levels.append(level)
        at4, at8, at16, at32 = levels
        coarse = self.neck(self.from16(at16) + _doubled(self.from32(at32)))
        fine = self.smooth8(F.relu(self.from8(at8) + _doubled(self.down16(coarse))))
        fine = self.fine(F.relu(self.from4(at4) + _doubled(fine)))
        packed = F.pixel_unshuffle(fine, FINE_PER_CELL)
        return torch.cat([coarse, packed], dim=1)


def build_nano(config: NanoConfig) -> Sam:
    """A sam-nano with random weights: a `Sam`, so SamPredictor and the generator take it."""
    sam = Sam(
        image_encoder=ConvEncoder(config),
        prompt_encoder=DrawingPromptEncoder(config.embed_width, config.side_px),
        mask_decoder=FineMaskDecoder(
            config.embed_width, config.fine_width, heads=config.heads, mlp_width=config.mlp_width
        ),
    )
    _start_near(sam)
    return sam.eval()


@torch.no_grad()
def _start_near(sam: Sam) -> None:
    """Weights from which prompts look at what lies near them before anything is learned.

    Half of the frequencies tell places
    apart within an object, not only within the picture; and where queries and keys pass through
    the same weights, those of like places fit best.
    """
    frequencies = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    frequencies[:, ::2] *= sam.image_encoder.img_size / 128
    for embedding in sam.prompt_encoder.point_embeddings:
        embedding.weight *= 0.3
    transformer = sam.mask_decoder.transformer
    for attention in (
        *(block.cross_attn_token_to_image for block in transformer.layers),
        *(block.cross_attn_image_to_token for block in transformer.layers),
        transformer.final_attn_token_to_image,
    ):
        attention.q_proj.weight *= 2.7
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        nn.init.zeros_(attention.q_proj.bias)
        nn.init.zeros_(attention.k_proj.bias)


class _Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        norm = nn.BatchNorm2d(width, momentum=0.03)
        nn.init.zeros_(norm.weight)  # starts as the identity
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


def _conv(before: int, width: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width, momentum=0.03),
        nn.ReLU(inplace=True),
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
