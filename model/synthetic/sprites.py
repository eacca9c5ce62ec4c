"""One object drawn with colour, texture and parts, once; scenes and films only place it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.synthetic.palette import sample_rgb
from model.synthetic.shapes import OBJECT, PARTS, SHAPES, Shape

TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted", "checked", "gradient", "noisy")
_SUPERSAMPLING = 3


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object in its own box: RGB uint8, coverage 0..1, and which part every pixel shows
    (0 the body, i + 1 the part `part_names[i]`)."""

    category: str
    colour: str
    texture: str
    facing: str
    rgb: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    part_index: NDArray[np.uint8]
    part_names: tuple[str, ...]


def draw_sprite(
    rng: np.random.Generator,
    category: str,
    colour: str,
    short_side_px: float,
    *,
    squeeze: float = 1.0,
    plain: bool = False,
) -> Sprite:
    """Draw an object.

    Args:
        short_side_px: of its box, before the squeeze.
        squeeze: divides the width; the picture an object is meant for is stretched to a square.
        plain: no texture, whatever the dice say.
    """
    shape = SHAPES[category](rng)
    texture = "plain" if plain or rng.random() < 0.35 else str(rng.choice(TEXTURES[1:]))
    height = short_side_px if shape.aspect >= 1 else short_side_px / shape.aspect
    width = height * shape.aspect / squeeze
    return _paint(rng, category, colour, texture, shape, max(6, round(height)), max(6, round(width)))


def _paint(
    rng: np.random.Generator,
    category: str,
    colour: str,
    texture: str,
    shape: Shape,
    height: int,
    width: int,
) -> Sprite:
    scale = _SUPERSAMPLING if max(height, width) < 200 else 2
    hw = (height * scale, width * scale)
    base = sample_rgb(rng, colour)
    canvas = np.zeros((*hw, 3), np.float32)
    index = np.zeros(hw, np.uint8)
    cover = np.zeros(hw, np.uint8)
    body = _textured(rng, texture, base, hw)
    names = PARTS.get(category, ())
    tones = {tone: _tone(rng, tone, base) for tone in ("dark", "light", "glass", "wood", "skin", "leaf")}
    for layer in shape.layers:
        points = np.round(np.array(layer.points) * (hw[1] - 1, hw[0] - 1) * 16).astype(np.int32)
        drawn = np.zeros(hw, np.uint8)
        cv2.fillPoly(drawn, [points], 1, cv2.LINE_8, 4)
        inside = drawn.astype(bool)
        if layer.tone == "none":
            cover[inside] = 0
            continue
        cover[inside] = 1
        canvas[inside] = body[inside] if layer.tone == "body" else tones[layer.tone]
        index[inside] = names.index(layer.part) + 1 if layer.part in names else 0
    facing = ""
    if shape.faces and category != OBJECT:
        facing = "left" if rng.random() < 0.5 else "right"
    if facing == "left":
        canvas, index, cover = canvas[:, ::-1], index[:, ::-1], cover[:, ::-1]
    size = (width, height)
    alpha = cv2.resize(cover.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    weighted = cv2.resize(canvas * cover[..., None], size, interpolation=cv2.INTER_AREA)
    rgb = np.clip(weighted / np.maximum(alpha, 1e-3)[..., None], 0, 255).astype(np.uint8)
    small = cv2.resize(np.ascontiguousarray(index), size, interpolation=cv2.INTER_NEAREST)
    return Sprite(category, colour, texture, facing, rgb, alpha, small, names)


def _tone(
    rng: np.random.Generator, tone: str, base: NDArray[np.float32]
) -> NDArray[np.float32]:
    rgb = {
        "dark": (35, 35, 40), "light": (235, 232, 222), "glass": (170, 205, 225),
        "wood": (115, 75, 45), "skin": (224, 172, 135), "leaf": (60, 130, 55),
    }[tone]  # fmt: skip
    tint = np.clip(np.array(rgb, np.float32) + rng.normal(0, 10, 3), 0, 255)
    if np.abs(tint - base).sum() < 110:  # a part has to stand out from its body
        tint = tint * 0.5 if tint.mean() > 128 else tint * 0.5 + 120
    return np.asarray(tint, np.float32)


def _textured(
    rng: np.random.Generator, texture: str, base: NDArray[np.float32], hw: tuple[int, int]
) -> NDArray[np.float32]:
    """The body's paint: the base colour and a second tone of the same name."""
    y, x = np.mgrid[0 : hw[0], 0 : hw[1]].astype(np.float32)
    period = max(6.0, rng.uniform(0.14, 0.3) * min(hw))
    if texture == "striped":
        a = rng.uniform(0, np.pi)
        second = np.sin((x * np.cos(a) + y * np.sin(a)) * 2 * np.pi / period) > 0.1
    elif texture == "dotted":
        second = ((x % period) / period - 0.5) ** 2 + ((y % period) / period - 0.5) ** 2 < 0.07
    elif texture == "checked":
        second = ((x // (period / 2)) + (y // (period / 2))) % 2 == 1
    elif texture == "gradient":
        second = (y / hw[0]) * 0.9
    elif texture == "noisy":
        coarse = rng.random((max(2, hw[0] // 6), max(2, hw[1] // 6))).astype(np.float32)
        second = cv2.resize(coarse, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)
    else:
        second = np.zeros(hw)
    shift = 0.72 if base.mean() > 90 else 1.45
    weight = np.asarray(second, np.float32)[..., None]
    return np.asarray(np.clip(base * (1 - weight + weight * shift), 0, 255), np.float32)
