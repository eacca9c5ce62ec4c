from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamer.errors import InputError
from streamer.records import Event, Frame
from streamer.testing import check_source

pytest.importorskip("pyvips")

import itertools

from streamer.sources.pan_image import PanImage
from streamer.sources.paths import KINDS, Walk, plan_walk, with_pauses
from streamer.sources.walk_record import walk_of_event

LONG_HW = (400, 6000)


def plan(kind: str = "auto", hw: tuple[int, int] = LONG_HW, **options: object) -> Walk:
    return plan_walk(hw, window_hw=(360, 640), kind=kind, **options)  # type: ignore[arg-type]


def covered(walk: Walk) -> bool:
    seen = np.zeros(walk.canvas_hw, bool)
    for x, y, width, height in (stop.box_xywh for stop in walk.stops):
        assert x >= 0
        assert y >= 0
        assert x + width <= walk.canvas_hw[1]
        assert y + height <= walk.canvas_hw[0]
        seen[y : y + height, x : x + width] = True
    return bool(seen.all())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "waypoints"])
@pytest.mark.parametrize("hw", [LONG_HW, (3000, 400), (900, 1100), (50, 60), (1, 900), (7, 1)])
def test_every_walk_sees_everything_in_increasing_time(kind: str, hw: tuple[int, int]) -> None:
    walk = plan(kind, hw, overlap=0.3)
    assert covered(walk)
    times = [stop.time_ns for stop in walk.stops]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert walk.duration_ns > times[-1]


def test_auto_follows_the_shape() -> None:
    assert plan().kind == "right_to_left"
    assert plan(hw=(4000, 500)).kind == "down"
    assert plan(hw=(900, 1100)).kind == "rows"
    xs = [stop.box_xywh[0] for stop in plan().stops]
    assert xs == sorted(xs, reverse=True)


def test_a_large_picture_gets_a_level_of_native_pixels() -> None:
    walk = plan(hw=(5000, 200_000), overlap=0.0)
    assert sorted({(stop.level, stop.zoom) for stop in walk.stops}) == [(0, 0.072), (1, 1.0)]


def test_time_is_distance_over_speed() -> None:
    walk = plan("left_to_right", speed_px_s=100.0)
    way_px = walk.stops[-1].box_xywh[0]
    # one second is lost in speeding up and slowing down
    assert walk.stops[-1].time_ns == pytest.approx((way_px / 100 + 1) * 1e9, rel=1e-6)
    double = plan("left_to_right", speed_px_s=200.0)
    assert double.stops[-1].time_ns < 0.53 * walk.stops[-1].time_ns


@pytest.mark.parametrize("busy", [0.0, 7.0])
def test_nothing_to_see_is_no_reason_to_rest(busy: float) -> None:
    walk = plan(speed_px_s=100.0)
    rested = with_pauses(walk, [busy] * len(walk.stops), 2.0)
    assert rested.duration_ns == walk.duration_ns


def test_the_window_glides_without_a_jump() -> None:
    walk = with_pauses(plan(speed_px_s=100.0), [float(i % 4 == 0) for i in range(18)], 2.0)
    assert any(stop.pause_ns for stop in walk.stops[:-1])
    before = walk.rect_at(0)
    steps = []
    for time_ns in range(0, walk.duration_ns, 40_000_000):
        rect = walk.rect_at(time_ns)
        steps.append(abs(rect[0] - before[0]))
        before = rect
    assert max(steps) == pytest.approx(4.0, rel=1e-6)
    assert max(abs(a - b) for a, b in itertools.pairwise(steps)) < 0.5
    for stop in walk.stops:
        assert walk.rect_at(stop.time_ns)[0] == pytest.approx(stop.box_xywh[0], abs=0.01)
        if stop.pause_ns:
            assert walk.rect_at(stop.time_ns + stop.pause_ns)[0] == stop.box_xywh[0]


def test_rows_turn_and_readers_return() -> None:
    rows = plan("rows", (900, 1100), zooms=[1.0])
    assert not any(stop.returns for stop in rows.stops)
    back = plan("right_to_left", (900, 1100), zooms=[1.0])
    returns = [stop.index for stop in back.stops if stop.returns]
    assert returns
    assert all(back.stops[i].box_xywh[0] > back.stops[i - 1].box_xywh[0] for i in returns)


