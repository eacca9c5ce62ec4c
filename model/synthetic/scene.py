"""A picture of several objects with exact masks and what is true of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from model.synthetic.backdrop import backdrop, degrade, leaves, light
from model.synthetic.captions import place_word, size_word
from model.synthetic.palette import COLOURS, colour_map, dominant_colour
from model.synthetic.shapes import CATEGORIES, OBJECT, SHAPES
from model.synthetic.sprites import Sprite, draw_sprite
from model.synthetic.strangers import stranger

BoolMask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneObject:
    """A region with what is true of it in the picture as rendered.

    `mask` is HxW, its visible pixels; `colours` how many of them are nearest to each of COLOURS;
    `parts` the visible pixels of its named parts; `visible_fraction` the share of its outline that
    is neither hidden nor outside.
    """

    mask: BoolMask
    colours: NDArray[np.intp]
    category: str
    size: str
    place: str
    texture: str = ""
    facing: str = ""
    parts: dict[str, BoolMask] = field(default_factory=dict)
    visible_fraction: float = 1.0

    @property
    def colour(self) -> str:
        """The basic colour of most of its pixels."""
        return dominant_colour(self.colours)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A picture, HxWx3 uint8 RGB, and its objects, the farthest first.

    `colours` is HxW, the index into COLOURS of every pixel; `leaves` HxW, the number of the shape
    of the background that every pixel shows, when the background is made of shapes.
    """

    image: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    objects: tuple[SceneObject, ...]
    leaves: NDArray[np.int32] | None

    def colours_of(self, mask: BoolMask) -> NDArray[np.intp]:
        """How many pixels of a mask are nearest to each of COLOURS."""
        return np.bincount(self.colours[mask], minlength=len(COLOURS))


def size_and_place(mask: BoolMask) -> tuple[str, str]:
    """Size and place words of a mask that is not empty."""
    height, width = mask.shape
    m = cv2.moments(mask.view(np.uint8), binaryImage=True)
    place = place_word((m["m10"] / m["m00"] + 0.5) / width, (m["m01"] / m["m00"] + 0.5) / height)
    return size_word(m["m00"] / mask.size), place


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
    numbers = None
    if rng.random() < 0.4:
        image, numbers = leaves(rng, height_px, width_px)
    else:
        image = backdrop(rng, height_px, width_px, difficulty)
    owner = np.full((height_px, width_px), -1, np.int16)
    part = np.zeros((height_px, width_px), np.uint8)
    sprites: list[Sprite] = []
    outlines: list[int] = []
    low, high = short_side_px
    for _ in range(n_objects):
        # colours and categories are drawn evenly; a quarter is nothing in particular
        category = OBJECT if rng.random() < 0.25 else str(rng.choice(CATEGORIES[:-1]))
        draw_shape = stranger if category == OBJECT and rng.random() < 0.55 else SHAPES[category]
        side = float(low * (high / low) ** rng.random())
        sprite = draw_sprite(
            rng,
            category,
            str(rng.choice(COLOURS)),
            side,
            shape=draw_shape(rng),
            squeeze=squeeze,
            plain=rng.random() > difficulty + 0.2,
        )
        h, w = sprite.alpha.shape
        if min(h, w) < 6:
            continue
        tilt = float(rng.normal(0, 7 * difficulty))
        free = None
        for _ in range(4):
            top = int(rng.integers(-h // 6, max(1, height_px - h)))
            left = int(rng.integers(-w // 6, max(1, width_px - w)))
            if not _crowded(owner, top, left, (h, w), 0.15 + 0.3 * difficulty):
                free = (left, top)
                break
        if free is None:
            continue
        sprites.append(sprite)
        outlines.append(paste(image, owner, part, sprite, len(sprites) - 1, *free, tilt))
    out = degrade(rng, light(rng, image, difficulty), difficulty)
    scene = Scene(image=out, colours=colour_map(out), objects=(), leaves=numbers)
    objects = []
    for i, sprite in enumerate(sprites):
        mask = owner == i
        if mask.sum() >= 12:
            objects.append(_described(scene, mask, part, sprite, outlines[i]))
    return replace(scene, objects=tuple(objects))


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
    scene: Scene, mask: BoolMask, part: NDArray[np.uint8], sprite: Sprite, outline: int
) -> SceneObject:
    size, place = size_and_place(mask)
    parts = {name: mask & (part == i + 1) for i, name in enumerate(sprite.part_names)}
    return SceneObject(
        mask=mask,
        colours=scene.colours_of(mask),
        category=sprite.category,
        size=size,
        place=place,
        texture=sprite.texture,
        facing=sprite.facing,
        parts={name: pixels for name, pixels in parts.items() if pixels.any()},
        visible_fraction=float(mask.sum() / max(1, outline)),
    )


def negatives(rng: np.random.Generator, scene: Scene, n: int) -> list[SceneObject]:
    """Up to `n` regions that are nothing in particular: "object", with colour, size and place.

    They are shapes of the background, patches of like colour as a segmenter finds them, unions of
    two objects, masks beside their object, and random polygons. No object has an IoU of 0.35 or
    more with any of them.
    """
    taken = np.zeros(scene.colours.shape, bool)
    for obj in scene.objects:
        taken |= obj.mask
    smooth = cv2.medianBlur(scene.image, 5)
    found: list[SceneObject] = []
    for _ in range(3 * n):
        if len(found) == n:
            break
        mask = _negative(rng, scene, taken, smooth)
        if mask.sum() >= 40 and all(_iou(mask, o.mask) < 0.35 for o in scene.objects):
            size, place = size_and_place(mask)
            found.append(
                SceneObject(
                    mask=mask,
                    colours=scene.colours_of(mask),
                    category=OBJECT,
                    size=size,
                    place=place,
                )
            )
    return found


def _negative(
    rng: np.random.Generator, scene: Scene, taken: BoolMask, smooth: NDArray[np.uint8]
) -> BoolMask:
    height, width = taken.shape
    kind = rng.random()
    y, x = int(rng.integers(height)), int(rng.integers(width))
    if kind < 0.65 and not taken[y, x]:
        if scene.leaves is not None and kind < 0.4:
            return np.asarray((scene.leaves == scene.leaves[y, x]) & ~taken)
        patch = np.zeros((height + 2, width + 2), np.uint8)
        cv2.floodFill(
            smooth, patch, (x, y), (0, 0, 0), (8,) * 3, (8,) * 3,
            4 | cv2.FLOODFILL_MASK_ONLY | (1 << 8),
        )  # fmt: skip
        patch = cv2.morphologyEx(patch[1:-1, 1:-1], cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        return np.asarray((patch > 0) & ~taken)
    if kind < 0.75 and len(scene.objects) >= 2:
        a, b = rng.choice(len(scene.objects), 2, replace=False)
        return np.asarray(scene.objects[a].mask | scene.objects[b].mask)
    if kind < 0.85 and scene.objects:
        obj = scene.objects[int(rng.integers(len(scene.objects)))]
        dy, dx = (int(v) for v in rng.integers(-height // 4, height // 4 + 1, 2))
        return np.asarray(np.roll(obj.mask, (dy, dx), (0, 1)))
    angles = np.sort(rng.uniform(0, 6.283, int(rng.integers(4, 10))))
    radius = rng.uniform(0.03, 0.25) * width * rng.uniform(0.5, 1, len(angles))
    points = (x, y) + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    drawn = np.zeros((height, width), np.uint8)
    cv2.fillPoly(drawn, [points.astype(np.int32)], 1)
    return np.asarray(drawn > 0)


def _iou(a: BoolMask, b: BoolMask) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
