"""Training samples drawn from the synthetic world, in the form the two stages need.

Shapes: B images, R regions of an image, S the side of a square image, G the side of the position
grid (112).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from model.synthetic.captions import detailed_caption, part_caption, short_caption
from model.synthetic.palette import dominant_colour
from model.synthetic.scene import Scene, SceneObject, negatives, sample_scene, size_and_place
from model.synthetic.shapes import OBJECT

FACINGS = ("", "left", "right")
CANVAS_SIDE_PX = 512
MIN_REGION_PX = 40

BoolMask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class RegionSample:
    """A region of an image with what is true of it.

    `what` is a category, part or "object"; `colours` how many pixels are nearest to each colour.
    """

    mask: BoolMask
    what: str
    colours: NDArray[np.intp]
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
        colours=obj.colours,
        texture=obj.texture,
        facing=obj.facing,
        short=short_caption(obj),
        detailed=detailed_caption(obj),
    )


def image_sample(rng: np.random.Generator, side_px: int, difficulty: float) -> ImageSample:
    """A scene as the model sees it: a 16:9 picture squeezed to a square of `side_px`."""
    scene = sample_scene(
        rng,
        side_px,
        side_px,
        difficulty=difficulty,
        n_objects=int(rng.integers(9, 17)),
        short_side_px=(16, 110 if side_px < CANVAS_SIDE_PX else 170),
        squeeze=16 / 9,
    )
    regions = [
        object_region(loosened(rng, obj))
        for obj in scene.objects
        if obj.mask.sum() >= MIN_REGION_PX
    ]
    regions += _part_regions(rng, scene)[:2]
    regions += [object_region(obj) for obj in negatives(rng, scene, int(rng.integers(1, 6)))]
    return ImageSample(image=scene.image, regions=tuple(regions))


def loosened(rng: np.random.Generator, obj: SceneObject) -> SceneObject:
    """Half of the masks a little too wide, too narrow or rounded, as a tracker's are."""
    if rng.random() < 0.5:
        return obj
    side = int(rng.integers(2, 2 + max(2, int(obj.mask.sum() ** 0.5 / 10))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    how = (cv2.MORPH_DILATE, cv2.MORPH_ERODE, cv2.MORPH_OPEN, cv2.MORPH_CLOSE)
    mask = cv2.morphologyEx(obj.mask.astype(np.uint8), how[int(rng.integers(4))], kernel) > 0
    if mask.sum() < MIN_REGION_PX:
        return obj
    size, place = size_and_place(mask)
    return replace(obj, mask=mask, size=size, place=place)


def _part_regions(rng: np.random.Generator, scene: Scene) -> list[RegionSample]:
    regions = []
    for obj in scene.objects:
        if not obj.parts or obj.category == OBJECT:
            continue
        name = str(rng.choice(sorted(obj.parts)))
        mask = obj.parts[name]
        if mask.sum() < 2 * MIN_REGION_PX:
            continue
        colours = scene.colours_of(mask)
        text = part_caption(name, dominant_colour(colours), obj.category)
        regions.append(
            RegionSample(
                mask=mask,
                what=name,
                colours=colours,
                texture="",
                facing="",
                short=text,
                detailed=text,
            )
        )
    return regions


def on_canvas(
    rng: np.random.Generator, mask: BoolMask, grid: int
) -> tuple[NDArray[np.float32], str, str]:
    """Put a small training picture somewhere on a full-size canvas.

    The tower may learn from small pictures; place and size are relative to the whole picture, so
    the position branch sees the mask on a canvas of 512 px instead.

    Returns:
        The GxG position grid of 0..1, the place word and the size word on the canvas.
    """
    side = max(CANVAS_SIDE_PX, *mask.shape)
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    small = mask[y : y + h, x : x + w].astype(np.float32)
    zoom = float(rng.choice([0.5, 1.0, 1.0, 2.0]))
    if small.sum() * zoom**2 >= MIN_REGION_PX and min(w, h) * zoom >= 2:
        small = cv2.resize(small, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
        small = small[:side, :side]
    canvas = np.zeros((side, side), np.float32)
    top = int(rng.integers(0, side - small.shape[0] + 1))
    left = int(rng.integers(0, side - small.shape[1] + 1))
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    size, place = size_and_place(canvas > 0)
    return cv2.resize(canvas, (grid, grid), interpolation=cv2.INTER_LINEAR), place, size


class SceneStream(IterableDataset[ImageSample]):
    """Endless image samples, harder and harder; worker and seed decide them all.

    Args:
        ramp: after how many images the hardest ones come.
    """

    def __init__(self, seed: int, side_px: int, ramp: int) -> None:
        self.seed = seed
        self.side_px = side_px
        self.ramp = ramp

    def __iter__(self) -> Iterator[ImageSample]:
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, self.side_px, info.id if info else 0])
        for i in count():
            hardest = min(1.0, 0.25 + i / max(1, self.ramp))
            sample = image_sample(rng, self.side_px, hardest * float(rng.random()))
            if sample.regions:
                yield sample
