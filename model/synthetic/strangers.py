"""Shapes that are nothing of this world, so that "object" is learned as widely as it is meant.

A model that has only seen its own categories takes everything for one of them. These outlines and
their panels, bands and holes stand for what real pictures hold besides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.synthetic.shapes import CATEGORIES, SHAPES, Layer, Rng, Shape, box, oval

Points = NDArray[np.float64]
_TONES = ("dark", "light", "wood", "glass")


def stranger(rng: Rng) -> Shape:
    """One of the kinds below."""
    return _KINDS[int(rng.integers(len(_KINDS)))](rng)


def jumble(rng: Rng) -> Shape:
    """Made of parts: layers of several categories thrown together."""
    donors = [CATEGORIES[int(i)] for i in rng.integers(len(CATEGORIES) - 1, size=3)]
    pool = [layer for name in donors for layer in SHAPES[name](rng).layers]
    layers = [box("body", "body", *sorted(rng.uniform(0, 0.4, 2)), *sorted(rng.uniform(0.6, 1, 2)))]
    for i in rng.choice(len(pool), min(len(pool), int(rng.integers(3, 7))), replace=False):
        points = np.array(pool[i].points)
        centre = points.mean(0)
        moved = (points - centre) * rng.uniform(0.8, 1.6) + rng.uniform(0.25, 0.75, 2)
        tone = "body" if rng.random() < 0.5 else pool[i].tone
        layers.append(_layer("patch", tone, np.clip(moved, 0, 1)))
    return Shape(tuple(layers), rng.uniform(0.6, 1.7))


def _turned(rng: Rng) -> Shape:
    """Symmetric about its axis, as if turned on a lathe: bottles, lamps, posts, pins."""
    n = int(rng.integers(3, 8))
    y = np.concatenate([[0.0], np.sort(rng.uniform(0, 1, n)), [1.0]])
    radius = rng.uniform(0.12, 0.5, n + 2)
    if rng.random() < 0.6:  # smooth
        fine = np.linspace(0, 1, 24)
        radius, y = np.interp(fine, y, radius), fine
        radius = _smooth(radius, 5)
    right, left = np.stack([0.5 + radius, y], 1), np.stack([0.5 - radius, y], 1)
    layers = [_layer("body", "body", _unit(np.concatenate([right, left[::-1]])))]
    for _ in range(int(rng.integers(0, 3))):  # a cap, a label, a band
        top = rng.uniform(0, 0.9)
        layers.append(box("patch", _tone(rng), 0.3, top, 0.7, top + rng.uniform(0.05, 0.2)))
    return Shape(tuple(layers), rng.uniform(0.3, 0.9))


def _panelled(rng: Rng) -> Shape:
    """A many-cornered plate with panels: machines, signs, boxes, furniture fronts."""
    n = int(rng.integers(3, 9))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n)) if rng.random() < 0.4 else _even(n, rng)
    points = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.7, 1, (n, 1))
    if rng.random() < 0.5:
        points = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) + rng.normal(0, 0.06, (4, 2))
    layers = [_layer("body", "body", _unit(points))]
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.uniform(0.15, 0.7, 2)
        w, h = rng.uniform(0.04, 0.3, 2)
        if rng.random() < 0.6:
            layers.append(box("patch", _tone(rng), x, y, x + w, y + h))
        else:
            layers.append(oval("patch", _tone(rng), x, y, w / 2, w / 2))
    return Shape(tuple(layers), rng.uniform(0.5, 2.2))


def _spiked(rng: Rng) -> Shape:
    """Stars, crosses, gears."""
    n = int(rng.integers(3, 10))
    inner = rng.uniform(0.25, 0.75)
    blunt = rng.random() < 0.5
    per = 4 if blunt else 2
    angles = _even(per * n, rng)
    radius = np.tile([1.0, 1.0, inner, inner] if blunt else [1.0, inner], n)
    points = _unit(np.stack([np.cos(angles) * radius, np.sin(angles) * radius], 1))
    layers = [_layer("body", "body", points)]
    if rng.random() < 0.5:
        r = rng.uniform(0.08, 0.2)
        tone = "none" if rng.random() < 0.4 else _tone(rng)
        layers.append(oval("patch", tone, 0.5, 0.5, r, r))
    return Shape(tuple(layers), rng.uniform(0.7, 1.4))


def _strip(rng: Rng) -> Shape:
    """A winding strip of some width: cables, markings, branches, letters."""
    n = int(rng.integers(2, 6))
    knots = np.cumsum(rng.normal(0, 0.4, (n, 2)), 0)
    along = np.linspace(0, n - 1, 8 * n)
    line = np.stack([np.interp(along, np.arange(n), knots[:, i]) for i in (0, 1)], 1)
    if rng.random() < 0.5:
        line = np.stack(
            [np.convolve(np.pad(c, 4, "edge"), np.ones(9) / 9, "valid") for c in line.T], 1
        )
    ahead = np.gradient(line, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-6
    side = np.stack([-ahead[:, 1], ahead[:, 0]], 1) * rng.uniform(0.06, 0.25)
    outline = _unit(np.concatenate([line + side, (line - side)[::-1]]))
    return Shape((_layer("body", "body", outline),), rng.uniform(0.4, 2.5))


def _lattice(rng: Rng) -> Shape:
    """Bars and crossbars: fences, racks, ladders, grates."""
    thick = rng.uniform(0.05, 0.14)
    bars = [
        box("body", "body", x, 0, x + thick, 1)
        for x in np.linspace(0, 1 - thick, rng.integers(2, 6))
    ]
    rows = np.linspace(rng.uniform(0, 0.3), rng.uniform(0.6, 1 - thick), int(rng.integers(1, 5)))
    tone = "body" if rng.random() < 0.6 else _tone(rng)
    bars += [box("patch", tone, 0, y, 1, y + thick) for y in rows]
    return Shape(tuple(bars), rng.uniform(0.5, 2.2))


def _heap(rng: Rng) -> Shape:
    """Rounded lumps that overlap: rocks, bags, foliage, crowds seen from afar."""
    tones = ["body"] * 3 + [_tone(rng)]
    lumps = []
    for _ in range(int(rng.integers(2, 8))):
        x, y = rng.uniform(0.25, 0.75, 2)
        rx, ry = rng.uniform(0.1, 0.25, 2)
        lumps.append(oval("body", tones[int(rng.integers(4))], x, y, rx, ry))
    lumps.insert(0, oval("body", "body", 0.5, 0.5, 0.3, 0.3))
    return Shape(tuple(lumps), rng.uniform(0.6, 1.8))


def _even(n: int, rng: Rng) -> Points:
    return np.arange(n) * 2 * np.pi / n + rng.uniform(0, 2 * np.pi)


def _smooth(values: Points, n: int) -> Points:
    """Moving average over `n` values, an odd number."""
    return np.convolve(np.pad(values, n // 2, "edge"), np.ones(n) / n, "valid")


def _tone(rng: Rng) -> str:
    return str(rng.choice(_TONES))


def _unit(points: Points) -> Points:
    low, span = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-3)
    return np.asarray((points - low) / span)


def _layer(part: str, tone: str, points: Points) -> Layer:
    return Layer(part, tone, tuple((float(x), float(y)) for x, y in points))


_KINDS: tuple[Callable[[Rng], Shape], ...] = (
    jumble, _turned, _panelled, _spiked, _strip, _lattice, _heap,
)  # fmt: skip
