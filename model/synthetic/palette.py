"""The eleven basic colour terms (Berlin and Kay 1969) and the nearest one in CIELAB."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# sRGB prototypes; several for the terms that cover a wide range
_PROTOTYPES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("black", (20, 20, 20)),
    ("white", (245, 245, 245)),
    ("gray", (128, 128, 128)),
    ("gray", (90, 90, 92)),
    ("gray", (175, 175, 175)),
    ("red", (205, 30, 35)),
    ("red", (140, 20, 25)),
    ("orange", (240, 130, 25)),
    ("yellow", (240, 215, 40)),
    ("yellow", (245, 230, 130)),
    ("green", (45, 145, 55)),
    ("green", (130, 195, 70)),
    ("green", (25, 75, 35)),
    ("blue", (35, 80, 200)),
    ("blue", (95, 165, 230)),
    ("blue", (25, 35, 100)),
    ("purple", (125, 50, 160)),
    ("purple", (175, 120, 205)),
    ("pink", (245, 130, 175)),
    ("pink", (250, 190, 205)),
    ("brown", (120, 70, 35)),
    ("brown", (75, 45, 25)),
    ("brown", (165, 115, 75)),
)
COLOURS: tuple[str, ...] = tuple(dict.fromkeys(name for name, _ in _PROTOTYPES))


def to_lab(image_rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 sRGB (... x 3) to CIELAB (L in 0..100), float32."""
    flat = image_rgb.reshape(-1, 1, 3).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)).reshape(image_rgb.shape)


_LAB = to_lab(np.array([rgb for _, rgb in _PROTOTYPES], np.uint8))
_NAMES = np.array([COLOURS.index(name) for name, _ in _PROTOTYPES])


def nearest_colour_index(lab: NDArray[Any]) -> NDArray[np.intp]:
    """Index into COLOURS of the nearest prototype (CIE76 distance) for ... x 3 CIELAB values."""
    distance = ((lab[..., None, :] - _LAB) ** 2).sum(-1)
    return np.asarray(_NAMES[distance.argmin(-1)])


# every sRGB colour at 5 bits a channel, so that pictures are classified by one table look-up
_LEVELS = (np.arange(32) * 8 + 4).astype(np.uint8)
_TABLE = nearest_colour_index(
    to_lab(np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), -1).reshape(-1, 3))
).astype(np.uint8)


def colour_map(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The index into COLOURS of every pixel of a picture (... x 3 to ...)."""
    r, g, b = np.moveaxis(image_rgb.astype(np.uint16) >> 3, -1, 0)
    return np.asarray(_TABLE[(r << 10) | (g << 5) | b])


def colour_counts(image_rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many pixels of a mask are nearest to each of COLOURS."""
    return np.bincount(colour_map(image_rgb[mask]), minlength=len(COLOURS))


def dominant_colour(counts: NDArray[np.intp]) -> str:
    """The basic colour of most pixels, from `colour_counts`.

    Raises:
        ValueError: when nothing was counted.
    """
    if not counts.any():
        raise ValueError("an empty mask has no colour")
    return COLOURS[int(counts.argmax())]


def sample_rgb(rng: np.random.Generator, colour: str) -> NDArray[np.float32]:
    """A random shade of a colour (0..255) that keeps its name 12 % darker and brighter."""
    choices = [rgb for name, rgb in _PROTOTYPES if name == colour]
    index = COLOURS.index(colour)
    for _ in range(20):
        rgb = np.array(choices[int(rng.integers(len(choices)))], np.float32)
        rgb = np.clip(rgb * rng.uniform(0.85, 1.15) + rng.normal(0, 9, 3), 4, 251)
        shades = np.clip(np.stack([rgb * 0.88, rgb, rgb * 1.12]), 0, 255).astype(np.uint8)
        if (nearest_colour_index(to_lab(shades)) == index).all():
            return rgb.astype(np.float32)
    return np.array(choices[0], np.float32)
