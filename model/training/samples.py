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

from model.synthetic.captions import (
    detailed_caption,
    part_caption,
    place_word,
    short_caption,
    size_word,
)
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
    """A square SxSx3 uint8 image with its regions.

    `colours` is SxS, the index into COLOURS of every pixel.
    """

    image: NDArray[np.uint8]
    colours: NDArray[np.uint8]
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


def image_sample(
    rng: np.random.Generator, side_px: int, difficulty: float, smallest_px: float = 20.0
) -> ImageSample:
    """A scene as the model sees it: a 16:9 picture squeezed to a square of `side_px`.

    `smallest_px` is the least short side of an object, before the squeeze.
    """
    scene = sample_scene(
        rng,
        side_px,
        side_px,
        difficulty=difficulty,
        n_objects=int(rng.integers(9, 17)),
        short_side_px=(smallest_px, 110 if side_px < CANVAS_SIDE_PX else 170),
        squeeze=16 / 9,
    )
    regions = [
        object_region(loosened(rng, obj))
        for obj in scene.objects
        if obj.mask.sum() >= MIN_REGION_PX
    ]
    regions += _part_regions(rng, scene)[:2]
    regions += [object_region(obj) for obj in negatives(rng, scene, int(rng.integers(1, 6)))]
    return ImageSample(image=scene.image, colours=scene.colours, regions=tuple(regions))


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
    small = mask[y : y + h, x : x + w].view(np.uint8)
    area_px, centre = _area_and_centre(small)
    zoom = float(rng.choice([0.5, 1.0, 1.0, 2.0]))
    if area_px * zoom**2 < MIN_REGION_PX or min(w, h) * zoom < 2 or max(w, h) * zoom > side:
        zoom = 1.0
    left = rng.uniform(0, side - w * zoom)
    top = rng.uniform(0, side - h * zoom)
    # samples at the centres of the grid's cells, as the extractor's resize takes them
    step = grid / side
    onto = np.array(
        [
            [zoom * step, 0, (left + 0.5 * zoom) * step - 0.5],
            [0, zoom * step, (top + 0.5 * zoom) * step - 0.5],
        ]
    )
    cells = cv2.warpAffine(small.astype(np.float32), onto, (grid, grid), flags=cv2.INTER_LINEAR)
    x_share, y_share = (left + zoom * centre[0]) / side, (top + zoom * centre[1]) / side
    return cells, place_word(x_share, y_share), size_word(area_px * (zoom / side) ** 2)


def _area_and_centre(mask: NDArray[np.uint8]) -> tuple[int, tuple[float, float]]:
    """Pixels of a 0/1 mask and the x and y of its centroid, in px from its left top corner."""
    columns, rows = mask.sum(0, dtype=np.int64), mask.sum(1, dtype=np.int64)
    area = int(columns.sum())
    x = float(columns @ np.arange(len(columns))) / area + 0.5
    y = float(rows @ np.arange(len(rows))) / area + 0.5
    return area, (x, y)


class SceneStream(IterableDataset[ImageSample]):
    """Endless image samples, harder and harder; worker and seed decide them all.

    Drawing a scene costs more than a step that learns from it, so every scene is shown several
    times, far apart: each new one takes the place of one of the `_KEPT` before it.

    Args:
        ramp: after how many new scenes the hardest ones come.
        shows: how often a scene is shown, on average.
    """

    _KEPT = 192

    def __init__(self, seed: int, side_px: int, ramp: int, shows: int) -> None:
        self.seed = seed
        self.side_px = side_px
        self.ramp = ramp
        self.shows = shows

    def __iter__(self) -> Iterator[ImageSample]:
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, self.side_px, info.id if info else 0])
        kept: list[ImageSample] = []
        for i in count():
            share = min(1.0, i / max(1, self.ramp))
            hardness = (0.25 + 0.75 * share) * float(rng.random())
            sample = image_sample(rng, self.side_px, hardness, 44 - 24 * share)
            if not sample.regions:
                continue
            if len(kept) < self._KEPT:
                kept.append(sample)
            else:
                kept[int(rng.integers(self._KEPT))] = sample
            yield sample
            # the first scenes are few: not yet again and again
            for _ in range(min(self.shows - 1, len(kept) * self.shows // self._KEPT)):
                yield kept[int(rng.integers(len(kept)))]
