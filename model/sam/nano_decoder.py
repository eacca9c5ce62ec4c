"""The prompt encoder and the mask decoder of sam-nano: SAM's, with two things added.

SAM learned from a thousand million masks where a token's point lies, and that an object is what
looks like the place pointed at. Here both are given: prompts are drawn on the cells, and every
place says how much it is like the place that is meant.

Shapes: B images, P prompts of an image, N = B P, K points of a prompt, T tokens of a prompt, M
masks a prompt, C the transformer's width, F fine channels, G the side of the embedding.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE_PX = 16
FINE_PER_CELL = 4  # masks are four times as fine as the embedding, as SAM's are
_PACKED = 2 * FINE_PER_CELL**2  # two fine maps, packed into cells

Points = tuple[Tensor, Tensor]


class DrawingPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """SAM's prompt encoder, which also draws points and boxes on the cells.

    Dense embeddings have C channels as SAM's, and 32 more: where the object and where something
    else is pointed at, at stride 4, packed 16 to a cell.
    """

    def __init__(self, width: int, side_px: int) -> None:
        grid = side_px // STRIDE_PX
        super().__init__(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(side_px, side_px),
            mask_in_chans=16,
        )
        self.drawing = nn.Sequential(nn.Conv2d(9, 32, 1), nn.GELU(), nn.Conv2d(32, width, 1))

    def forward(
        self, points: Points | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sparse (NxTxC) and dense (Nx(C+32)xGxG) embeddings."""
        sparse, dense = super().forward(points, boxes, masks)
        drawn = self.draw(points, boxes, self.image_embedding_size)
        drawn = drawn.expand(len(dense), -1, -1, -1)
        width = dense.shape[1]
        return sparse, torch.cat([dense + drawn[:, :width], drawn[:, width:]], dim=1)

    def tokens(self, points: Points | None, boxes: Tensor | None) -> Tensor:
        """The sparse embedding alone."""
        sparse: Tensor = super().forward(points, boxes, None)[0]
        return sparse

    def draw(self, points: Points | None, boxes: Tensor | None, grid: tuple[int, int]) -> Tensor:
        """What is added to the dense embedding and what follows it, Nx(C+32)xGxG.

        N is 1 when there are only masks.

        Args:
            points: coordinates (NxKx2, x and y in pixels) and labels (NxK).
            boxes: Nx4 pixels, xyxy.
            grid: cells of the picture, or of the window of it that coordinates refer to.
        """
        device = self.no_mask_embed.weight.device
        if boxes is not None:
            boxes = boxes.float().reshape(-1, 4) + 0.5
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
            x0, y0, x1, y1 = (boxes / STRIDE_PX)[..., None].unbind(dim=1)
            across = torch.stack([x - x0, x1 - x], dim=1)[:, :, None].expand(-1, -1, grid[0], -1)
            down = torch.stack([y - y0, y1 - y], dim=1)[..., None].expand(-1, -1, -1, grid[1])
            maps[:, 4:8] = torch.cat([across, down], dim=1).clamp(-1.5, 1.5)
            maps[:, 8] = maps[:, 4:8].amin(dim=1).clamp(-0.5, 0.5) + 0.5
        meant = F.pixel_unshuffle(self._meant(points, boxes, count, grid), FINE_PER_CELL)
        return torch.cat([self.drawing(maps), meant], dim=1)

    def _meant(
        self, points: Points | None, boxes: Tensor | None, count: int, grid: tuple[int, int]
    ) -> Tensor:
        """Nx2x4Gx4G: bumps at points that are inside (and in boxes), and at points outside."""
        device = self.no_mask_embed.weight.device
        step = STRIDE_PX / FINE_PER_CELL
        y, x = ((torch.arange(n * FINE_PER_CELL, device=device) + 0.5) * step for n in grid)
        maps = torch.zeros(count, 2, len(y), len(x), device=device)
        if points is not None:
            at = points[0].float() + 0.5
            in_x = torch.exp(-((x - at[..., :1]) ** 2) / (2 * step**2))
            in_y = torch.exp(-((y - at[..., 1:]) ** 2) / (2 * step**2))
            for i, label in enumerate((1, 0)):
                of_label = (points[1] == label).float()
                maps[:, i] = torch.einsum("nkx,nky,nk->nyx", in_x, in_y, of_label)
        if boxes is not None:
            middle, spread = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 5
            spread = spread.clamp(min=step)
            in_x = torch.exp(-(((x - middle[:, :1]) / spread[:, :1]) ** 2) / 2)
            in_y = torch.exp(-(((y - middle[:, 1:]) / spread[:, 1:]) ** 2) / 2)
            maps[:, 0] += in_y[:, :, None] * in_x[:, None]
        return maps


