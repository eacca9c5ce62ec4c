"""The categories: outlines and parts in a unit box, x to the right, y down, facing right.

A shape is a list of layers painted in order; `body` takes the object's colour and texture, parts
take a tone of their own and stay a minority of the area, so that the body's colour is the
object's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
Point = tuple[float, float]


@dataclass(frozen=True)
class Layer:
    """A polygon of a part; tone: "body", "dark", "light", "glass", "wood" or "skin"."""

    part: str
    tone: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Shape:
    """Layers in a unit box and the box's width over its height."""

    layers: tuple[Layer, ...]
    aspect: float
    faces: bool = False


def _poly(part: str, tone: str, *points: Point) -> Layer:
    return Layer(part, tone, points)


def box(part: str, tone: str, x0: float, y0: float, x1: float, y1: float) -> Layer:
    """An upright rectangle."""
    return Layer(part, tone, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def oval(
    part: str, tone: str, x: float, y: float, rx: float, ry: float, start: float = 0.0,
    end: float = 360.0,
) -> Layer:  # fmt: skip
    """An ellipse, or its arc from `start` to `end` in degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 28))
    points = tuple((float(x + rx * np.cos(a)), float(y + ry * np.sin(a))) for a in angles)
    return Layer(part, tone, points)


def _car(rng: Rng) -> Shape:
    roof, r = rng.uniform(0.05, 0.2), rng.uniform(0.085, 0.11)
    front, back = rng.uniform(0.68, 0.76), rng.uniform(0.2, 0.3)
    aspect = rng.uniform(1.9, 2.4)
    wheel = r * aspect
    return Shape(
        (
            _poly("body", "body", (0, 0.5), (back - 0.08, 0.45), (back, roof), (front - 0.12, roof),
                  (front, 0.42), (0.97, 0.5), (1, 0.85), (0, 0.85)),
            _poly("window", "glass", (back, 0.43), (back + 0.05, roof + 0.08), (0.46, roof + 0.08),
                  (0.46, 0.43)),
            _poly("window", "glass", (0.5, 0.43), (0.5, roof + 0.08), (front - 0.14, roof + 0.08),
                  (front - 0.04, 0.43)),
            oval("wheel", "dark", 0.22, 0.83, r, wheel * 0.8),
            oval("wheel", "dark", 0.78, 0.83, r, wheel * 0.8),
        ),
        aspect, True,
    )  # fmt: skip


def _truck(rng: Rng) -> Shape:
    cab = rng.uniform(0.68, 0.76)
    aspect = rng.uniform(1.7, 2.2)
    r = 0.075
    return Shape(
        (
            box("body", "body", 0, 0.02, cab - 0.04, 0.78),
            box("chassis", "dark", 0, 0.76, 1, 0.84),
            _poly("cab", "body", (cab, 0.25), (0.93, 0.25), (1, 0.52), (1, 0.8), (cab, 0.8)),
            _poly("window", "glass", (cab + 0.06, 0.32), (0.91, 0.32), (0.96, 0.52), (cab + 0.06, 0.52)),
            *(oval("wheel", "dark", x, 0.87, r, r * aspect * 0.8) for x in (0.14, 0.34, 0.84)),
        ),
        aspect, True,
    )  # fmt: skip


def _bus(rng: Rng) -> Shape:
    aspect, n = rng.uniform(2.2, 2.9), int(rng.integers(4, 6))
    width = 0.82 / n
    windows = (box("window", "glass", 0.06 + i * width, 0.16, 0.06 + (i + 0.76) * width, 0.42)
               for i in range(n))  # fmt: skip
    return Shape(
        (
            _poly("body", "body", (0, 0.04), (0.96, 0.04), (1, 0.2), (1, 0.88), (0, 0.88)),
            *windows,
            box("door", "light", 0.9, 0.16, 0.97, 0.8),
            oval("wheel", "dark", 0.2, 0.87, 0.06, 0.06 * aspect * 0.8),
            oval("wheel", "dark", 0.76, 0.87, 0.06, 0.06 * aspect * 0.8),
        ),
        aspect, True,
    )  # fmt: skip


def _person(rng: Rng) -> Shape:
    spread = rng.uniform(0.05, 0.22)
    arm = rng.uniform(0.0, 0.12)
    return Shape(
        (
            _poly("leg", "dark", (0.3, 0.6), (0.5, 0.6), (0.42 - spread, 1), (0.24 - spread, 1)),
            _poly("leg", "dark", (0.5, 0.6), (0.7, 0.6), (0.76 + spread, 1), (0.58 + spread, 1)),
            _poly("body", "body", (0.22, 0.24), (0.78, 0.24), (0.74, 0.72), (0.26, 0.72)),
            _poly("arm", "body", (0.24, 0.24), (0.08 - arm * 0.5, 0.58), (0.2 - arm * 0.5, 0.61), (0.34, 0.36)),
            _poly("arm", "body", (0.76, 0.24), (0.92 + arm * 0.5, 0.58), (0.8 + arm * 0.5, 0.61), (0.66, 0.36)),
            oval("head", "skin", 0.5, 0.115, 0.19, 0.115),
        ),
        rng.uniform(0.38, 0.48),
    )  # fmt: skip


def _house(rng: Rng) -> Shape:
    eave = rng.uniform(0.36, 0.46)
    return Shape(
        (
            box("body", "body", 0.08, eave, 0.92, 1),
            _poly("roof", "wood", (0, eave), (0.5, 0), (1, eave)),
            box("door", "dark", 0.42, 0.7, 0.58, 1),
            box("window", "glass", 0.16, eave + 0.14, 0.32, eave + 0.32),
            box("window", "glass", 0.68, eave + 0.14, 0.84, eave + 0.32),
        ),
        rng.uniform(0.95, 1.3),
    )


def _tree(rng: Rng) -> Shape:
    crown: tuple[Layer, ...]
    if rng.random() < 0.5:
        crown = (oval("body", "body", 0.5, 0.34, 0.5, 0.34), oval("body", "body", 0.3, 0.48, 0.28, 0.2),
                 oval("body", "body", 0.7, 0.48, 0.28, 0.2))  # fmt: skip
    else:
        crown = (_poly("body", "body", (0.5, 0), (0.88, 0.45), (0.12, 0.45)),
                 _poly("body", "body", (0.5, 0.2), (1, 0.74), (0, 0.74)))  # fmt: skip
    return Shape((box("trunk", "wood", 0.42, 0.6, 0.58, 1), *crown), rng.uniform(0.62, 0.8))


def _boat(rng: Rng) -> Shape:
    mast = rng.uniform(0.44, 0.54)
    return Shape(
        (
            box("mast", "wood", mast - 0.02, 0, mast + 0.02, 0.75),
            _poly("sail", "light", (mast + 0.05, 0.05), (mast + 0.05, 0.62), (0.86, 0.62)),
            _poly("body", "body", (0, 0.66), (1, 0.66), (0.84, 1), (0.14, 1)),
            _poly("sail", "body", (mast - 0.05, 0.12), (mast - 0.05, 0.62), (0.14, 0.62)),
        ),
        rng.uniform(1.0, 1.3), True,
    )  # fmt: skip


def _fish(rng: Rng) -> Shape:
    fat = rng.uniform(0.36, 0.46)
    return Shape(
        (
            _poly("tail", "body", (0.26, 0.5), (0, 0.12), (0.05, 0.5), (0, 0.88)),
            oval("body", "body", 0.6, 0.5, 0.4, fat),
            _poly("fin", "dark", (0.5, 0.12), (0.72, 0.14), (0.52, 0.0)),
            _poly("fin", "dark", (0.5, 0.55), (0.64, 0.6), (0.46, 0.78)),
            oval("eye", "light", 0.84, 0.4, 0.055, 0.09),
            oval("eye", "dark", 0.85, 0.4, 0.028, 0.045),
        ),
        rng.uniform(1.6, 2.0), True,
    )  # fmt: skip


def _bird(rng: Rng) -> Shape:
    return Shape(
        (
            _poly("tail", "body", (0.28, 0.52), (0, 0.36), (0.04, 0.62), (0.3, 0.66)),
            oval("body", "body", 0.5, 0.58, 0.28, 0.24),
            oval("head", "body", 0.76, 0.36, 0.15, 0.17),
            _poly("wing", "dark", (0.36, 0.5), (0.62, 0.5), (0.3, rng.uniform(0.0, 0.14))),
            _poly("beak", "wood", (0.88, 0.3), (1, 0.39), (0.88, 0.44)),
            box("leg", "dark", 0.46, 0.78, 0.5, 1),
            box("leg", "dark", 0.56, 0.78, 0.6, 1),
        ),
        rng.uniform(1.15, 1.4),
        True,
    )


def _flower(rng: Rng) -> Shape:
    n = int(rng.integers(5, 7))
    petals = []
    for i in range(n):
        a = 2 * np.pi * i / n - np.pi / 2
        x, y = float(0.5 + 0.3 * np.cos(a)), float(0.28 + 0.18 * np.sin(a))
        petals.append(oval("petal", "body", x, y, 0.2, 0.12))
    return Shape(
        (
            box("stem", "leaf", 0.46, 0.4, 0.54, 1),
            _poly("leaf", "leaf", (0.54, 0.8), (0.86, 0.62), (0.54, 0.68)),
            *petals,
            oval("centre", "light", 0.5, 0.28, 0.13, 0.08),
        ),
        rng.uniform(0.5, 0.62),
    )


def _chair(rng: Rng) -> Shape:
    seat = rng.uniform(0.5, 0.58)
    return Shape(
        (
            box("body", "body", 0.04, 0, 0.26, seat + 0.14),
            box("seat", "body", 0.04, seat, 0.96, seat + 0.16),
            box("leg", "dark", 0.06, seat + 0.14, 0.18, 1),
            box("leg", "dark", 0.8, seat + 0.14, 0.92, 1),
        ),
        rng.uniform(0.66, 0.82), True,
    )  # fmt: skip


def _cup(rng: Rng) -> Shape:
    return Shape(
        (
            oval("handle", "body", 0.76, 0.5, 0.24, 0.28),
            oval("hole", "none", 0.77, 0.5, 0.13, 0.16),
            _poly("body", "body", (0, 0.08), (0.74, 0.08), (0.66, 1), (0.08, 1)),
            oval("rim", "dark", 0.37, 0.08, 0.37, 0.08),
        ),
        rng.uniform(1.0, 1.2), True,
    )  # fmt: skip


def _umbrella(rng: Rng) -> Shape:
    return Shape(
        (
            box("handle", "dark", 0.475, 0.3, 0.525, 0.92),
            oval("handle", "dark", 0.56, 0.92, 0.085, 0.07, 0, 180),
            oval("body", "body", 0.5, 0.5, 0.5, 0.48, 180, 360),
            *(oval("edge", "none", 0.17 + i * 0.333, 0.52, 0.14, 0.07) for i in range(3)),
        ),
        rng.uniform(0.95, 1.2),
    )


def _ball(rng: Rng) -> Shape:
    tilt = rng.uniform(-0.15, 0.15)
    return Shape(
        (
            oval("body", "body", 0.5, 0.5, 0.5, 0.5),
            _poly("band", "light", (0.04, 0.42 + tilt), (0.96, 0.42 - tilt), (0.98, 0.57 - tilt),
                  (0.02, 0.57 + tilt)),
        ),
        1.0,
    )  # fmt: skip


def _dog(rng: Rng) -> Shape:
    return Shape(
        (
            _poly("tail", "body", (0.12, 0.42), (0, rng.uniform(0.05, 0.2)), (0.06, 0.05), (0.2, 0.4)),
            _poly("body", "body", (0.1, 0.38), (0.72, 0.38), (0.76, 0.7), (0.1, 0.7)),
            *(box("leg", "body", x, 0.66, x + 0.09, 1) for x in (0.1, 0.24, 0.54, 0.67)),
            _poly("head", "body", (0.66, 0.1), (0.88, 0.12), (1, 0.28), (0.98, 0.4), (0.7, 0.48)),
            _poly("ear", "dark", (0.68, 0.04), (0.8, 0.1), (0.72, 0.36)),
            oval("eye", "dark", 0.86, 0.22, 0.022, 0.03),
        ),
        rng.uniform(1.2, 1.45), True,
    )  # fmt: skip


def _blob(rng: Rng) -> Shape:
    """Nothing in particular: a smooth random outline."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angles)
    for k in range(2, 7):
        radius += rng.normal(0, 0.34 / k) * np.cos(k * angles + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.3, None)
    x, y = radius * np.cos(angles), radius * np.sin(angles)
    x, y = (x - x.min()) / np.ptp(x), (y - y.min()) / np.ptp(y)
    layers = [Layer("body", "body", tuple((float(a), float(b)) for a, b in zip(x, y, strict=True)))]
    for _ in range(int(rng.integers(0, 3))):
        cx, cy = rng.uniform(0.35, 0.65, 2)
        layers.append(oval("patch", str(rng.choice(["dark", "light", "wood"])), cx, cy,
                            rng.uniform(0.04, 0.12), rng.uniform(0.04, 0.12)))  # fmt: skip
    return Shape(tuple(layers), rng.uniform(0.6, 1.7))


OBJECT = "object"
SHAPES: dict[str, Callable[[Rng], Shape]] = {
    "car": _car, "truck": _truck, "bus": _bus, "person": _person, "house": _house, "tree": _tree,
    "boat": _boat, "fish": _fish, "bird": _bird, "flower": _flower, "chair": _chair, "cup": _cup,
    "umbrella": _umbrella, "ball": _ball, "dog": _dog, OBJECT: _blob,
}  # fmt: skip
CATEGORIES: tuple[str, ...] = tuple(SHAPES)
# parts large enough to be regions of their own, and named in detailed captions
PARTS: dict[str, tuple[str, ...]] = {
    "car": ("wheel", "window"), "truck": ("cab", "wheel", "window"), "bus": ("window", "wheel", "door"),
    "person": ("head", "leg"), "house": ("roof", "door", "window"), "tree": ("trunk",),
    "boat": ("sail", "mast"), "fish": ("tail", "fin"), "bird": ("wing", "head", "tail"),
    "flower": ("petal", "stem"), "chair": ("leg", "seat"), "cup": ("handle",), "umbrella": ("handle",),
    "ball": ("band",), "dog": ("head", "leg", "ear"),
}  # fmt: skip
PART_NAMES: tuple[str, ...] = tuple(sorted({part for parts in PARTS.values() for part in parts}))
