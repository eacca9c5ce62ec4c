"""The parts of Osprey together.

Shapes: B images or rows, N image tokens, R regions, L ids of a row, T positions after splicing,
D channels of the language model, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from model.osprey.config import OspreyConfig
from model.osprey.language import build_language_model
from model.osprey.mask_extractor import MaskExtractor
from model.osprey.prompt import IMAGE_TOKEN_INDEX
from model.osprey.vision import Levels, VisionTower

IGNORE_INDEX = -100


class Output(NamedTuple):
    """Logits B x T x V and, where labels were given, their mean cross entropy."""

    logits: Tensor
    loss: Tensor | None


class Osprey(nn.Module):
    """Tower, projector, mask extractor and language model."""

    def __init__(self, config: OspreyConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.vision_tower = VisionTower(config.vision_depths, config.vision_widths)
        self.mm_projector = nn.Sequential(
            nn.Linear(config.mm_hidden_size, width), nn.GELU(), nn.Linear(width, width)
        )
        self.mask_extractor = MaskExtractor(
            config.vision_widths,
            config.extractor_width,
            config.position_width,
            config.mask_grid,
            width,
        )
        self.language = build_language_model(config.language)

    def image_tokens(self, levels: Levels) -> Tensor:
        """B x N x D."""
        tokens: Tensor = self.mm_projector(levels.image_tokens().to(self.dtype))
        return tokens

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of ordinary token ids; `<mask>` and `<pos>` have none."""
        embeds: Tensor = self.language.model.embed_tokens(ids.to(self.device, non_blocking=True))
        return embeds

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.language.lm_head.weight.dtype
        return dtype

    @property
    def device(self) -> torch.device:
        device: torch.device = self.language.lm_head.weight.device
        return device

    def splice_regions(self, ids: Tensor, mask_RD: Tensor, position_RD: Tensor) -> Tensor:
        """Embeddings of ids in which slot i of `<mask>` takes mask token i, and the slot behind it
        position token i, by order of appearance.

        Raises:
            ValueError: when the number of `<mask>` is not the number of regions.
        """
        slots = (ids == self.config.mask_token_id).nonzero()[:, 0]
        if len(slots) != len(mask_RD):
            raise ValueError(f"{len(slots)} <mask> in the prompt for {len(mask_RD)} regions")
        ordinary = ids.clone()
        ordinary[slots] = 0
        ordinary[slots + 1] = 0
        embeds = self.embed(ordinary).clone()
        embeds[slots] = mask_RD.to(embeds)
        embeds[slots + 1] = position_RD.to(embeds)
        return embeds

    def splice(self, ids: Tensor, image_ND: Tensor, mask_RD: Tensor, position_RD: Tensor) -> Tensor:
        """Embeddings T x D of a row of ids with one image placeholder."""
        at = int((ids == IMAGE_TOKEN_INDEX).nonzero()[0, 0])
        behind = self.splice_regions(ids[at + 1 :], mask_RD, position_RD)
        return torch.cat([self.embed(ids[:at]), image_ND.to(behind), behind])

    def forward(
        self,
        pixels_BCHW: Tensor,
        ids_BL: Tensor,
        masks: Sequence[Tensor],
        labels_BL: Tensor | None = None,
        attention_mask_BL: Tensor | None = None,
    ) -> Output:
        """The official forward pass, for training and comparison.

        Args:
            pixels_BCHW: preprocessed pictures, one a row.
            ids_BL: token ids with one IMAGE_TOKEN_INDEX a row, right-padded.
            masks: for each row the R x H x W masks of its regions.
            labels_BL: next-token targets, IGNORE_INDEX where nothing is judged. Image, mask and
                position slots are never judged.
            attention_mask_BL: 1 for real ids, 0 for padding.
        """
        levels = self.vision_tower(pixels_BCHW)
        image_BND = self.image_tokens(levels)
        rows = []
        for i, (ids, row_masks) in enumerate(zip(ids_BL, masks, strict=True)):
            tokens = self.mask_extractor(levels.of_image(i), row_masks)
            rows.append(self.splice(ids, image_BND[i], *tokens))
        extra = image_BND.shape[1] - 1
        attention = None
        if attention_mask_BL is not None:
            attention = self.spliced_attention(attention_mask_BL, extra)
        embeds = pad_sequence(rows, batch_first=True)
        positions = torch.arange(embeds.shape[1], device=embeds.device)[None]
        hidden = self.language.model(
            inputs_embeds=embeds, attention_mask=attention, position_ids=positions, use_cache=False
        ).last_hidden_state
        logits = self.language.lm_head(hidden)
        if labels_BL is None:
            return Output(logits, None)
        wanted = pad_sequence(
            [self.spliced_labels(i, n, extra) for i, n in zip(ids_BL, labels_BL, strict=True)],
            batch_first=True,
            padding_value=IGNORE_INDEX,
        )
        loss = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), wanted[:, 1:].flatten(), ignore_index=IGNORE_INDEX
        )
        return Output(logits, loss)

    def spliced_attention(self, attention_mask_BL: Tensor, extra: int) -> Tensor:
        """Attention mask B x T after splicing `extra` more positions in for the image."""
        ones = attention_mask_BL.new_ones(len(attention_mask_BL), extra)
        return torch.cat([ones, attention_mask_BL], dim=1)

    def spliced_labels(self, ids: Tensor, labels: Tensor, extra: int) -> Tensor:
        """Labels T of a row after splicing `extra` more positions in for the image."""
        labels = labels.clone()
        slots = (ids == self.config.mask_token_id).nonzero()[:, 0]
        labels[slots] = IGNORE_INDEX
        labels[slots + 1] = IGNORE_INDEX
        at = int((ids == IMAGE_TOKEN_INDEX).nonzero()[0, 0])
        image = labels.new_full((extra + 1,), IGNORE_INDEX)
        return torch.cat([labels[:at], image, labels[at + 1 :]])
