"""A scroll of any length, drawn block by block, and the truth of every object on it.

Objects stand apart on a ground that changes along the way. Nothing but one block is ever held: the
picture is written as a pyramid TIFF from blocks on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from model.synthetic.backdrop import backdrop
from model.synthetic.palette import COLOURS, colour_counts, dominant_colour
from model.synthetic.scene import paste
from model.synthetic.shapes import CATEGORIES, OBJECT
from model.synthetic.sprites import Sprite, draw_sprite

BoolMask = NDArray[np.bool_]
_BLEND_PX = 512
_GAP_PX = 12


@dataclass(frozen=True, kw_only=True)
class ScrollObject:
    """An object: its number from 1 on, where its sprite's box lies, and what it is. The sprite
    itself is drawn from the scroll's seed when it is wanted."""

    object_id: int
    left_px: int
    top_px: int
    width_px: int
    height_px: int
    short_side_px: float
    category: str
    colour: str


class Scroll:
    """A scroll decided by its seed.

    Args:
        seed: any int of at least 0.
        width_px, height_px: of the picture.
        objects: how many; fewer come to lie on it where there is no room.
        short_side_px: least and greatest short side of an object, log-uniform; by default 3 % and
            16 % of the height.
        block_px: width of what is drawn at a time.
    """

    def __init__(
        self,
        seed: int,
        *,
        width_px: int,
        height_px: int,
        objects: int,
        short_side_px: tuple[float, float] | None = None,
        block_px: int = 2048,
    ) -> None:
        if min(width_px, height_px) < 64 or block_px < 2 * _BLEND_PX:
            raise ValueError(f"a scroll of {width_px}x{height_px} px: sides of at least 64")
        self.seed = seed
        self.width_px = width_px
        self.height_px = height_px
        self.block_px = block_px
        self.wanted = objects
        self.short_side_px = short_side_px or (0.03 * height_px, 0.16 * height_px)
        self._ground = lru_cache(3)(self._draw_ground)
        self._sprite = lru_cache(64)(self._draw_sprite)

    @property
    def n_blocks(self) -> int:
        return -(-self.width_px // self.block_px)

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The picture from left to right: height x up to `block_px` x 3 uint8 RGB each."""
        return (self.block(index) for index in range(self.n_blocks))

    def block(self, index: int) -> NDArray[np.uint8]:
        """A block by its index; the same at every call."""
        x0 = index * self.block_px
        width = min(self.block_px, self.width_px - x0)
        image = self._ground(index)[:, : self.block_px].copy()
        if index:  # the ground of the block before fades out over this one
            weight = np.linspace(1, 0, _BLEND_PX, dtype=np.float32)[None, :, None]
            tail = self._ground(index - 1)[:, self.block_px :]
            image[:, :_BLEND_PX] += weight * (tail - image[:, :_BLEND_PX])
        image = np.ascontiguousarray(image[:, :width])
        owner = np.full(image.shape[:2], -1, np.int16)
        part = np.zeros(image.shape[:2], np.uint8)
        for obj in self.objects:
            if obj.left_px < x0 + width + 2 and obj.left_px + obj.width_px > x0 - 2:
                sprite = self._sprite(obj.object_id)
                paste(image, owner, part, sprite, 0, obj.left_px - x0, obj.top_px)
        rng = np.random.default_rng([self.seed, 93, index])
        image += np.float32(rng.uniform(1, 3)) * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image, 0, 255).astype(np.uint8)

    def mask(self, obj: ScrollObject) -> BoolMask:
        """The object's pixels in its own box (`height_px` x `width_px`)."""
        return self._sprite(obj.object_id).alpha >= 0.5

    @cached_property
    def objects(self) -> tuple[ScrollObject, ...]:
        """All objects from left to right; their boxes keep apart."""
        rng = np.random.default_rng([self.seed, 91])
        slot = self.width_px / max(1, self.wanted)
        low, high = self.short_side_px
        placed: list[ScrollObject] = []
        for i in range(self.wanted):
            number = len(placed) + 1
            category = OBJECT if rng.random() < 0.2 else str(rng.choice(CATEGORIES[:-1]))
            side = float(low * (high / low) ** rng.random())
            x = float(i * slot + rng.uniform(0, slot))
            colour = str(rng.choice(self._free_colours(int(x // self.block_px))))
            sprite = self._drawn(number, category, colour, side)
            h, w = sprite.alpha.shape
            if w + 8 > self.width_px or h + 8 > self.height_px:
                continue
            for _ in range(12):
                left = int(np.clip(x - w / 2 + rng.normal(0, slot), 4, self.width_px - w - 4))
                top = int(rng.integers(4, self.height_px - h - 3))
                recent = placed[-80:]
                if all(_apart((left, top, w, h), other) for other in recent):
                    placed.append(
                        ScrollObject(
                            object_id=number, left_px=left, top_px=top, width_px=w, height_px=h,
                            short_side_px=side, category=category, colour=colour,
                        )
                    )  # fmt: skip
                    break
        return tuple(placed)

    def _draw_sprite(self, object_id: int) -> Sprite:
        obj = self.objects[object_id - 1]
        return self._drawn(object_id, obj.category, obj.colour, obj.short_side_px)

    def _drawn(self, object_id: int, category: str, colour: str, side: float) -> Sprite:
        rng = np.random.default_rng([self.seed, 92, object_id])
        return draw_sprite(rng, category, colour, side)

    def _draw_ground(self, index: int) -> NDArray[np.float32]:
        """A block's ground and what of it fades into the next block; drawn at half the size."""
        rng = np.random.default_rng([self.seed, 90, index])
        width = self.block_px + _BLEND_PX
        half = backdrop(rng, -(-self.height_px // 2), width // 2, rng.uniform(0.1, 0.4))
        full = cv2.resize(half, (width, self.height_px), interpolation=cv2.INTER_LINEAR)
        return np.asarray(full, np.float32)

    def _free_colours(self, index: int) -> list[str]:
        """Colours that a block's ground has little of: nobody can find gray things on gray."""
        if (cached := self._free.get(index)) is None:
            thumb = np.ascontiguousarray(self._ground(index)[::8, ::8]).astype(np.uint8)
            counts = colour_counts(thumb, np.ones(thumb.shape[:2], bool))
            free = [c for i, c in enumerate(COLOURS) if counts[i] < 0.04 * counts.sum()]
            cached = self._free[index] = free or list(COLOURS)
        return cached

    @cached_property
    def _free(self) -> dict[int, list[str]]:
        return {}


def write_scroll(
    scroll: Scroll, path: Path, on_progress: Callable[[float], None] | None = None
) -> dict[str, Any]:
    """Write the picture as a tiled pyramid TIFF.

    Returns:
        The truth as JSON data: for every object its box in canvas pixels, its mask (COCO
        run-length code of the box), category, and the colour that most of its pixels have.

    Raises:
        OSError: when the file cannot be written.
    """
    import pyvips

    counts = {obj.object_id: np.zeros(len(COLOURS), np.intp) for obj in scroll.objects}
    with tempfile.TemporaryDirectory(prefix="scroll-", dir=path.parent) as folder:
        files = []
        for index, block in enumerate(scroll.blocks()):
            _count_colours(scroll, index * scroll.block_px, block, counts)
            files.append(str(Path(folder) / f"{index}.tif"))
            image = pyvips.Image.new_from_array(block).copy(interpretation="srgb")
            image.tiffsave(files[-1], tile=True, tile_width=256, tile_height=256)
            if on_progress is not None:
                on_progress(0.8 * (index + 1) / scroll.n_blocks)
        blocks = [pyvips.Image.new_from_file(file) for file in files]
        # blocks have one width; the last one is filled up and the filling cut off
        joined = pyvips.Image.arrayjoin(blocks, across=len(blocks), hspacing=scroll.block_px)
        whole = joined.crop(0, 0, scroll.width_px, scroll.height_px)
        whole.tiffsave(
            str(path), tile=True, tile_width=256, tile_height=256, pyramid=True,
            compression="jpeg", Q=92, bigtiff=True,
        )  # fmt: skip
    return {
        "format": "streamer-scroll-truth/1",
        "seed": scroll.seed,
        "width_px": scroll.width_px,
        "height_px": scroll.height_px,
        "vocabulary": {"categories": list(CATEGORIES), "colours": list(COLOURS)},
        "objects": [_truth(scroll, obj, counts[obj.object_id]) for obj in scroll.objects],
    }


def _count_colours(
    scroll: Scroll, x0: int, block: NDArray[np.uint8], counts: dict[int, NDArray[np.intp]]
) -> None:
    for obj in scroll.objects:
        left, right = max(obj.left_px, x0), min(obj.left_px + obj.width_px, x0 + block.shape[1])
        if left < right:
            inside = scroll.mask(obj)[:, left - obj.left_px : right - obj.left_px]
            pixels = block[obj.top_px : obj.top_px + obj.height_px, left - x0 : right - x0]
            if inside.any():
                counts[obj.object_id] += colour_counts(pixels, inside)


def _truth(scroll: Scroll, obj: ScrollObject, counts: NDArray[np.intp]) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(scroll.mask(obj), np.uint8))
    x, y = obj.left_px, obj.top_px
    return {
        "object_id": obj.object_id,
        "category": obj.category,
        "colour": dominant_colour(counts) if counts.any() else obj.colour,
        "box_xyxy": [x, y, x + obj.width_px, y + obj.height_px],
        "mask": {"size": [obj.height_px, obj.width_px], "counts": code["counts"].decode("ascii")},
    }


def _apart(box_xywh: tuple[int, int, int, int], other: ScrollObject) -> bool:
    x, y, w, h = box_xywh
    return (
        x + w + _GAP_PX <= other.left_px
        or other.left_px + other.width_px + _GAP_PX <= x
        or y + h + _GAP_PX <= other.top_px
        or other.top_px + other.height_px + _GAP_PX <= y
    )
