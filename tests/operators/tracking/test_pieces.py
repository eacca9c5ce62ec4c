"""Things that show in pieces, as glass does, and what a resting camera sees behind them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from operators.tracking.appearance import colour_codes, histogram
from operators.tracking.association import Associator
from operators.tracking.background import RestingBackground
from operators.tracking.candidate import make_candidate, outlined_share
from operators.tracking.flow import Motion
from operators.tracking.proposals import edge_strength, island_candidates, with_faint_outlines
from operators.tracking.track_state import Track
from operators.tracking.tracker import Tracker, TrackerConfig

HW = (180, 240)
WHOLE = (100, 40, 140, 150)
STILL = Motion(np.zeros((*HW, 2), np.float32), np.array([[1.0, 0, 0], [0, 1, 0]]))


def glass() -> np.ndarray:
    """A bottle: a clear top and bottom, faint sides with gaps."""
    image = np.full((*HW, 3), 150, np.uint8)
    x0, y0, x1, y1 = WHOLE
    cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), (128, 128, 128), -1)
    for y in (70, 90, 110):  # nothing to see of the sides here
        image[y : y + 3, x0 - 3 : x0 + 3] = image[y : y + 3, x1 - 3 : x1 + 3] = 145
    cv2.rectangle(image, (x0, y0), (x1 - 1, y0 + 14), (30, 40, 200), -1)
    cv2.rectangle(image, (x0, y1 - 20), (x1 - 1, y1 - 1), (70, 90, 160), -1)
    return image


def inside(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(HW, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def test_a_faint_outline_with_gaps_is_one_thing() -> None:
    image = glass()
    edges = edge_strength(image)
    islands = island_candidates(image, edges, 40)
    assert max(c.area_px for c in islands) < 0.3 * inside(*WHOLE).sum()
    (found,) = with_faint_outlines(islands, image, edges, 40)
    whole = make_candidate(inside(*WHOLE), edges)
    assert whole is not None
    assert 0.85 < found.area_px / whole.area_px < 1.2
    assert outlined_share(found, edges) > 0.8
    # what fills its outline stays what it is
    full = [whole]
    assert with_faint_outlines(full, image, edges, 40) == full


def piece(box: tuple[int, int, int, int], key: int, image: np.ndarray) -> Track:
    mask = inside(*box)
    look = histogram(colour_codes(image), mask > 0)
    track = Track(soft=mask * np.uint8(255), left=0, top=0, hw=HW, look=look, strength=20.0,
                  first_ns=0, last_ns=0, track_id=key, hits=3)  # fmt: skip
    track.set_mask(track.soft, 0, 0)
    return track


def rounds(n: int, tracks: list[Track], image: np.ndarray) -> None:
    edges = edge_strength(image)
    whole = make_candidate(inside(*WHOLE), edges)
    assert whole is not None
    for i in range(n):
        seen = [t for t in tracks if not t.merged_into]
        Associator(seen, colour_codes(image), edges, i, 40, 9).run([whole])


def test_pieces_of_one_thing_become_one_track() -> None:
    image = glass()
    top, bottom = piece((100, 40, 140, 55), 1, image), piece((100, 130, 140, 150), 2, image)
    rounds(6, [top, bottom], image)
    assert top.merged_into is bottom
    assert not bottom.merged_into  # the larger one goes on
    assert bottom.area_px == inside(*WHOLE).sum()


def test_what_withered_takes_its_outline_back_soon() -> None:
    image = glass()
    known = [piece((105, 60, 112, 100), 1, image), piece((105, 60, 112, 100), 1, image)]
    for track, usual in zip(known, (280, 3000), strict=True):
        track.hits, track.usual_area_px, track.strength = 20, usual, 5.0
        rounds(3, [track], image)
    assert known[0].area_px < 300  # never was larger: it is watched for longer
    assert known[1].area_px == inside(*WHOLE).sum()


def test_what_withered_takes_no_outline_that_changes() -> None:
    image = glass()
    edges = edge_strength(image)
    track = piece((105, 60, 112, 100), 1, image)
    track.hits, track.usual_area_px, track.strength = 20, 3000, 5.0
    x0, y0, x1, y1 = WHOLE
    for i, left in enumerate((0, 60, 0, 60)):  # as where the flow is wrong, and mixes in a wall
        other = make_candidate(inside(x0 - left, y0, x1, y1), edges)
        assert other is not None
        Associator([track], colour_codes(image), edges, i, 40, 9).run([other])
    assert track.area_px < 300


def test_a_young_track_does_not_become_many_times_larger_at_once() -> None:
    image = glass()
    hand, bottle = piece((105, 60, 112, 100), 1, image), piece((104, 60, 136, 100), 2, image)
    for track in (hand, bottle):
        track.strength = 5.0
        rounds(3, [track], image)
    assert hand.area_px < 300  # 16 times
    assert bottle.area_px == inside(*WHOLE).sum()  # 3.4 times
    rounds(6, [hand], image)
    assert hand.area_px == inside(*WHOLE).sum()  # it is still proposed


def test_a_larger_outline_that_is_not_taken_says_nothing_for_a_piece() -> None:
    image = glass()
    label = piece((100, 40, 140, 55), 0, image)  # its edges are far clearer than those of the whole
    rounds(6, [label], image)
    assert label.hits == 3


def test_what_is_known_well_is_not_taken_by_what_lies_around_it() -> None:
    image = glass()
    for hits, taken in ((40, False), (3, True)):
        cap, other = piece((100, 40, 140, 55), 1, image), piece((104, 80, 136, 90), 2, image)
        cap.hits = hits
        rounds(6, [cap, other], image)
        assert (cap.area_px == inside(*WHOLE).sum()) == taken


@pytest.mark.parametrize("why", ["they fill it", "long known", "moving apart"])
def test_things_that_only_touch_stay_apart(why: str) -> None:
    image = glass()
    middle = 95 if why == "they fill it" else 60
    tracks = [piece((100, 40, 140, middle), 1, image),
              piece((100, 155 - middle + 35, 140, 150), 2, image)]  # fmt: skip
    if why == "they fill it":
        tracks[1] = piece((100, 95, 140, 150), 2, image)
    for track in tracks:
        track.hits = 30 if why == "long known" else 3
    if why == "moving apart":
        tracks[0].velocity = np.array([0.5, 0.0])
    rounds(6, tracks, image)
    assert not any(t.merged_into for t in tracks)


def test_a_resting_camera_is_known_by_its_edges() -> None:
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.integers(60, 200, (9, 12, 3), dtype=np.uint8), HW[::-1],
                      interpolation=cv2.INTER_NEAREST)  # fmt: skip
    background = RestingBackground()
    for _ in range(14):
        background.update(wall, STILL, [])
    covered = wall.copy()
    covered[20:120, 60:120] = (200, 30, 30)
    assert background.is_seen_in(covered)
    assert not background.is_seen_in(np.roll(wall, 4, axis=1))
    # a fit that goes with what moves does not throw the background away
    wild = Motion(STILL.back, np.array([[1.0, 0, 5], [0, 1, 0]]))
    background.update(covered, wild, [])
    assert background.picture(covered) is not None
    background.update(np.roll(wall, 4, axis=1), wild, [])
    assert background.picture(wall) is None


def test_what_comes_out_joined_to_what_hid_it_has_its_id_again_when_they_part() -> None:
    image = glass()
    tracker = Tracker(TrackerConfig())
    lost, off = piece((100, 40, 140, 55), 3, image), piece((104, 42, 144, 57), 0, image)
    lost.hide(0)
    off.split_from_id, off.sure = 1, True
    tracker.tracks = [lost, off]
    assert not tracker._confirm([off], [])
    assert off.track_id == 3
    assert tracker.tracks == [off]
