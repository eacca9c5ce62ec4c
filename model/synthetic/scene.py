"""A picture of several objects with exact masks and what is true of each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.synthetic.backdrop import backdrop, degrade, light
from model.synthetic.captions import place_word, size_word
from model.synthetic.palette import COLOURS, dominant_colour
from model.synthetic.shapes import CATEGORIES, OBJECT
from model.synthetic.sprites import Sprite, draw_sprite

BoolMask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneObject:
    """A region with what is true of it in the picture as rendered.

    `mask` is HxW, its visible pixels; `parts` the visible pixels of its named parts;
    `visible_fraction` the share of its outline that is neither hidden nor outside.
    """

    mask: BoolMask
    category: str
    colour: str
    size: str
    place: str
    texture: str
    facing: str
    parts: dict[str, BoolMask]
    visible_fraction: float

    @classmethod
    def negative(cls, image: NDArray[np.uint8], mask: BoolMask) -> SceneObject:
        """A region that is nothing in particular: "object", with its colour, size and place."""
        size, place = size_and_place(mask)
        return cls(
            mask=mask, category=OBJECT, colour=dominant_colour(image, mask), size=size,
            place=place, texture="", facing="", parts={}, visible_fraction=1.0,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """HxWx3 uint8 RGB and its objects, the farthest first."""

    image: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]


def size_and_place(mask: BoolMask) -> tuple[str, str]:
    """Size and place words of a mask that is not empty."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    place = place_word((columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height)
    return size_word(len(rows) / mask.size), place


