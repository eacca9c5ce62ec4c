"""Stage 1: the tower and the extractor learn to see, under direct supervision.

The next-token loss alone hardly teaches shapes to a small model, so linear heads on the mask and
position tokens are trained first (what, colour, texture, facing; place, size) and dropped
afterwards: the language model then finds everything it has to say in the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.synthetic.captions import PLACES, SIZES
from model.synthetic.palette import COLOURS
from model.synthetic.shapes import CATEGORIES, PART_NAMES
from model.synthetic.sprites import TEXTURES
from model.training.samples import FACINGS, ImageSample, on_canvas


@dataclass(frozen=True)
class Labels:
    """The words of every head, in the order of its outputs."""

    what: tuple[str, ...] = (*CATEGORIES, *PART_NAMES)
    colour: tuple[str, ...] = COLOURS
    texture: tuple[str, ...] = TEXTURES
    facing: tuple[str, ...] = FACINGS
    place: tuple[str, ...] = PLACES
    size: tuple[str, ...] = SIZES


class AttributeHeads(nn.Module):
    """One linear layer for each attribute, on tokens of `width` channels."""

    def __init__(self, labels: Labels, width: int) -> None:
        super().__init__()
        self.labels = labels
        self.of_mask = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(words)))
                for name, words in (
                    ("what", labels.what),
                    ("colour", labels.colour),
                    ("texture", labels.texture),
                    ("facing", labels.facing),
                )
            }
        )
        self.of_position = nn.ModuleDict(
            {
                name: nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(words)))
                for name, words in (("place", labels.place), ("size", labels.size))
            }
        )

    def forward(self, mask_RD: Tensor, position_RD: Tensor) -> dict[str, Tensor]:
        """Logits of every head, by its name."""
        logits = {name: head(mask_RD) for name, head in self.of_mask.items()}
        return logits | {name: head(position_RD) for name, head in self.of_position.items()}


def targets(
    labels: Labels, samples: Sequence[ImageSample], rng: np.random.Generator, grid: int
) -> tuple[dict[str, Tensor], Tensor]:
    """The class indices of all regions of a batch, and their position grids on a canvas.

    Returns:
        Indices (R,) by head (-100 where the attribute is not judged), and (R, grid*grid) float32.
    """
    indices: dict[str, list[int]] = {name: [] for name in vars(labels)}
    grids = []
    for sample in samples:
        for region in sample.regions:
            plane, place, size = on_canvas(rng, region.mask, grid)
            grids.append(plane.reshape(-1))
            words = {
                "what": region.what,
                "colour": region.colour,
                "texture": region.texture,
                "facing": region.facing,
                "place": place,
                "size": size,
            }
            for name, word in words.items():
                known: tuple[str, ...] = getattr(labels, name)
                indices[name].append(known.index(word) if word in known else -100)
    return (
        {name: torch.tensor(column) for name, column in indices.items()},
        torch.from_numpy(np.stack(grids)),
    )


def heads_loss(logits: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
    """Sum of the heads' cross entropies; what a thing is counts double."""
    losses = [
        (2.0 if name == "what" else 1.0) * F.cross_entropy(value, wanted[name], ignore_index=-100)
        for name, value in logits.items()
        if bool((wanted[name] >= 0).any())
    ]
    return torch.stack(losses).sum()


def accuracy(logits: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Share of right answers by head, over the regions for which it is judged."""
    shares = {}
    for name, value in logits.items():
        judged = wanted[name] >= 0
        if bool(judged.any()):
            hits = value.argmax(-1)[judged] == wanted[name][judged]
            shares[name] = float(hits.float().mean())
    return shares