class FineMaskDecoder(MaskDecoder):  # type: ignore[misc]
    """SAM's mask decoder with the encoder's fine channels at hand when masks are formed.

    What tells the pixels of a cell apart need not pass through the transformer, and is the same
    for all prompts of an image.
    """

    def __init__(self, width: int, fine_width: int, *, heads: int, mlp_width: int) -> None:
        super().__init__(
            transformer_dim=width,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=width, num_heads=heads, mlp_dim=mlp_width
            ),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=width,
        )
        mlps = [MLP(width, width, width // 8 + 2, 3) for _ in range(self.num_mask_tokens)]
        with torch.no_grad():
            for mlp in mlps:
                mlp.layers[-1].bias[-2] = 1.0  # a first guess: all that looks alike
        self.output_hypernetworks_mlps = nn.ModuleList(mlps)
        self.fine_projection = nn.Conv2d(fine_width, width // 8, 1)
        self.like_projection = nn.Conv2d(_PACKED, width, 1)

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Four masks (NxMx4Gx4G logits, the single one first) and their qualities (NxM).

        Args:
            image_embeddings: of one image or more; all have as many prompts, one after the other.
            image_pe: positions of the images' cells, the same for all or one for each.
        """
        c, images = self.transformer_dim, len(image_embeddings)
        prompts = len(sparse_prompt_embeddings)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight], dim=0)
        tokens_NTC = torch.cat((own.expand(prompts, -1, -1), sparse_prompt_embeddings), dim=1)
        fine_BFHW = self.fine(image_embeddings)
        like_N2HW = self._likeness(fine_BFHW, dense_prompt_embeddings[:, c:])
        cells_NCGG = image_embeddings[:, :c].repeat_interleave(prompts // images, dim=0)
        cells_NCGG = cells_NCGG + dense_prompt_embeddings[:, :c]
        packed = F.pixel_unshuffle(torch.tanh(like_N2HW / 2), FINE_PER_CELL)
        out_NTC, cells_NLC = self.transformer(
            cells_NCGG + self.like_projection(packed),
            image_pe.repeat_interleave(prompts // len(image_pe), dim=0),
            tokens_NTC,
        )
        grid = cells_NCGG.shape[-2:]
        features = self.output_upscaling(cells_NLC.transpose(1, 2).reshape(prompts, -1, *grid))
        hw = features.shape[-2:]
        features = features.reshape(images, -1, features.shape[1], *hw)
        features = (features + self.fine_projection(fine_BFHW)[:, None]).flatten(0, 1)
        features = torch.cat([features, like_N2HW.to(features.dtype)], dim=1)
        weights = torch.stack(
            [mlp(out_NTC[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (weights @ features.flatten(2)).reshape(prompts, -1, *hw)
        return masks, self.iou_prediction_head(out_NTC[:, 0])

    def fine(self, image_embeddings: Tensor) -> Tensor:
        """The fine channels, BxFx4Gx4G."""
        packed = image_embeddings[:, self.transformer_dim :]
        fine: Tensor = F.pixel_shuffle(packed, FINE_PER_CELL)
        return fine

    def _likeness(self, fine_BFHW: Tensor, meant: Tensor) -> Tensor:
        """Nx2x4Gx4G: how like every place is to the one meant, and to the one not meant."""
        maps_N2HW = F.pixel_shuffle(meant, FINE_PER_CELL).to(fine_BFHW.dtype)
        share = maps_N2HW / maps_N2HW.sum((2, 3), keepdim=True).clamp(min=1e-6)
        share_BQL = share.reshape(len(fine_BFHW), -1, share[0, 0].numel())
        fine_BFL = fine_BFHW.flatten(2)
        meant_BQF = share_BQL @ fine_BFL.transpose(1, 2)
        like: Tensor = (meant_BQF @ fine_BFL) / fine_BFL.shape[1] ** 0.5
        return like.reshape(maps_N2HW.shape)
