"""Pictures of the synthetic world: the same for a seed, and true to the last pixel of a mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.synthetic.captions import parse_caption, short_caption
from model.synthetic.palette import COLOURS, colour_counts, dominant_colour
from model.synthetic.scene import (
    Scene,
    _iou,
    negatives,
    paste,
    sample_scene,
    size_and_place,
)
from model.synthetic.shapes import CATEGORIES, OBJECT, PARTS, SHAPES, Shape
from model.synthetic.sprites import TEXTURES, Sprite, draw_sprite
from model.synthetic.strangers import _KINDS

TONES = {"body", "dark", "light", "glass", "wood", "skin", "leaf", "none"}


def scene_of(seed: int, difficulty: float = 0.5, n_objects: int = 10) -> Scene:
    return sample_scene(
        np.random.default_rng(seed), 144, 256,
        difficulty=difficulty, n_objects=n_objects, short_side_px=(16.0, 60.0),
    )  # fmt: skip


def check_shape(shape: Shape) -> None:
    assert shape.layers
    assert shape.aspect > 0
    for layer in shape.layers:
        assert layer.tone in TONES
        points = np.array(layer.points)
        assert points.ndim == 2
        assert np.isfinite(points).all()
        assert len(points) >= 3


def check_sprite(sprite: Sprite) -> None:
    assert sprite.rgb.shape == (*sprite.alpha.shape, 3)
    assert sprite.part_index.shape == sprite.alpha.shape
    assert min(sprite.alpha.shape) >= 6
    assert 0 <= sprite.alpha.min() <= sprite.alpha.max() <= 1
    assert (sprite.alpha >= 0.5).any(), "nothing to see"
    assert sprite.part_index.max() <= len(sprite.part_names)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_draws(category: str) -> None:
    parts: set[str] = set()
    facings = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shape = SHAPES[category](rng)
        check_shape(shape)
        parts |= {layer.part for layer in shape.layers}
        side = (7.0, 24.0, 80.0)[seed % 3]
        sprite = draw_sprite(rng, category, COLOURS[seed % 11], side, shape=shape)
        check_sprite(sprite)
        assert sprite.texture in TEXTURES
        facings.add(sprite.facing)
    assert set(PARTS.get(category, ())) <= parts
    faces = SHAPES[category](np.random.default_rng(0)).faces
    assert facings == ({"left", "right"} if faces else {""})


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__.strip("_"))
def test_every_stranger_draws(kind: object) -> None:
    assert callable(kind)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shape = kind(rng)
        check_shape(shape)
        sprite = draw_sprite(rng, OBJECT, COLOURS[seed % 11], (7.0, 40.0)[seed % 2], shape=shape)
        check_sprite(sprite)
        assert sprite.facing == ""
        assert not sprite.part_names


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_bodys_colour_is_the_objects(category: str) -> None:
    """Parts stay a minority: the plain object has the colour it was asked for."""
    right = []
    for seed in range(22):
        rng = np.random.default_rng([seed, 5])
        sprite = draw_sprite(rng, category, COLOURS[seed % 11], 60, plain=True)
        image = np.full((200, 200, 3), 128, np.float32)
        owner, part = np.full((200, 200), -1, np.int16), np.zeros((200, 200), np.uint8)
        paste(image, owner, part, sprite, 0, 5, 5)
        seen = dominant_colour(colour_counts(image.astype(np.uint8), owner == 0))
        right.append(seen == COLOURS[seed % 11])
    assert np.mean(right) >= 0.9


def test_a_seed_decides_everything() -> None:
    one, two, other = scene_of(3), scene_of(3), scene_of(4)
    np.testing.assert_array_equal(one.image, two.image)
    assert len(one.objects) == len(two.objects) > 3
    for a, b in zip(one.objects, two.objects, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
        assert short_caption(a) == short_caption(b)
    assert (one.image != other.image).any()
    found = [negatives(np.random.default_rng(1), scene, 4) for scene in (one, two)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)


def test_what_is_said_of_an_object_is_true() -> None:
    hidden = 0
    for seed in range(12):
        scene = scene_of(seed, difficulty=seed / 11)
        assert scene.image.shape == (144, 256, 3)
        taken = np.zeros(scene.colours.shape, int)
        for obj in scene.objects:
            taken += obj.mask
            assert obj.mask.sum() >= 12
            assert obj.category in CATEGORIES
            np.testing.assert_array_equal(obj.colours, scene.colours_of(obj.mask))
            assert obj.colours.sum() == obj.mask.sum()
            assert (obj.size, obj.place) == size_and_place(obj.mask)
            assert 0 < obj.visible_fraction <= 1
            hidden += obj.visible_fraction < 0.9
            assert parse_caption(short_caption(obj))["colour"] == obj.colour
            for name, pixels in obj.parts.items():
                assert name in PARTS[obj.category]
                assert not (pixels & ~obj.mask).any()
        assert taken.max() <= 1, "a pixel belongs to one object"
    assert hidden > 5, "occlusion is part of the world"


def test_all_categories_colours_and_textures_come_up() -> None:
    objects = [obj for seed in range(25) for obj in scene_of(100 + seed, n_objects=16).objects]
    assert {obj.category for obj in objects} == set(CATEGORIES)
    assert {obj.texture for obj in objects} == set(TEXTURES)
    assert {obj.facing for obj in objects} == {"", "left", "right"}
    assert {obj.colour for obj in objects} == set(COLOURS)
    share = np.mean([obj.category == OBJECT for obj in objects])
    assert 0.15 < share < 0.4


@pytest.mark.parametrize("tilt", [0.0, 9.0, -20.0])
def test_masks_are_the_pixels_that_an_object_changes(tilt: float) -> None:
    """A sprite over a flat ground of a colour it does not hold."""
    for seed in range(10):
        rng = np.random.default_rng([seed, 9])
        sprite = draw_sprite(rng, CATEGORIES[seed], COLOURS[seed], float(rng.uniform(12, 60)))
        ground = np.full((260, 260, 3), (1.0, 255.0, 254.0), np.float32)
        owner, part = np.full((260, 260), -1, np.int16), np.zeros((260, 260), np.uint8)
        image = ground.copy()
        left, top = float(rng.uniform(20, 60)), float(rng.uniform(20, 40))
        outline = paste(image, owner, part, sprite, 7, left, top, tilt)
        mask = owner == 7
        changed = np.abs(image - ground).max(2) > 0
        assert mask.sum() == outline, "all of it lies inside"
        assert not (mask & ~changed).any()
        # outside the mask only its antialiased rim, less than half covered
        rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2) > 0
        assert (changed & ~rim).sum() <= 0.02 * outline + 12
        assert not (part[~mask]).any()


def test_what_lies_outside_counts_to_the_outline() -> None:
    rng = np.random.default_rng(0)
    sprite = draw_sprite(rng, "ball", "red", 40, plain=True)
    whole = int((sprite.alpha >= 0.5).sum())
    for left, top in ((-20.0, 10.0), (85.0, 10.0), (10.0, -30.0), (10.0, 70.0), (-500.0, 0.0)):
        image = np.zeros((80, 100, 3), np.float32)
        owner, part = np.full((80, 100), -1, np.int16), np.zeros((80, 100), np.uint8)
        outline = paste(image, owner, part, sprite, 1, left, top)
        assert abs(outline - whole) <= 0.03 * whole
        assert (owner == 1).sum() < 0.8 * outline
        x = slice(max(0, int(-left)), max(0, min(sprite.alpha.shape[1], 100 - int(left))))
        y = slice(max(0, int(-top)), max(0, min(sprite.alpha.shape[0], 80 - int(top))))
        assert (owner == 1).sum() == (sprite.alpha[y, x] >= 0.5).sum()


def test_negatives_are_no_object() -> None:
    found = 0
    for seed in range(12):
        scene = scene_of(seed)
        rng = np.random.default_rng(seed)
        for region in negatives(rng, scene, 4):
            found += 1
            assert region.category == OBJECT
            assert region.mask.sum() >= 40
            assert all(_iou(region.mask, obj.mask) < 0.35 for obj in scene.objects)
            assert (region.size, region.place) == size_and_place(region.mask)
            np.testing.assert_array_equal(region.colours, scene.colours_of(region.mask))
    assert found > 30


def test_small_and_odd_pictures() -> None:
    for hw in ((64, 64), (65, 131), (200, 50)):
        for seed in range(4):
            scene = sample_scene(
                np.random.default_rng(seed), *hw,
                difficulty=1.0, n_objects=12, short_side_px=(10.0, 170.0), squeeze=16 / 9,
            )  # fmt: skip
            assert scene.image.shape == (*hw, 3)
            negatives(np.random.default_rng(seed), scene, 5)
