"""Real footage of fixed cameras, where everything that passes was counted by eye.

Frames and boxes were read off the pictures.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from operators.track import Track
from streamer.records import TrackedFrame
from streamer.sources.video_file import VideoFile

# frame of entering, of leaving
CARS = {"white": (56, 107), "silver": (184, 229), "red": (190, 236), "coupe": (318, 346)}
LAST = 1188
# frame of entering, of leaving, frames between which it stands free (from about a second after the
# hand let go, when its pieces are one), box while it does
BOTTLES = {
    "left": (0, 212, (10, 165), (55, 108, 122, 313)),
    "middle": (0, 534, (10, 470), (286, 109, 347, 314)),
    "right": (0, 956, (10, 900), (508, 107, 573, 316)),
    "second left": (335, 534, (445, 475), (65, 111, 132, 313)),
    "second middle": (658, LAST, (750, 1180), (289, 111, 351, 314)),
    "third left": (814, LAST, (885, 1180), (48, 109, 115, 313)),
    "second right": (1035, LAST, (1110, 1180), (514, 106, 580, 316)),
}
# frames after entering, where the second that is wanted is not reached: a moving hand lets it down,
# and its glass shows late
LATE = {"second middle": 42}


def tracked(path: Path, sam: str = "nano") -> list[TrackedFrame]:
    operator = Track(sam=sam)
    operator.setup()
    source = VideoFile(str(path))
    source.open()
    made = [item for frame in source.read() for item in operator.process([frame])]
    return [item for item in made if isinstance(item, TrackedFrame)]


def spans(frames: list[TrackedFrame]) -> dict[int, tuple[int, int]]:
    """First and last frame in which each track is seen."""
    seen: dict[int, list[int]] = {}
    for item in frames:
        for region in item.regions:
            seen.setdefault(region.track_id, []).append(item.frame.index)
    return {key: (indices[0], indices[-1]) for key, indices in seen.items()}


def test_every_car_is_one_track_from_entering_to_leaving(media_dir: Path) -> None:
    frames = tracked(media_dir / "surveillance_cars.mp4")
    large = {
        region.track_id
        for item in frames
        for region in item.regions
        if region.mask.area_px > 0.01 * item.frame.image[..., 0].size
    }
    found = sorted(span for key, span in spans(frames).items() if key in large)
    assert len(found) == len(CARS)
    for (first, last), (entering, leaving) in zip(found, CARS.values(), strict=True):
        assert first <= entering + 6  # half a second
        assert last >= leaving - 6


@pytest.mark.slow
@pytest.mark.parametrize("sam", ["nano", "none"])
def test_every_bottle_is_one_track_from_entering_to_leaving(media_dir: Path, sam: str) -> None:
    frames = tracked(media_dir / "conveyor_bottles.mp4", sam)
    span = spans(frames)
    bottles: set[tuple[str, int]] = set()
    wrong = []
    for name, (_, _, (begin, end), (x0, y0, x1, y1)) in BOTTLES.items():
        size = (x1 - x0) * (y1 - y0)
        for index in range(begin, end + 1, 15):
            inside = {}
            for region in frames[index].regions:
                mask = region.mask.decode()
                common = np.count_nonzero(mask[y0:y1, x0:x1])
                if common > 0.6 * region.mask.area_px:
                    inside[region.track_id] = common / size
            if [share > 0.55 for share in inside.values()] != [True]:
                wrong.append((name, index, inside))
            bottles.update((name, key) for key in inside)
    assert not wrong
    for name, (entering, leaving, *_) in BOTTLES.items():
        (key,) = {key for other, key in bottles if other == name}
        assert span[key][0] <= entering + LATE.get(name, 30), name
        assert span[key][1] >= leaving - 4, name
    assert len({key for _, key in bottles}) == len(BOTTLES)


@pytest.mark.slow
def test_tracks_do_not_flicker_where_the_camera_moves_or_much_goes_on(media_dir: Path) -> None:
    frames = Counter[tuple[str, int]]()
    for name in ("birdcartoon", "cyclist", "dog", "pingpong", "skateboarder"):
        for item in tracked(media_dir / f"{name}.mp4"):
            frames.update((name, region.track_id) for region in item.regions)
    short = [key for key, n in frames.items() if n < 5]
    assert len(frames) > 40
    assert len(short) < 0.1 * len(frames), short


@pytest.mark.slow
def test_the_mask_of_a_skateboarder_does_not_take_in_the_wall_behind_him(media_dir: Path) -> None:
    frames = tracked(media_dir / "skateboarder.mp4")
    shares = [
        region.mask.area_px / item.frame.image[..., 0].size
        for item in frames
        for region in item.regions
    ]
    assert len(shares) > len(frames)
    # with his shadow he is 10 % of the picture at most
    assert max(shares) < 0.13
