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
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.osprey.vision import Levels
from model.synthetic.captions import PLACES, SIZES
from model.synthetic.palette import COLOURS, dominant_colour
from model.synthetic.shapes import CATEGORIES, OBJECT, PART_NAMES
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
    """One linear layer for each attribute, on tokens of `width` channels; and, so that every place
    of the picture teaches and not only the regions' means, two on the maps of the tower: colour
    on res2, what on res4.
    """

    def __init__(self, labels: Labels, width: int, level_widths: Sequence[int]) -> None:
        super().__init__()
        self.labels = labels
        self.colour_map = nn.Conv2d(level_widths[0], len(labels.colour), 1)
        self.what_map = nn.Conv2d(level_widths[2], len(labels.what), 1)
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


@dataclass(frozen=True)
class HeadsBatch:
    """What one step needs.

    `classes`: (R,) class indices by head, -100 where the attribute is not judged; `colours`:
    (R, 11) float32, the share of every colour among the pixels of a region; `grids`: (R, G*G)
    float32, the regions on a canvas; `colour_map`: (B, S/4, S/4) and `what_map`: (B, S/16, S/16)
    class indices at the centres of the cells of res2 and res4, "object" outside the regions.
    """

    samples: list[ImageSample]
    classes: dict[str, Tensor]
    colours: Tensor
    grids: Tensor
    colour_map: Tensor
    what_map: Tensor


class HeadsCollate:
    """Turns samples into a `HeadsBatch`; runs in the loader's process."""

    def __init__(self, labels: Labels, grid: int, seed: int) -> None:
        self.labels = labels
        self.grid = grid
        self.rng = np.random.default_rng([seed, 1])

    def __call__(self, samples: list[ImageSample]) -> HeadsBatch:
        indices: dict[str, list[int]] = {name: [] for name in vars(self.labels)}
        grids, colours = [], []
        for region in (region for sample in samples for region in sample.regions):
            plane, place, size = on_canvas(self.rng, region.mask, self.grid)
            grids.append(plane.reshape(-1))
            colours.append(region.colours / region.colours.sum())
            words = {
                "what": region.what,
                "colour": dominant_colour(region.colours),
                "texture": region.texture,
                "facing": region.facing,
                "place": place,
                "size": size,
            }
            for name, word in words.items():
                known: tuple[str, ...] = getattr(self.labels, name)
                indices[name].append(known.index(word) if word in known else -100)
        return HeadsBatch(
            samples,
            {name: torch.tensor(column) for name, column in indices.items()},
            torch.from_numpy(np.stack(colours).astype(np.float32)),
            torch.from_numpy(np.stack(grids)),
            torch.from_numpy(np.stack([s.colours[2::4, 2::4] for s in samples]).astype(np.int64)),
            torch.from_numpy(np.stack([self._what_map(sample) for sample in samples])),
        )

    def _what_map(self, sample: ImageSample) -> NDArray[np.int64]:
        what = np.full_like(sample.colours[8::16, 8::16], CATEGORIES.index(OBJECT), np.int64)
        for region in sample.regions:
            if region.what in CATEGORIES and region.what != OBJECT:
                what[region.mask[8::16, 8::16]] = CATEGORIES.index(region.what)
        return what


def maps_loss(heads: AttributeHeads, levels: Levels, batch: HeadsBatch) -> Tensor:
    """Sum of the maps' cross entropies."""
    colour = heads.colour_map(levels.res2.float())
    what = heads.what_map(levels.res4.float())
    return F.cross_entropy(colour, batch.colour_map.to(colour.device)) + F.cross_entropy(
        what, batch.what_map.to(what.device)
    )


def heads_loss(logits: dict[str, Tensor], batch: HeadsBatch) -> Tensor:
    """Sum of the heads' cross entropies; what a thing is counts three times.

    Colour learns the shares of all colours in a region, which says more than the greatest one.
    """
    losses = []
    for name, value in logits.items():
        wanted = batch.classes[name]
        if name == "colour":
            losses.append(1.5 * F.cross_entropy(value, batch.colours.to(value.device)))
        elif bool((wanted >= 0).any()):
            loss = F.cross_entropy(value, wanted.to(value.device), ignore_index=-100)
            losses.append(3.0 * loss if name == "what" else loss)
    return torch.stack(losses).sum()


def accuracy(logits: dict[str, Tensor], batch: HeadsBatch) -> dict[str, float]:
    """Share of right answers by head, over the regions for which it is judged."""
    shares = {}
    for name, value in logits.items():
        wanted = batch.classes[name].to(value.device)
        judged = wanted >= 0
        if bool(judged.any()):
            hits = value.argmax(-1)[judged] == wanted[judged]
            shares[name] = float(hits.float().mean())
    return shares
