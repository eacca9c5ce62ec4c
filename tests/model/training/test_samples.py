"""Training samples: the words and grids of a region on a full-size canvas, and the stream."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.osprey.mask_extractor import MaskExtractor
from model.synthetic.captions import CATEGORIES, COLOURS, parse_caption, place_word
from model.synthetic.palette import colour_map, dominant_colour
from model.synthetic.scene import size_and_place
from model.synthetic.shapes import OBJECT, PART_NAMES
from model.training.heads import HeadsCollate, Labels
from model.training.samples import (
    CANVAS_SIDE_PX,
    MIN_REGION_PX,
    ImageSample,
    SceneStream,
    image_sample,
    on_canvas,
)

GRID = 112


class Dice:
    """Gives the zoom and the place that a test wants, where `on_canvas` draws them."""

    def __init__(self, zoom: float, left: float, top: float) -> None:
        self.zoom, self.places = zoom, [left, top]

    def choice(self, _: object) -> float:
        return self.zoom

    def uniform(self, low: float, high: float) -> float:
        value = self.places.pop(0)
        assert low <= value <= high
        return value


def drawn(mask: NDArray[np.bool_], zoom: float, left: int, top: int) -> NDArray[np.bool_]:
    """The mask's box at full resolution on the canvas."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    small = mask[y : y + h, x : x + w].view(np.uint8)
    size = (round(w * zoom), round(h * zoom))
    zoomed = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST)
    canvas = np.zeros((CANVAS_SIDE_PX, CANVAS_SIDE_PX), bool)
    canvas[top : top + size[1], left : left + size[0]] = zoomed > 0
    return canvas


@pytest.fixture(scope="module")
def samples() -> list[ImageSample]:
    return [image_sample(np.random.default_rng(seed), 256, 0.5) for seed in range(6)]


@pytest.fixture(scope="module")
def extractor() -> MaskExtractor:
    return MaskExtractor((4, 4, 4, 4), 4, 4, GRID, 4)


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_words_and_grids_are_those_of_the_canvas(
    samples: list[ImageSample], extractor: MaskExtractor, zoom: float
) -> None:
    rng = np.random.default_rng(3)
    judged, off = 0, [0.0]
    for region in (region for sample in samples for region in sample.regions):
        _, _, w, h = cv2.boundingRect(region.mask.view(np.uint8))
        if max(w, h) * zoom > CANVAS_SIDE_PX:
            continue
        left = int(rng.integers(0, CANVAS_SIDE_PX - int(w * zoom) + 1))
        top = int(rng.integers(0, CANVAS_SIDE_PX - int(h * zoom) + 1))
        dice: Any = Dice(zoom, left, top)
        cells, place, size = on_canvas(dice, region.mask, GRID)
        canvas = drawn(region.mask, zoom, left, top)
        assert (size, place) == size_and_place(canvas)
        wanted = extractor.grids(torch.from_numpy(canvas)[None])[0].numpy().reshape(GRID, GRID)
        if zoom == 1.0:
            # both sample at the cells' centres; OpenCV in steps of 1/32 px
            np.testing.assert_allclose(cells, wanted, atol=0.07)
        else:
            # enlarged smoothly, not by repeating pixels: the rim differs, nothing else
            off.append(float(np.abs(cells - wanted).mean()))
        judged += 1
    assert judged > 60
    assert np.mean(off) < 0.002
    assert max(off) < 0.01


def test_any_dice_give_a_grid_that_holds_the_region(samples: list[ImageSample]) -> None:
    rng = np.random.default_rng(0)
    words = Counter()
    for region in (region for sample in samples for region in sample.regions):
        for _ in range(4):
            cells, place, size = on_canvas(rng, region.mask, GRID)
            assert cells.shape == (GRID, GRID)
            assert 0 <= cells.min() <= cells.max() <= 1
            words[place] += 1
            words[size] += 1
            # the grid's own mass and centre are the region's, to within a cell
            share = float(cells.sum()) / GRID**2
            if share > 0.002:
                ys, xs = np.mgrid[:GRID, :GRID] + 0.5
                x, y = (cells * xs).sum() / cells.sum(), (cells * ys).sum() / cells.sum()
                column, row = x * 3 / GRID, y * 3 / GRID
                middle = abs(column % 1 - 0.5) < 0.45 and abs(row % 1 - 0.5) < 0.45
                if middle:
                    assert place == place_word(x / GRID, y / GRID)
    assert all(words[place] for place in Labels().place)


