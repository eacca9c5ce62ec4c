"""When a track is asked about."""

from __future__ import annotations

import numpy as np

from operators.select import Select
from streamer.mask import Mask
from streamer.records import CaptionRequest, Event, Frame, Record, Region, TrackedFrame
from streamer.testing import check_operator, frames_of

HW = (120, 200)


def region(x: int, y: int, w: int, h: int, track_id: int = 1) -> Region:
    dense = np.zeros(HW, bool)
    dense[y : y + h, x : x + w] = True
    mask = Mask.encode(dense)
    return Region(mask=mask, box_xyxy=mask.box_xyxy, score=0.9, track_id=track_id)


def frames(grays: list[int]) -> list[Frame]:
    return frames_of([np.full((*HW, 3), g, np.uint8) for g in grays], step_ns=100_000_000)


def seen(regions: list[Region], grays: list[int] | None = None) -> list[Record]:
    shots = frames(grays or [90] * len(regions))
    return [TrackedFrame(frame=f, regions=(r,)) for f, r in zip(shots, regions, strict=True)]


def reasons(items: list[Record]) -> list[tuple[str, ...]]:
    return [r.why for r in check_operator(Select, items) if isinstance(r, CaptionRequest)]


def test_when_words_are_asked_for() -> None:
    steady = region(60, 40, 40, 30)
    assert reasons(seen([steady] * 30)) == [("new",)]
    assert reasons(seen([steady] * 130)) == [("new",), ("old",)]
    grown = [region(60, 40, 30, 22)] * 20 + [region(40, 20, 90, 70)] * 20
    assert reasons(seen(grown)) == [("new",), ("better_view",)]
    assert reasons(seen([steady] * 40, [60] * 20 + [220] * 20)) == [("new",), ("changed",)]
    assert reasons(seen([region(60, 40, 40, 10)] * 30)) == []  # too small


def test_a_track_at_the_border_waits_for_a_better_view() -> None:
    made = check_operator(Select, seen([region(0, 40, 40, 30)] * 8 + [region(60, 40, 40, 30)] * 9))
    (request,) = [r for r in made if isinstance(r, CaptionRequest)]
    assert request.frame.index >= 8
    assert request.start_ns == (0,)


def test_all_due_tracks_share_a_request() -> None:
    both = (region(20, 20, 40, 30, 1), region(120, 60, 40, 30, 2))
    items: list[Record] = [TrackedFrame(frame=f, regions=both) for f in frames([90] * 10)]
    (request,) = [r for r in check_operator(Select, items) if isinstance(r, CaptionRequest)]
    assert [r.track_id for r in request.regions] == [1, 2]


def test_a_track_that_ends_unasked_is_asked_about_before_its_end() -> None:
    items = seen([region(60, 40, 40, 30)] * 3)
    end = Event(stream_id="test", time_ns=300_000_000, kind="track_end", track_id=1)
    made = check_operator(Select, [*items, end])
    assert [type(r) for r in made] == [CaptionRequest, Event]
    assert made[0].order_ns == 300_000_000
