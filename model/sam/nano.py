"""sam-nano: SAM's prompt encoder and mask decoder, small, behind a convolutional image encoder.

Shapes: B images or prompts, C the transformer's width, F fine channels, S the side of the square
input, T tokens of a prompt, M masks a prompt, G = S / 16 the side of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE_PX = 16
_FINE_PER_CELL = 4  # masks are four times as fine as the embedding, as SAM's are


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
    fine_width: int = 16
    heads: int = 4
    mlp_width: int = 384

    def __post_init__(self) -> None:
        if self.side_px % (2 * STRIDE_PX) or self.side_px < 4 * STRIDE_PX:
            raise ValueError(f"side_px is {self.side_px}; wanted a multiple of 32 from 64 on")
        if len(self.widths) != 4 or len(self.blocks) != 4:
            raise ValueError("widths and blocks are four numbers each")
        if self.embed_width % (4 * self.heads) or self.embed_width < 8 * _FINE_PER_CELL:
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
        packed = F.pixel_unshuffle(fine, _FINE_PER_CELL)
        return torch.cat([coarse, packed], dim=1)


class DrawingPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """SAM's prompt encoder, which also draws points and boxes on the cells.

    The drawing is added to the dense embedding, where SAM puts mask inputs. Cells need not find
    out from tokens alone whether they lie near a point or inside a box, which takes SAM a
    thousand times as many prompts to learn.
    """

    def __init__(self, config: NanoConfig) -> None:
        grid = config.side_px // STRIDE_PX
        super().__init__(
            embed_dim=config.embed_width,
            image_embedding_size=(grid, grid),
            input_image_size=(config.side_px, config.side_px),
            mask_in_chans=16,
        )
        self.drawing = nn.Sequential(
            nn.Conv2d(9, 32, 1), nn.GELU(), nn.Conv2d(32, config.embed_width, 1)
        )

    def forward(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sparse (NxTxC) and dense (NxCxGxG) embeddings."""
        sparse, dense = super().forward(points, boxes, masks)
        return sparse, dense + self.draw(points, boxes, self.image_embedding_size)

    def tokens(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> Tensor:
        """The sparse embedding alone."""
        sparse: Tensor = super().forward(points, boxes, None)[0]
        return sparse

    def draw(
        self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, grid: tuple[int, int]
    ) -> Tensor:
        """What is added to the dense embedding, NxCxGxG (1 for N when there are only masks).

        Args:
            points: coordinates (NxKx2, x and y in pixels) and labels (NxK).
            boxes: Nx4 pixels, xyxy.
            grid: cells of the picture, or of the window of it that coordinates refer to.
        """
        device = self.no_mask_embed.weight.device
        count = len(points[0]) if points is not None else 1 if boxes is None else len(boxes)
        y, x = (torch.arange(n, device=device) + 0.5 for n in grid)
        maps = torch.zeros(count, 9, *grid, device=device)
        if points is not None:
            at = (points[0].float() + 0.5) / STRIDE_PX
            away = (x - at[..., :1])[:, :, None] ** 2 + (y - at[..., 1:])[:, :, :, None] ** 2
            near_and_far = torch.stack([torch.exp(-away / 2), torch.exp(-away / 32)], dim=2)
            for i, label in enumerate((1, 0)):
                of_label = (points[1] == label)[:, :, None, None, None]
                maps[:, 2 * i : 2 * i + 2] = (near_and_far * of_label).amax(dim=1)
        if boxes is not None:
            corners = (boxes.float().reshape(-1, 4) + 0.5) / STRIDE_PX
            x0, y0, x1, y1 = corners[..., None].unbind(dim=1)
            across = torch.stack([x - x0, x1 - x], dim=1)[:, :, None].expand(-1, -1, grid[0], -1)
            down = torch.stack([y - y0, y1 - y], dim=1)[..., None].expand(-1, -1, -1, grid[1])
            maps[:, 4:8] = torch.cat([across, down], dim=1).clamp(-1.5, 1.5)
            maps[:, 8] = maps[:, 4:8].amin(dim=1).clamp(-0.5, 0.5) + 0.5
        drawn: Tensor = self.drawing(maps)
        return drawn


class FineMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """SAM's mask decoder with the encoder's fine channels added before masks are formed.

    What tells the pixels of a cell apart need not pass through the transformer, and is the same
    for all prompts of an image.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__(
            transformer_dim=config.embed_width,
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=config.embed_width,
                num_heads=config.heads,
                mlp_dim=config.mlp_width,
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=config.embed_width,
        )
        self.fine_projection = nn.Conv2d(config.fine_width, config.embed_width // 8, 1)

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Four masks (BxMx4Gx4G logits, the single one first) and their qualities (BxM).

        Args:
            image_embeddings: of one image or more; all have as many prompts, one after the other.
            image_pe: positions of the images' cells, the same for all or one for each.
        """
        c, images = self.transformer_dim, len(image_embeddings)
        prompts = len(sparse_prompt_embeddings)
        each = prompts // images
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight], dim=0)
        tokens_BTC = torch.cat((own.expand(prompts, -1, -1), sparse_prompt_embeddings), dim=1)
        cells_BCGG = image_embeddings[:, :c].repeat_interleave(each, dim=0)
        out_BTC, cells_BNC = self.transformer(
            cells_BCGG + dense_prompt_embeddings,
            image_pe.repeat_interleave(prompts // len(image_pe), dim=0),
            tokens_BTC,
        )
        fine = self.fine(image_embeddings)
        return form_masks(self, out_BTC, cells_BNC, cells_BCGG.shape[-2:], fine)

    def fine(self, image_embeddings: Tensor) -> Tensor:
        """What is added to the upscaled cells: B x C/8 x 4G x 4G."""
        packed = image_embeddings[:, self.transformer_dim :]
        fine: Tensor = self.fine_projection(F.pixel_shuffle(packed, _FINE_PER_CELL))
        return fine


def form_masks(
    decoder: Any, out_NTC: Tensor, cells_NLC: Tensor, grid: tuple[int, ...], fine: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Masks and qualities from what the transformer made of tokens and cells."""
    features = decoder.output_upscaling(
        cells_NLC.transpose(1, 2).reshape(len(cells_NLC), -1, *grid)
    )
    if fine is not None:
        images, _, *hw = fine.shape
        features = (features.reshape(images, -1, len(fine[0]), *hw) + fine[:, None]).flatten(0, 1)
    weights = torch.stack(
        [mlp(out_NTC[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    masks = (weights @ features.flatten(2)).unflatten(2, features.shape[-2:])
    return masks, decoder.iou_prediction_head(out_NTC[:, 0])


def build_nano(config: NanoConfig) -> Sam:
    """A sam-nano with random weights: a `Sam`, so SamPredictor and the generator take it."""
    sam = Sam(
        image_encoder=ConvEncoder(config),
        prompt_encoder=DrawingPromptEncoder(config),
        mask_decoder=FineMaskDecoder(config),
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