def test_what_is_said_of_a_region_is_true(samples: list[ImageSample]) -> None:
    kinds = Counter()
    for sample in samples:
        assert sample.image.shape == (256, 256, 3)
        np.testing.assert_array_equal(sample.colours, colour_map(sample.image))
        for region in sample.regions:
            assert region.mask.shape == (256, 256)
            assert region.mask.sum() >= MIN_REGION_PX
            claims = parse_caption(region.short)
            assert claims["category"] == region.what
            assert claims["colour"] == dominant_colour(region.colours)
            told = parse_caption(region.detailed)
            if region.what in PART_NAMES:
                kinds["part"] += 1
                assert region.short == region.detailed
            else:
                kinds["object" if region.what == OBJECT else "category"] += 1
                size, place = size_and_place(region.mask)
                assert (claims["size"], told["size"], told["place"]) == (size, size, place)
    assert min(kinds[kind] for kind in ("part", "object", "category")) > 5


def test_collated_labels(samples: list[ImageSample]) -> None:
    labels = Labels()
    batch = HeadsCollate(labels, GRID, seed=0)(samples)
    regions = [region for sample in samples for region in sample.regions]
    assert batch.grids.shape == (len(regions), GRID * GRID)
    np.testing.assert_allclose(batch.colours.sum(1), 1, atol=1e-6)
    assert set(batch.classes) == {"what", "colour", "texture", "facing", "place", "size"}
    for i, region in enumerate(regions):
        assert labels.what[batch.classes["what"][i]] == region.what
        assert labels.colour[batch.classes["colour"][i]] == dominant_colour(region.colours)
        texture = int(batch.classes["texture"][i])
        assert (labels.texture[texture] if texture >= 0 else "") == region.texture
        assert labels.facing[batch.classes["facing"][i]] == region.facing
    again = HeadsCollate(labels, GRID, seed=0)(samples)
    for name, column in batch.classes.items():
        assert torch.equal(column, again.classes[name])
    assert torch.equal(batch.grids, again.grids)


def test_maps_say_what_lies_at_the_cells_centres(samples: list[ImageSample]) -> None:
    batch = HeadsCollate(Labels(), GRID, seed=0)(samples)
    assert batch.colour_map.shape == (len(samples), 64, 64)
    assert batch.what_map.shape == (len(samples), 16, 16)
    named = 0
    for i, sample in enumerate(samples):
        for row, column in np.ndindex(64, 64):
            y, x = 4 * row + 2, 4 * column + 2
            assert batch.colour_map[i, row, column] == sample.colours[y, x]
        for row, column in np.ndindex(16, 16):
            y, x = 16 * row + 8, 16 * column + 8
            here = [r.what for r in sample.regions if r.mask[y, x] and r.what in CATEGORIES[:-1]]
            said = CATEGORIES[int(batch.what_map[i, row, column])]
            assert said in here if here else said == OBJECT
            named += said != OBJECT
    assert named > 50
    assert int(batch.colour_map.max()) < len(COLOURS)


class Small(SceneStream):
    _KEPT = 12


def test_the_stream_is_decided_by_its_seed() -> None:
    one, two = (list(islice(Small(5, 64, 10, 3), 40)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert [r.detailed for r in a.regions] == [r.detailed for r in b.regions]
    other = next(iter(Small(6, 64, 10, 3)))
    assert other.image.tobytes() != one[0].image.tobytes()
    assert all(sample.regions for sample in one)


def test_every_scene_is_shown_about_as_often_as_wanted() -> None:
    shows, n = 3, 240
    stream = list(islice(Small(1, 64, 10, shows), n))
    times = Counter(id(sample) for sample in stream)  # the list keeps them, so ids stay theirs
    # the last ones have not had all their turns yet
    settled = {id(sample): times[id(sample)] for sample in stream[: n - 60]}
    assert 0.8 * shows < np.mean(list(settled.values())) < 1.2 * shows
    in_a_row = sum(a is b for a, b in pairwise(stream))
    assert in_a_row < 0.12 * n, "far apart"
    once = list(islice(Small(1, 64, 10, 1), 15))
    assert len({id(sample) for sample in once}) == 15


def test_scenes_become_harder() -> None:
    def small_ones(samples: list[ImageSample]) -> float:
        areas = [int(r.mask.sum()) for s in samples for r in s.regions if r.what in CATEGORIES[:-1]]
        return float(np.median(areas))

    first = small_ones([image_sample(np.random.default_rng(i), 128, 0.1, 44) for i in range(8)])
    last = small_ones([image_sample(np.random.default_rng(i), 128, 0.1, 20) for i in range(8)])
    assert first > 1.4 * last