def sample_scene(
    rng: np.random.Generator,
    height_px: int,
    width_px: int,
    *,
    difficulty: float,
    n_objects: int,
    short_side_px: tuple[float, float],
    squeeze: float = 1.0,
) -> Scene:
    """Draw a scene.

    Args:
        difficulty: 0..1; clutter, light, blur, noise, tilt, occlusion.
        short_side_px: least and greatest short side of an object, log-uniform.
        squeeze: how much narrower everything is than it should be (16/9 for a wide picture
            stretched to a square).
    """
    image = backdrop(rng, height_px, width_px, difficulty)
    owner = np.full((height_px, width_px), -1, np.int16)
    part = np.zeros((height_px, width_px), np.uint8)
    sprites: list[Sprite] = []
    outlines: list[int] = []
    low, high = short_side_px
    for _ in range(n_objects):
        # colours and categories are drawn evenly; a quarter is nothing in particular
        category = OBJECT if rng.random() < 0.22 else str(rng.choice(CATEGORIES[:-1]))
        colour = str(rng.choice(COLOURS))
        side = float(low * (high / low) ** rng.random())
        sprite = draw_sprite(
            rng, category, colour, side, squeeze=squeeze, plain=rng.random() > difficulty + 0.2
        )
        if min(sprite.alpha.shape) < 6:
            continue
        tilt = float(rng.normal(0, 7 * difficulty))
        top = int(
            rng.integers(-sprite.alpha.shape[0] // 6, max(1, height_px - sprite.alpha.shape[0]))
        )
        left = int(
            rng.integers(-sprite.alpha.shape[1] // 6, max(1, width_px - sprite.alpha.shape[1]))
        )
        if _crowded(owner, top, left, sprite.alpha.shape, 0.15 + 0.3 * difficulty):
            continue
        sprites.append(sprite)
        outlines.append(paste(image, owner, part, sprite, len(sprites) - 1, left, top, tilt))
    out = degrade(rng, light(rng, image, difficulty), difficulty)
    objects = []
    for i, sprite in enumerate(sprites):
        mask = owner == i
        if mask.sum() >= 12:
            objects.append(_described(out, mask, part, sprite, outlines[i]))
    return Scene(image=out, objects=tuple(objects))


def paste(
    image: NDArray[np.float32],
    owner: NDArray[np.int16],
    part: NDArray[np.uint8],
    sprite: Sprite,
    key: int,
    left: float,
    top: float,
    tilt_deg: float = 0.0,
) -> int:
    """Lay a sprite over a picture, in place.

    Pixels it covers by half or more become `key` in `owner` and its part index in `part`.

    Returns:
        The number of pixels of its whole outline, hidden and outside ones included.
    """
    h, w = sprite.alpha.shape
    margin = int(0.2 * max(h, w)) + 2 if tilt_deg else 1
    size = (w + 2 * margin, h + 2 * margin)
    x, y = int(np.floor(left)) - margin, int(np.floor(top)) - margin
    turn = cv2.getRotationMatrix2D((w / 2, h / 2), tilt_deg, 1.0)
    turn[:, 2] += (left - x, top - y)
    alpha = cv2.warpAffine(sprite.alpha, turn, size, flags=cv2.INTER_LINEAR)
    outline = int((alpha >= 0.5).sum())
    y0, y1 = max(0, y), min(image.shape[0], y + size[1])
    x0, x1 = max(0, x), min(image.shape[1], x + size[0])
    if y0 >= y1 or x0 >= x1:
        return outline
    rgb = cv2.warpAffine(
        sprite.rgb, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    index = cv2.warpAffine(sprite.part_index, turn, size, flags=cv2.INTER_NEAREST)
    inside = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
    cover = alpha[inside][..., None]
    window = image[y0:y1, x0:x1]
    window += cover * (rgb[inside] - window)
    hit = alpha[inside] >= 0.5
    owner[y0:y1, x0:x1][hit] = key
    part[y0:y1, x0:x1][hit] = index[inside][hit]
    return outline


def _crowded(
    owner: NDArray[np.int16], top: int, left: int, hw: tuple[int, ...], limit: float
) -> bool:
    window = owner[max(0, top) : top + hw[0], max(0, left) : left + hw[1]]
    return bool(window.size == 0 or (window >= 0).mean() > limit)


def _described(
    image: NDArray[np.uint8], mask: BoolMask, part: NDArray[np.uint8], sprite: Sprite, outline: int
) -> SceneObject:
    size, place = size_and_place(mask)
    parts = {name: mask & (part == i + 1) for i, name in enumerate(sprite.part_names)}
    return SceneObject(
        mask=mask,
        category=sprite.category,
        colour=dominant_colour(image, mask),
        size=size,
        place=place,
        texture=sprite.texture,
        facing=sprite.facing,
        parts={name: pixels for name, pixels in parts.items() if pixels.any()},
        visible_fraction=float(mask.sum() / max(1, outline)),
    )


def negative_masks(rng: np.random.Generator, scene: Scene, n: int) -> list[BoolMask]:
    """Masks that are not an object: random polygons, unions of two objects, masks beside theirs.

    No object has an IoU of 0.35 or more with any of them.
    """
    height, width = scene.image.shape[:2]
    masks: list[BoolMask] = []
    for _ in range(4 * n):
        if len(masks) == n:
            break
        kind = rng.random()
        mask = np.zeros((height, width), bool)
        if kind < 0.25 and len(scene.objects) >= 2:
            a, b = rng.choice(len(scene.objects), 2, replace=False)
            mask = scene.objects[a].mask | scene.objects[b].mask
        elif kind < 0.5 and scene.objects:
            obj = scene.objects[int(rng.integers(len(scene.objects)))]
            dy, dx = (int(v) for v in rng.integers(-height // 4, height // 4 + 1, 2))
            mask = np.roll(obj.mask, (dy, dx), (0, 1))
        else:
            angles = np.sort(rng.uniform(0, 6.283, int(rng.integers(4, 10))))
            radius = rng.uniform(0.03, 0.25) * width * rng.uniform(0.5, 1, len(angles))
            centre = rng.uniform(0.1, 0.9, 2) * (width, height)
            points = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
            drawn = np.zeros((height, width), np.uint8)
            cv2.fillPoly(drawn, [points.astype(np.int32)], 1)
            mask = drawn.astype(bool)
        if mask.sum() >= 40 and all(_iou(mask, o.mask) < 0.35 for o in scene.objects):
            masks.append(mask)
    return masks


def _iou(a: BoolMask, b: BoolMask) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
