"""Colour names against CIELAB computed straight from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.synthetic import palette
from model.synthetic.palette import (
    COLOURS,
    colour_counts,
    colour_map,
    dominant_colour,
    nearest_colour_index,
    sample_rgb,
    to_lab,
)

RGB = np.random.default_rng(0).integers(0, 256, (4000, 3)).astype(np.uint8)


def cielab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """IEC 61966-2-1 sRGB, D65 white, CIE 15: in double precision."""
    v = rgb.astype(np.float64) / 255
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [(0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750),
         (0.0193339, 0.1191920, 0.9503041)]
    )  # fmt: skip
    t = (linear @ to_xyz.T) / (0.95047, 1.0, 1.08883)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def distances(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """N x 11: CIE76 distance to the nearest prototype of every colour."""
    lab = cielab(rgb)
    table = np.full((len(rgb), len(COLOURS)), np.inf)
    for name, prototype in palette._PROTOTYPES:
        far = np.linalg.norm(lab - cielab(np.array([prototype], np.uint8)), axis=1)
        i = COLOURS.index(name)
        table[:, i] = np.minimum(table[:, i], far)
    return table


def test_the_eleven_basic_colours() -> None:
    named = "black blue brown gray green orange pink purple red white yellow"
    assert " ".join(sorted(COLOURS)) == named


def test_lab_follows_its_definition() -> None:
    # OpenCV interpolates in a table
    np.testing.assert_allclose(to_lab(RGB), cielab(RGB), atol=0.4)
    np.testing.assert_allclose(
        cielab(np.array([(255, 255, 255)], np.uint8)), [[100, 0, 0]], atol=0.01
    )
    assert to_lab(RGB.reshape(40, 100, 3)).shape == (40, 100, 3)


def test_nearest_colour_is_the_nearest() -> None:
    table = distances(RGB)
    low = np.sort(table, axis=1)
    clear = low[:, 1] - low[:, 0] > 0.8
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(nearest_colour_index(to_lab(RGB))[clear], table.argmin(1)[clear])


def test_pictures_are_classified_to_within_the_tables_steps() -> None:
    picture = RGB.reshape(40, 100, 3)
    found = colour_map(picture).reshape(-1)
    table = distances(RGB)
    chosen = table[np.arange(len(RGB)), found]
    # a step of 8 of each channel: the name is right, or that of a neighbour almost as near
    assert (found == table.argmin(1)).mean() > 0.95
    assert (chosen - table.min(1)).max() < 8
    counts = colour_counts(picture, np.ones((40, 100), bool))
    assert counts.sum() == len(RGB)
    np.testing.assert_array_equal(counts, np.bincount(found, minlength=len(COLOURS)))
    mask = np.zeros((40, 100), bool)
    mask[3, 5] = True
    assert dominant_colour(colour_counts(picture, mask)) == COLOURS[found[305]]
    with pytest.raises(ValueError, match="empty mask"):
        dominant_colour(colour_counts(picture, np.zeros((40, 100), bool)))


@pytest.mark.parametrize("colour", COLOURS)
def test_shades_keep_their_name(colour: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        rgb = sample_rgb(rng, colour)
        shades = np.clip(np.stack([rgb * 0.88, rgb, rgb * 1.12]), 0, 255).astype(np.uint8)
        assert {COLOURS[i] for i in distances(shades).argmin(1)} == {colour}


def test_every_prototype_has_its_own_name() -> None:
    for name, rgb in palette._PROTOTYPES:
        assert COLOURS[int(distances(np.array([rgb], np.uint8)).argmin())] == name
        assert COLOURS[int(colour_map(np.array(rgb, np.uint8)))] == name
