"""Training samples of sam-nano: pictures, what is in them, and prompts that ask for it.

Shapes: B images, P prompts of an image, S the side of the square picture, K places at which a mask
is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from model.synthetic.scene import sample_scene

MIN_REGION_PX = 40
PLACES = 512  # K
HINT_LOGIT = 8.0

BoolMask = NDArray[np.bool_]
Rng = np.random.Generator
_Row = tuple[NDArray[Any] | np.bool_, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture in the left top corner of an SxSx3 uint8 square; the rest is padding.

    `hw` is the picture's size. `numbers` is 3xSxS int16: for every pixel the number of the object,
    the part and the shape of the background that it shows; 0 for none.
    """

    image: NDArray[np.uint8]
    hw: tuple[int, int]
    numbers: NDArray[np.int16]


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptBatch:
    """Prompts and what they should give; the prompts of an image lie side by side.

    images: BxSxSx3 uint8, `hws` the sizes without padding.
    points: BxPx2, a pixel (x, y) inside; boxes: BxPx4, xyxy, a little off.
    by_box: BxP, whether the prompt is the box, else the point.
    hints: BxPx1x(S/4)x(S/4) logits of a poor mask where `hinted` (BxP).
    targets: BxPx(S/4)x(S/4) bool, the mask at a quarter of its size.
    places: BxPxKx2 pixels (x, y); inside: BxPxK, 1 where they are inside.
    offsets: Bx2, cells (x, y): where in a picture of full size this one lies, as a window.
    """

    images: NDArray[np.uint8]
    hws: list[tuple[int, int]]
    points: Tensor
    boxes: Tensor
    by_box: Tensor
    hints: Tensor
    hinted: Tensor
    targets: Tensor
    places: Tensor
    inside: Tensor
    offsets: NDArray[np.intp]


def draw_picture(rng: Rng, side_px: int, difficulty: float) -> Picture:
    """A scene with objects, their parts, and often a background made of shapes."""
    height, width = side_px, side_px
    if rng.random() < 0.4:  # most films are wide, some are high
        short = int(side_px * rng.uniform(0.5, 0.95))
        height, width = (short, side_px) if rng.random() < 0.75 else (side_px, short)
    scene = sample_scene(
        rng,
        height,
        width,
        difficulty=difficulty,
        n_objects=int(rng.integers(6, 16)),
        short_side_px=(16.0, 0.5 * min(height, width)),
    )
    image = np.zeros((side_px, side_px, 3), np.uint8)
    image[:height, :width] = scene.image
    numbers = np.zeros((3, side_px, side_px), np.int16)
    objects, parts, shapes = (plane[:height, :width] for plane in numbers)
    if scene.leaves is not None:
        shapes[:] = scene.leaves
    part = 0
    for i, obj in enumerate(scene.objects, 1):
        objects[obj.mask] = i
        shapes[obj.mask] = 0
        for mask in obj.parts.values():
            part += 1
            parts[mask] = part
    return Picture(image=image, hw=(height, width), numbers=numbers)


def regions_of(picture: Picture) -> list[list[int]]:
    """The numbers of objects, parts and background shapes that are large enough to ask for."""
    found = []
    for plane in picture.numbers:
        areas = np.bincount(plane.ravel())
        areas[0] = 0
        large = (areas >= MIN_REGION_PX) & (areas < 0.7 * picture.hw[0] * picture.hw[1])
        found.append([int(i) for i in np.flatnonzero(large)])
    return found


def varied(rng: Rng, picture: Picture) -> Picture:
    """The same, perhaps mirrored and in other colours."""
    (height, width), image, numbers = picture.hw, picture.image.copy(), picture.numbers
    shown = image[:height, :width]
    if rng.random() < 0.5:
        shown[:] = shown[:, ::-1].copy()
        numbers = numbers.copy()
        numbers[:, :height, :width] = numbers[:, :height, :width][:, :, ::-1].copy()
    if rng.random() < 0.5:
        shown[:] = shown[..., rng.permutation(3)]
        table = 255 * (np.arange(256) / 255) ** rng.uniform(0.6, 1.6)
        shown[:] = table.astype(np.uint8)[shown]
    return Picture(image=image, hw=picture.hw, numbers=numbers)


def make_batch(rng: Rng, pictures: list[Picture], prompts: int, full_side_px: int) -> PromptBatch:
    """Ask for `prompts` regions of every picture; some twice when there are fewer."""
    rows = [_ask(rng, picture, prompts) for picture in pictures]
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    points, boxes, by_box, hints, hinted, targets, places, inside = map(torch.from_numpy, columns)
    cells = (full_side_px - pictures[0].image.shape[0]) // 16
    return PromptBatch(
        images=np.stack([picture.image for picture in pictures]),
        hws=[picture.hw for picture in pictures],
        points=points,
        boxes=boxes,
        by_box=by_box,
        hints=hints,
        hinted=hinted,
        targets=targets,
        places=places,
        inside=inside,
        offsets=rng.integers(0, cells + 1, (len(pictures), 2)),
    )


