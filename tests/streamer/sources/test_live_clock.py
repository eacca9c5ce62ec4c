"""Unix time from the time stamps of live streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.live_clock import CAMERA_UNCERTAINTY_NS, LiveClock, Stamp

MS = 1_000_000
S = 1000 * MS
FRAME_NS = 40 * MS
T0 = 1_700_000_000 * S


def stamps(clock: LiveClock, pts: list[int | None], arrivals: list[int]) -> list[Stamp]:
    return [clock.stamp(p, a) for p, a in zip(pts, arrivals, strict=True)]


def test_even_arrivals_keep_the_distances_of_the_time_stamps() -> None:
    pts = [i * FRAME_NS for i in range(100)]
    found = stamps(LiveClock(), [*pts], [T0 + p for p in pts])
    assert [s.time_ns for s in found] == [T0 + p for p in pts]
    assert {s.uncertainty_ns for s in found} == {0}


def test_frames_held_up_on_their_way_keep_their_times() -> None:
    pts = [i * FRAME_NS for i in range(200)]
    late = [(i * 7919) % 30 * MS if i else 0 for i in range(200)]
    found = stamps(LiveClock(), [*pts], [T0 + p + d for p, d in zip(pts, late, strict=True)])
    assert [s.time_ns for s in found] == [T0 + p for p in pts]
    assert found[-1].uncertainty_ns == max(late)


def test_a_network_that_stood_still_is_no_jump() -> None:
    pts = [i * FRAME_NS for i in range(300)]
    arrivals = [T0 + (p if not 100 <= i < 250 else pts[250]) for i, p in enumerate(pts)]
    found = stamps(LiveClock(), [*pts], arrivals)
    assert [s.time_ns for s in found] == [T0 + p for p in pts]


def test_time_stamps_set_anew_go_on_by_arrival() -> None:
    for second in (0, 3600 * S):  # back to zero, and an hour ahead
        pts = [5 * S + i * FRAME_NS for i in range(50)] + [second + i * FRAME_NS for i in range(50)]
        arrivals = [T0 + i * FRAME_NS for i in range(100)]
        found = stamps(LiveClock(), [*pts], arrivals)
        assert [s.time_ns for s in found] == arrivals


def test_missing_and_repeated_time_stamps() -> None:
    arrivals = [T0 + i * FRAME_NS for i in range(6)]
    found = stamps(LiveClock(), [0, None, 2 * FRAME_NS, 2 * FRAME_NS, None, 5 * FRAME_NS], arrivals)
    times = [s.time_ns - T0 for s in found]
    assert times == [0, FRAME_NS, 2 * FRAME_NS, 2 * FRAME_NS + 1, 4 * FRAME_NS, 5 * FRAME_NS]


def test_the_cameras_clock_is_believed_unless_it_turns_time_back_or_was_never_set() -> None:
    clock = LiveClock()
    told = clock.stamp(0, T0, T0 - 300 * MS)
    assert told == Stamp(T0 - 300 * MS, CAMERA_UNCERTAINTY_NS)
    assert clock.camera
    unset = clock.stamp(FRAME_NS, T0 + FRAME_NS, 5 * S)
    assert unset.time_ns == T0 + FRAME_NS
    assert not clock.camera
    back = clock.stamp(2 * FRAME_NS, T0 + 2 * FRAME_NS, T0 - 10 * S)
    assert back.time_ns == T0 + 2 * FRAME_NS


def test_a_first_report_that_corrects_arrival_says_how_far_it_is_off() -> None:
    clock = LiveClock()
    clock.stamp(0, T0)
    found = clock.stamp(FRAME_NS, T0 + FRAME_NS, T0 - 200 * MS)
    assert found == Stamp(T0 + 1, CAMERA_UNCERTAINTY_NS + 200 * MS + 1)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.integers(-(10**12), 10**13)),
            st.integers(0, 10 * S),
            st.one_of(st.none(), st.integers(T0 - 5 * S, T0 + 100 * S)),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_time_only_runs_forward(
    frames: list[tuple[int | None, int, int | None, bool]],
) -> None:
    clock, arrival_ns, last_ns = LiveClock(), T0, 0
    for pts_ns, later_ns, camera_ns, anew in frames:
        if anew:
            clock.reconnect()
        arrival_ns += later_ns
        found = clock.stamp(pts_ns, arrival_ns, camera_ns)
        assert found.time_ns > last_ns
        assert found.uncertainty_ns >= 0
        last_ns = found.time_ns
