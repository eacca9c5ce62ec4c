"""Films of the synthetic world and their truth."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from model.synthetic.captions import parse_caption
from model.synthetic.film import Film, FilmFrame, Truth
from model.synthetic.palette import colour_counts, dominant_colour
from model.synthetic.shapes import OBJECT
from streamer.mask import Mask

SEEDS = range(6)


def film_of(seed: int, seconds: float = 8.0, **settings: Any) -> Film:
    return Film(seed, height_px=180, width_px=320, seconds=seconds, fps=10, **settings)


@pytest.fixture(scope="module")
def rendered() -> list[tuple[Film, list[FilmFrame]]]:
    films = [film_of(seed) for seed in SEEDS]
    return [(film, list(film.frames())) for film in films]


def without(film: Film, *object_ids: int) -> Film:
    """The same film, but some objects never come."""
    bare = film_of(film.seed)
    bare.shots = tuple(  # type: ignore[misc,assignment]
        replace(shot, actors=tuple(a for a in shot.actors if a.object_id not in object_ids))
        for shot in film.shots
    )
    return bare


def test_a_seed_decides_every_frame() -> None:
    one, two = film_of(2), film_of(2)
    for index in (0, 39, 40, 79, 17):  # in any order
        a, b = one.frame(index), two.frame(index)
        np.testing.assert_array_equal(a.image, b.image)
        assert a.outlines_px == b.outlines_px
        for key in a.masks:
            np.testing.assert_array_equal(a.masks[key], b.masks[key])
    assert (film_of(3).frame(0).image != one.frame(0).image).any()


def test_times_and_the_cut(rendered: list[tuple[Film, list[FilmFrame]]]) -> None:
    for film, frames in rendered:
        assert [f.index for f in frames] == list(range(80))
        assert [f.time_ns for f in frames] == [i * 100_000_000 for i in range(80)]
        assert film.cut_index == 40
        steps = [float(np.abs(b.image.astype(int) - a.image).mean()) for a, b in pairwise(frames)]
        assert int(np.argmax(steps)) + 1 == film.cut_index
        before = {key for f in frames[:40] for key in f.masks}
        after = {key for f in frames[40:] for key in f.masks}
        assert before <= set(range(1, 6))
        assert after <= set(range(6, 11))
        assert len(before) + len(after) >= 8


def test_masks_are_exact(rendered: list[tuple[Film, list[FilmFrame]]]) -> None:
    """Without an object only its pixels and its antialiased rim look different."""
    judged = 0
    for film, frames in rendered[:3]:
        for index in (20, 60):
            frame = frames[index]
            union = sum(mask.astype(int) for mask in frame.masks.values())
            assert np.max(union) <= 1, "a pixel belongs to one object"
            for key, mask in frame.masks.items():
                bare = without(film, key).frame(index)
                changed = (bare.image != frame.image).any(2)
                # a pixel may have the ground's very colour, but hardly many
                assert (changed & mask).sum() >= 0.97 * mask.sum()
                rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
                assert (changed & ~rim).sum() <= 0.05 * mask.sum() + 10
                for other, pixels in bare.masks.items():
                    seen = frame.masks.get(other, np.zeros_like(mask))
                    assert not (seen & ~pixels).any()
                    assert not (pixels & ~seen & ~mask).any(), "hidden only by what was taken out"
                judged += 1
    assert judged > 15


def test_visible_and_hidden_make_the_outline(
    rendered: list[tuple[Film, list[FilmFrame]]],
) -> None:
    for film, frames in rendered[:3]:
        for index in (10, 70):
            frame = frames[index]
            for key, mask in frame.masks.items():
                others = [k for k in range(1, 11) if k != key]
                alone = without(film, *others).frame(index).masks[key]
                assert not (mask & ~alone).any()
                hidden = alone & ~mask
                front = np.zeros_like(mask)
                for other, pixels in frame.masks.items():
                    front |= pixels if other != key else False
                assert not (hidden & ~front).any()
                rows, columns = np.nonzero(alone)
                inside = (
                    rows.min() > 0 and columns.min() > 0
                    and rows.max() < 179 and columns.max() < 319
                )  # fmt: skip
                if inside:
                    assert mask.sum() + hidden.sum() == frame.outlines_px[key]
                else:
                    assert mask.sum() + hidden.sum() <= frame.outlines_px[key]


def test_things_enter_leave_and_hide(rendered: list[tuple[Film, list[FilmFrame]]]) -> None:
    occluded = entering = leaving = 0
    for film, frames in rendered:
        for part in (frames[: film.cut_index], frames[film.cut_index :]):
            for key in {key for frame in part for key in frame.masks}:
                seen = [key in frame.masks for frame in part]
                entering += not seen[0]
                leaving += not seen[-1]
                shares = [f.masks[key].sum() / f.outlines_px[key] for f in part if key in f.masks]
                clear = [i for i, share in enumerate(shares) if share > 0.95]
                between = shares[clear[0] : clear[-1]] if clear else []
                occluded += any(share < 0.6 for share in between)
    assert occluded >= len(rendered), "about one in each film passes behind another"
    assert entering >= 2 * len(rendered)
    assert leaving >= len(rendered)


def test_each_shot_holds_something_without_a_name(
    rendered: list[tuple[Film, list[FilmFrame]]],
) -> None:
    for film, _ in rendered:
        for shot in film.shots:
            categories = [actor.sprite.category for actor in shot.actors]
            assert categories.count(OBJECT) == 1
            assert len(set(categories)) == len(categories)


def test_the_truth_is_that_of_the_frames(rendered: list[tuple[Film, list[FilmFrame]]]) -> None:
    for film, frames in rendered[:3]:
        truth = Truth(film)
        for frame in frames:
            truth.add(frame)
        data = json.loads(json.dumps(truth.to_json()))
        assert (data["frames"], data["fps"], data["seed"]) == (80, 10, film.seed)
        assert (data["width_px"], data["height_px"]) == (320, 180)
        assert data["cut_indices"] == [film.cut_index]
        sprites = {a.object_id: a.sprite for shot in film.shots for a in shot.actors}
        shown = {key for frame in frames for key in frame.masks}
        assert [item["object_id"] for item in data["objects"]] == sorted(shown)
        for item in data["objects"]:
            key = item["object_id"]
            assert [f["index"] for f in item["frames"]] == [
                f.index for f in frames if key in f.masks
            ]
            counts: Any = 0
            for entry in item["frames"]:
                frame = frames[entry["index"]]
                mask = Mask(height_px=180, width_px=320, counts=entry["counts"]).decode()
                np.testing.assert_array_equal(mask, frame.masks[key])
                _, _, w, h = cv2.boundingRect(mask.view(np.uint8))
                assert entry["short_side_px"] == min(w, h)
                assert entry["visible"] == round(mask.sum() / frame.outlines_px[key], 3)
                assert 0 <= entry["visible"] <= 1
                counts = counts + colour_counts(frame.image, mask)
            assert item["colour"] == dominant_colour(counts)
            assert item["category"] == sprites[key].category
            claims = parse_caption(item["caption"])
            assert (claims["category"], claims["colour"]) == (item["category"], item["colour"])
            assert item["category"] in data["vocabulary"]["categories"]
            assert item["colour"] in data["vocabulary"]["colours"]


@pytest.mark.parametrize("many", [3, 8, 20])
def test_any_number_of_objects(many: int) -> None:
    film = film_of(1, seconds=2.0, objects_per_shot=many)
    ids = {a.object_id for shot in film.shots for a in shot.actors}
    assert ids == set(range(1, 2 * many + 1))
    assert film.frame(5).masks


@pytest.mark.parametrize("seconds", [0.1, 0.2, 0.5])
def test_the_shortest_films(seconds: float) -> None:
    film = film_of(1, seconds=seconds)
    frames = list(film.frames())
    assert len(frames) == round(seconds * 10)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"height_px": 181}, "both even"),
        ({"width_px": 62}, "at least 64"),
        ({"objects_per_shot": 2}, "at least 3 objects"),
        ({"seconds": 0.01}, "no frame"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Film(0, **settings)
