"""Training samples drawn from the synthetic world, in the form the two stages need.

Shapes: B images, R regions of an image, S the side of a square image, G the side of the position
grid (112).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from model.synthetic.captions import (
    CATEGORIES,
    COLOURS,
    PLACES,
    SIZES,
    detailed_caption,
    part_caption,
    short_caption,
)
from model.synthetic.palette import dominant_colour
from model.synthetic.scene import (
    Scene,
    SceneObject,
    negative_masks,
    place_word,
    sample_scene,
    size_word,
)

FACINGS = ("", "left", "right")
OBJECT = "object"
CANVAS_SIDE_PX = 512
MIN_REGION_PX = 40

BoolMask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RegionSample:
    """A region of an image with what is true of it; `what` is a category, part or "object"."""

    mask: BoolMask
    what: str
    colour: str
    texture: str
    facing: str
    short: str
    detailed: str


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """A square SxSx3 uint8 image with its regions."""

    image: NDArray[np.uint8]
    regions: tuple[RegionSample, ...]


def object_region(obj: SceneObject) -> RegionSample:
    """The region of a whole object."""
    return RegionSample(
        mask=obj.mask,
        what=obj.category,
        colour=obj.colour,
        texture=obj.texture,
        facing=obj.facing or "",
        short=short_caption(obj),
        detailed=detailed_caption(obj),
    )


def image_sample(rng: np.random.Generator, side_px: int, difficulty: float) -> ImageSample:
    """A scene as the model sees it: a 16:9 picture squeezed to a square of `side_px`."""
    share = side_px / CANVAS_SIDE_PX
    scene = sample_scene(
        rng,
        side_px,
        side_px,
        difficulty=difficulty,
        n_objects=int(rng.integers(4, 9)),
        object_short_side_px=(14, int(110 + 60 * (share == 1))),
        aspect=16 / 9,
    )
    regions = [object_region(obj) for obj in scene.objects if obj.mask.sum() >= MIN_REGION_PX]
    regions += _part_regions(rng, scene)[:2]
    regions += _negative_regions(rng, scene)
    return ImageSample(image=scene.image, regions=tuple(regions))


def _part_regions(rng: np.random.Generator, scene: Scene) -> list[RegionSample]:
    regions = []
    for obj in scene.objects:
        if not obj.parts or obj.category == OBJECT:
            continue
        name = str(rng.choice(sorted(obj.parts)))
        mask = obj.parts[name]
        if mask.sum() < 2 * MIN_REGION_PX:
            continue
        colour = dominant_colour(scene.image, mask)
        text = part_caption(name, colour, obj.category)
        regions.append(
            RegionSample(
                mask=mask, what=name, colour=colour, texture="", facing="", short=text, detailed=text
            )
        )
    return regions


def _negative_regions(rng: np.random.Generator, scene: Scene) -> list[RegionSample]:
    regions = []
    for mask in negative_masks(rng, scene, int(rng.integers(0, 3))):
        if mask.sum() < MIN_REGION_PX:
            continue
        obj = SceneObject.negative(scene.image, mask)
        regions.append(object_region(obj))
    return regions


def on_canvas(
    rng: np.random.Generator, mask: BoolMask, grid: int
) -> tuple[NDArray[np.float32], str, str]:
    """Put a small training picture somewhere on a full-size canvas.

    The tower may learn from small pictures; place and size are relative to the whole picture, so
    the position branch sees the mask on a canvas of 512 px instead.

    Returns:
        The GxG position grid, the place word and the size word on the canvas.
    """
    side = max(CANVAS_SIDE_PX, *mask.shape)
    canvas = np.zeros((side, side), np.float32)
    zoom = float(rng.choice([0.5, 1.0, 1.0, 2.0]))
    small = cv2.resize(
        mask.astype(np.float32), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST
    )[:side, :side]
    if small.sum() < MIN_REGION_PX:
        small = mask.astype(np.float32)
    y = int(rng.integers(0, side - small.shape[0] + 1))
    x = int(rng.integers(0, side - small.shape[1] + 1))
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    inside = canvas > 0
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(canvas)[None, None], size=(grid, grid), mode="bilinear"
    )
    return resized[0, 0].numpy(), place_word(inside), size_word(inside)


class SceneStream(IterableDataset[ImageSample]):
    """Endless image samples; worker and seed decide them all."""

    def __init__(self, seed: int, side_px: int, difficulty: float) -> None:
        self.seed = seed
        self.side_px = side_px
        self.difficulty = difficulty

    def __iter__(self) -> Iterator[ImageSample]:
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, self.side_px, info.id if info else 0])
        while True:
            sample = image_sample(rng, self.side_px, self.difficulty * float(rng.random()))
            if sample.regions:
                yield sample


__all__ = [
    "CATEGORIES",
    "COLOURS",
    "FACINGS",
    "PLACES",
    "SIZES",
    "ImageSample",
    "RegionSample",
    "SceneStream",
    "image_sample",
    "on_canvas",
]
