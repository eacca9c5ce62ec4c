"""What lies behind the objects, and light, blur and noise over the whole picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Labels = NDArray[np.int32]


def backdrop(rng: np.random.Generator, height_px: int, width_px: int, clutter: float) -> Image:
    """A background, HxWx3 float32 in 0..255; `clutter` 0..1 raises its contrast and detail."""
    y = np.linspace(0, 1, height_px, dtype=np.float32)[:, None, None]
    top, bottom = _muted(rng), _muted(rng)
    image = np.broadcast_to(top + (bottom - top) * y, (height_px, width_px, 3)).copy()
    if rng.random() < 0.5:  # sky and ground
        line = int(height_px * rng.uniform(0.3, 0.7))
        image[line:] = _muted(rng) * (0.85 + 0.3 * y[line:])
    kind = rng.random()
    strength = 8 + 34 * clutter
    for octave in range(4):
        side = 3 * 2**octave
        weight = strength * rng.uniform(0.3, 1) / (1 + 0.6 * octave)
        image += weight * _noise(rng, side, height_px, width_px, coloured=kind < 0.6)
    if clutter > 0.3 and rng.random() < 0.35:
        image += strength * 0.6 * _stripes(rng, height_px, width_px)
    if clutter > 0.3 and rng.random() < 0.4:
        image = _patches(rng, image, clutter)
    return np.asarray(np.clip(image, 0, 255), np.float32)


def leaves(rng: np.random.Generator, height_px: int, width_px: int) -> tuple[Image, Labels]:
    """A background of overlapping shapes of all sizes in a few related colours.

    The "dead leaves" model, whose statistics come close to those of photographs (Lee, Mumford and
    Huang 2001, "Occlusion models for natural images").

    Returns:
        HxWx3 float32 in 0..255, and HxW int32 with the number of the shape that every pixel shows.
    """
    image = np.full((height_px, width_px, 3), _muted(rng), np.float32)
    labels = np.zeros((height_px, width_px), np.int32)
    hues = np.stack([_muted(rng) for _ in range(4)] + [rng.uniform(10, 250, 3)])
    unit = min(height_px, width_px)
    n = int(rng.integers(25, 90))
    sides = np.sort((0.03 * (0.5 / 0.03) ** (rng.random(n) ** 2)) * unit)[::-1]
    for number, side in enumerate(sides, 1):
        colour = hues[int(rng.integers(5))] + rng.normal(0, 22, 3)
        points = _leaf(rng, float(side)) + rng.uniform(0, 1, 2) * (width_px, height_px)
        for plane, value in ((image, tuple(np.clip(colour, 5, 250))), (labels, (number,))):
            cv2.fillPoly(plane, [points.astype(np.int32)], tuple(float(v) for v in value))
    image += rng.uniform(4, 26) * _noise(rng, unit // 8, height_px, width_px, coloured=False)
    image += rng.uniform(0, 20) * _noise(rng, 6, height_px, width_px, coloured=True)
    if rng.random() < 0.3:
        image += rng.uniform(5, 25) * _stripes(rng, height_px, width_px)
    return np.asarray(np.clip(image, 0, 255), np.float32), labels


def _leaf(rng: np.random.Generator, side: float) -> NDArray[np.float64]:
    """Points around the origin: an ellipse, a bar, a polygon or a smooth outline."""
    kind, turn = rng.random(), rng.uniform(0, np.pi)
    if kind < 0.35:  # bars: lane markings, poles, shelves
        flat = rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.3, 1)])
        points = side * np.array([(-1, -flat), (1, -flat), (1, flat), (-1, flat)]) / 1.4
        turn = rng.choice([0, np.pi / 2, turn])
    elif kind < 0.6:
        angles = np.sort(rng.uniform(0, 6.283, int(rng.integers(3, 8))))
        points = side * np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        angles = np.linspace(0, 6.283, 24, endpoint=False)
        radius = 1 + (kind > 0.8) * 0.35 * np.sin(angles * int(rng.integers(2, 5)) + turn)
        points = side * np.stack([np.cos(angles), rng.uniform(0.3, 1) * np.sin(angles)], 1)
        points *= radius[:, None] / 1.4
    spin = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return np.asarray(points @ spin.T)


def _muted(rng: np.random.Generator) -> Image:
    grey = rng.uniform(45, 220)
    return np.asarray(np.clip(grey + rng.normal(0, 26, 3), 15, 245), np.float32)


def _noise(
    rng: np.random.Generator, side: int, height: int, width: int, *, coloured: bool
) -> Image:
    grid = rng.normal(0, 0.6, (side, side * 2, 3 if coloured else 1)).astype(np.float32)
    wide = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(wide if coloured else wide.reshape(height, width, 1), np.float32)


def _stripes(rng: np.random.Generator, height: int, width: int) -> Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    a, period = rng.uniform(0, np.pi), rng.uniform(10, 60)
    return np.asarray(
        np.sin((x * np.cos(a) + y * np.sin(a)) * 6.283 / period)[..., None], np.float32
    )


def _patches(rng: np.random.Generator, image: Image, clutter: float) -> Image:
    """Flat patches with straight edges, as of walls, doors and fields."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(2, 4 + int(6 * clutter)))):
        centre = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(0.05, 0.3) * width
        n = int(rng.integers(3, 7))
        angles = np.sort(rng.uniform(0, 6.283, n))
        points = centre + size * np.stack([np.cos(angles), np.sin(angles)], 1)
        layer = image.copy()
        cv2.fillPoly(layer, [points.astype(np.int32)], tuple(float(v) for v in _muted(rng)))
        image = cv2.addWeighted(image, 0.5, layer, 0.5, 0)
    return image


def light(rng: np.random.Generator, image: Image, strength: float) -> Image:
    """A smooth gain over the picture and a mild colour cast."""
    height, width = image.shape[:2]
    corner = 1 + rng.uniform(-0.22, 0.22, (2, 2)).astype(np.float32) * strength
    gain = cv2.resize(corner, (width, height), interpolation=cv2.INTER_LINEAR)
    cast = 1 + rng.normal(0, 0.02 * strength, 3).astype(np.float32)
    return np.asarray(image * gain[..., None] * cast, np.float32)


def degrade(rng: np.random.Generator, image: Image, strength: float) -> NDArray[np.uint8]:
    """Blur, noise and compression as a camera would leave them; HxWx3 uint8."""
    if rng.random() < 0.4:  # paler or richer, and another contrast
        grey = image.mean(2, keepdims=True)
        image = grey + rng.uniform(1 - 0.6 * strength, 1 + 0.3 * strength) * (image - grey)
        image = 128 + rng.uniform(1 - 0.4 * strength, 1 + 0.2 * strength) * (image - 128)
    if rng.random() < 0.5 * strength:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.4 + strength))
    deviation = np.float32(1 + 7 * strength * rng.random())
    image = image + deviation * rng.standard_normal(image.shape, dtype=np.float32)
    out = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.2 + 0.4 * strength:
        quality = int(rng.integers(45, 90))
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out