class PromptStream(IterableDataset[PromptBatch]):
    """Endless batches; seed and worker decide them all.

    Every picture is shown `shows` times on average, far apart and with other prompts: each new
    one takes the place of one of `kept` before it.
    """

    def __init__(
        self, *, seed: int, side_px: int, full_side_px: int, images: int, prompts: int, shows: int,
        kept: int = 256,
    ) -> None:  # fmt: skip
        self.seed = seed
        self.side_px = side_px
        self.full_side_px = full_side_px
        self.images = images
        self.prompts = prompts
        self.shows = shows
        self.kept = kept

    def __iter__(self) -> Iterator[PromptBatch]:
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, self.side_px, info.id if info else 0])
        kept: list[Picture] = []
        ready: list[Picture] = []
        while True:
            picture = draw_picture(rng, self.side_px, float(rng.random()))
            if not any(regions_of(picture)):
                continue
            if len(kept) < self.kept:
                kept.append(picture)
            else:
                kept[int(rng.integers(self.kept))] = picture
            # the first pictures are few: not yet again and again
            again = min(self.shows - 1, len(kept) * self.shows // self.kept)
            ready += [picture, *(kept[int(rng.integers(len(kept)))] for _ in range(again))]
            while len(ready) >= self.images:
                shown = [varied(rng, picture) for picture in ready[: self.images]]
                ready = ready[self.images :]
                yield make_batch(rng, shown, self.prompts, self.full_side_px)


def _ask(rng: Rng, picture: Picture, prompts: int) -> tuple[NDArray[Any], ...]:
    """The columns of a PromptBatch for one picture."""
    rows: list[_Row] = []
    regions = regions_of(picture)
    weights = np.array([0.6, 0.2, 0.2]) * [len(numbers) > 0 for numbers in regions]
    while len(rows) < prompts:
        plane = int(rng.choice(3, p=weights / weights.sum()))
        number = int(rng.choice(regions[plane]))
        mask = picture.numbers[plane] == number
        if plane == 2:
            mask = _largest_piece(mask)
        rows.append(_prompt(rng, mask, picture.hw))
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _prompt(rng: Rng, mask: BoolMask, hw: tuple[int, int]) -> _Row:
    side = mask.shape[0]
    flat = mask.view(np.uint8)
    x, y, w, h = cv2.boundingRect(flat)
    box = np.array([x, y, x + w, y + h], np.float32)
    rows, columns = np.nonzero(mask[y : y + h, x : x + w])
    pick = int(rng.integers(len(rows)))
    point = np.array([x + columns[pick], y + rows[pick]], np.float32)
    # SAM's jitter: a tenth of the box, at most 20 px
    off = rng.normal(0, 1, 4) * np.minimum(0.1 * np.array([w, h, w, h]), 20)
    noisy = np.clip(box + off, 0, [hw[1], hw[0]] * 2).astype(np.float32)
    noisy[2:] = np.maximum(noisy[2:], noisy[:2] + 2)
    small = (side // 4, side // 4)
    hinted = rng.random() < 0.15
    hint = np.zeros((1, *small), np.float32)
    if hinted:
        hint[0] = _poor(rng, flat)
    target = cv2.resize(255 * flat, small, interpolation=cv2.INTER_AREA) > 127
    places = _places(rng, flat, (x, y, w, h), hw)
    inside = mask[places[:, 1], places[:, 0]].astype(np.float32)
    return (
        point, noisy, np.bool_(rng.random() < 0.4), hint, np.bool_(hinted), target,
        places.astype(np.float32), inside,
    )  # fmt: skip


def _places(
    rng: Rng, flat: NDArray[np.uint8], box: tuple[int, int, int, int], hw: tuple[int, int]
) -> NDArray[np.intp]:
    """Kx2 pixels (x, y): a quarter anywhere, the rest around the object and along its outline."""
    x, y, w, h = box
    margin = 4 + max(w, h) // 4
    low = np.maximum([x - margin, y - margin], 0)
    high = np.minimum([x + w + margin, y + h + margin], [hw[1], hw[0]])
    crop = flat[low[1] : high[1], low[0] : high[0]]
    rim = cv2.morphologyEx(crop, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8))
    rows, columns = np.nonzero(rim)
    n = 3 * PLACES // 8
    anywhere = rng.integers(0, [hw[1], hw[0]], (PLACES - 2 * n, 2))
    around = rng.integers(low, high, (n, 2))
    if not len(rows):
        return np.concatenate([anywhere, around, rng.integers(low, high, (n, 2))])
    pick = rng.integers(len(rows), size=n)
    return np.concatenate([anywhere, around, np.stack([columns[pick], rows[pick]], 1) + low])


def _poor(rng: Rng, flat: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits at a quarter of the size of a mask that is shifted, and too wide or too narrow."""
    side = flat.shape[0] // 4
    small = cv2.resize(flat * 255, (side, side), interpolation=cv2.INTER_AREA)
    reach = 0.08 * float(np.sqrt(cv2.countNonZero(small)))
    kernel = np.ones((int(rng.integers(1, 3 + int(reach))),) * 2, np.uint8)
    small = (cv2.dilate if rng.random() < 0.5 else cv2.erode)(small, kernel)
    dx, dy = rng.normal(0, 0.3 + reach, 2)
    moved = cv2.warpAffine(small, np.array([[1, 0, dx], [0, 1, dy]]), (side, side))
    return np.asarray(HINT_LOGIT * (moved / np.float32(127.5) - 1), np.float32)


def _largest_piece(mask: BoolMask) -> BoolMask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))
