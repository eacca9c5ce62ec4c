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
    shape: Shape | None = None,
    squeeze: float = 1.0,
    plain: bool = False,
) -> Sprite:
    """Draw an object.

    Args:
        short_side_px: of its box, before the squeeze.
        shape: its outline and parts; drawn from the category when missing.
        squeeze: divides the width; the picture an object is meant for is stretched to a square.
        plain: no texture, whatever the dice say.
    """
    shape = shape or SHAPES[category](rng)
    texture = "plain" if plain or rng.random() < 0.35 else str(rng.choice(TEXTURES[1:]))
    height = short_side_px if shape.aspect >= 1 else short_side_px / shape.aspect
    width = height * shape.aspect / squeeze
    return _paint(
        rng, category, colour, texture, shape, max(6, round(height)), max(6, round(width))
    )


def _paint(
    rng: np.random.Generator,
    category: str,
    colour: str,
    texture: str,
    shape: Shape,
    height: int,
    width: int,
) -> Sprite:
    scale = _SUPERSAMPLING if max(height, width) < 60 else 2
    hw = (height * scale, width * scale)
    base = sample_rgb(rng, colour)
    canvas = np.zeros((*hw, 3), np.uint8)
    index = np.zeros(hw, np.uint8)
    cover = np.zeros(hw, np.uint8)
    body = _textured(rng, texture, base, hw)
    names = PARTS.get(category, ())
    tones = {
        tone: _tone(rng, tone, base) for tone in ("dark", "light", "glass", "wood", "skin", "leaf")
    }
    for layer in shape.layers:
        points = np.round(np.array(layer.points) * (hw[1] - 1, hw[0] - 1) * 16).astype(np.int32)
        hole = layer.tone == "none"
        cv2.fillPoly(cover, [points], 0 if hole else 255, cv2.LINE_8, 4)
        part = names.index(layer.part) + 1 if layer.part in names else 0
        cv2.fillPoly(index, [points], part, cv2.LINE_8, 4)
        if layer.tone == "body":
            drawn = np.zeros(hw, np.uint8)
            cv2.fillPoly(drawn, [points], 1, cv2.LINE_8, 4)
            cv2.copyTo(body, drawn, canvas)
        else:
            tone = (0.0, 0.0, 0.0) if hole else tuple(float(v) for v in tones[layer.tone])
            cv2.fillPoly(canvas, [points], tone, cv2.LINE_8, 4)
    facing = ""
    if shape.faces and category != OBJECT:
        facing = "left" if rng.random() < 0.5 else "right"
    if facing == "left":
        canvas, index, cover = (np.ascontiguousarray(a[:, ::-1]) for a in (canvas, index, cover))
    size = (width, height)
    alpha = cv2.resize(cover, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # outside is black, so the mean colour of the inside is the mean over the cover
    mean = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    rgb = np.clip(mean / np.maximum(alpha, 1e-2)[..., None], 0, 255).astype(np.uint8)
    small = cv2.resize(index, size, interpolation=cv2.INTER_NEAREST)
    return Sprite(category, colour, texture, facing, rgb, alpha, small, names)


def _tone(rng: np.random.Generator, tone: str, base: NDArray[np.float32]) -> NDArray[np.float32]:
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
) -> NDArray[np.uint8]:
    """The body's paint: the base colour and a second tone of the same name."""
    if texture == "plain":
        return np.full((*hw, 3), base, np.uint8)
    y = np.arange(hw[0], dtype=np.float32)[:, None]
    x = np.arange(hw[1], dtype=np.float32)[None]
    period = max(6.0, rng.uniform(0.14, 0.3) * min(hw))
    if texture == "striped":
        a = rng.uniform(0, np.pi)
        second = np.sin((x * np.cos(a) + y * np.sin(a)) * 2 * np.pi / period) > 0.1
    elif texture == "dotted":
        second = ((x % period) / period - 0.5) ** 2 + ((y % period) / period - 0.5) ** 2 < 0.07
    elif texture == "checked":
        second = ((x // (period / 2)) + (y // (period / 2))) % 2 == 1
    elif texture == "gradient":
        second = np.broadcast_to((y / hw[0]) * 0.9, hw)
    else:
        coarse = rng.random((max(2, hw[0] // 6), max(2, hw[1] // 6))).astype(np.float32)
        second = cv2.resize(coarse, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)
    shift = 0.72 if base.mean() > 90 else 1.45
    weight = np.asarray(second, np.float32)[..., None]
    return np.clip(base * (1 + weight * (shift - 1)), 0, 255).astype(np.uint8)