def test_waypoints(tmp_path: Path) -> None:
    file = tmp_path / "way.yaml"
    file.write_text("- {x: 400, y: 200}\n- {x: 5000, y: 100, zoom: 3, pause_s: 1.5}\n")
    walk = plan("waypoints", waypoints=str(file))
    last = walk.stops[-1]
    assert last.zoom == 3
    assert last.pause_ns == 1_500_000_000
    assert len(walk.stops) > 10  # what lies between is looked at
    for text in ("", "a: 1", "- {x: 3}", "- {x: 9999, y: 3}", "- {x: 1, y: 2, zoom: 0}", "- [1]"):
        file.write_text(text)
        with pytest.raises(InputError, match="waypoint") as error:
            plan("waypoints", waypoints=str(file))
        assert str(file) in str(error.value)
    with pytest.raises(InputError, match="waypoint"):
        plan("waypoints", waypoints=str(tmp_path / "none.yaml"))


def save(path: Path, size: tuple[int, int]) -> str:
    x = np.arange(size[0])[None, :, None] + np.zeros((size[1], 1, 3), int)
    Image.fromarray((x % 250).astype(np.uint8)).save(path)
    return str(path)


def test_frames_show_their_viewport(tmp_path: Path) -> None:
    path = save(tmp_path / "scroll.png", (3000, 100))
    records = check_source(lambda: PanImage(path, window_width=320, window_height=180))
    frames = [record for record in records if isinstance(record, Frame)]
    assert {r.kind for r in records if isinstance(r, Event)} == {"walk", "passed"}
    for frame in frames:
        assert frame.image.shape == (100, 178, 3)
        assert int(frame.image[0, 0, 0]) == frame.viewport.x_px % 250
        assert (frame.viewport.canvas_height_px, frame.viewport.canvas_width_px) == (100, 3000)
    source = PanImage(path, window_width=320, window_height=180)
    (info,) = source.open()
    assert info.frames == len(frames)
    source.first_index = 5
    assert [f.index for f in source.read() if isinstance(f, Frame)] == list(range(5, len(frames)))


@pytest.mark.parametrize("size", [(60, 40), (700, 1), (1, 700), (1, 1)])
def test_pictures_smaller_than_the_window(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path / "small.png", size)
    records = check_source(lambda: PanImage(path))
    assert any(isinstance(record, Frame) for record in records)
    assert not any(isinstance(r, Event) and r.kind == "input_error" for r in records)


def test_damage_in_the_middle_loses_one_window(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = save(tmp_path / "scroll.png", (3000, 100))
    source = PanImage(path, window_width=320, window_height=180)
    source.open()
    assert source.canvas is not None
    whole = source.canvas.window

    def window(x: int, *rest: object) -> object:
        if x == source.walk.stops[3].box_xywh[0]:  # type: ignore[union-attr]
            raise InputError("scroll.png cannot be read as a picture (bad tile); replace it")
        return whole(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(source.canvas, "window", window)
    records = list(source.read())
    (event,) = [r for r in records if isinstance(r, Event) and r.kind == "input_error"]
    assert "window 3" in event.data["reason"]
    frames = [r for r in records if isinstance(r, Frame)]
    assert len(frames) == len(source.walk.stops) - 1  # type: ignore[union-attr]


def test_cells_are_passed_when_no_later_window_shows_them(tmp_path: Path) -> None:
    path = save(tmp_path / "scroll.png", (1500, 400))
    source = PanImage(path, window_width=320, window_height=180, walk="rows", zooms=[1.0, 2.0])
    source.open()
    records = list(source.read())
    walk = walk_of_event(records[0])  # type: ignore[arg-type]
    assert walk == source.walk
    passed: set[tuple[int, int]] = set()
    for n, record in enumerate(records):
        if isinstance(record, Event) and record.kind == "passed":
            side = record.data["cell_px"]
            for i, j in record.data["cells"]:
                assert (i, j) not in passed
                passed.add((i, j))
                for later in records[n:]:
                    if isinstance(later, Frame):
                        view = later.viewport
                        x, y = i * side, j * side
                        assert (
                            x + side <= view.x_px or x >= view.x_px + view.width_px
                            or y + side <= view.y_px or y >= view.y_px + view.height_px
                        )  # fmt: skip
    assert len(passed) == -(-1500 // side) * -(-400 // side)


@pytest.mark.parametrize(
    "bad", [{"walk": "zigzag"}, {"walk": "waypoints"}, {"overlap": 1.0}, {"zooms": [0.0]},
            {"window_width": 3}, {"pause_s": -1.0}],
)  # fmt: skip
def test_settings_are_checked(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
        PanImage("a.tif", **bad)  # type: ignore[arg-type]
