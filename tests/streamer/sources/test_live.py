"""Live streams over real sockets and pipes; RTSP itself is in tests/live."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.records import Event, Frame
from streamer.sources.live import LiveVideo
from streamer.sources.live_clock import now_ns
from streamer.sources.live_input import is_live, shown
from streamer.sources.live_ring import Ring
from tests.streamer.sources.live_feeds import HW, feed, paced, transport_stream


def frame(index: int, stream_id: str = "a") -> Frame:
    image = np.zeros((4, 6, 3), np.uint8)
    return Frame(
        stream_id=stream_id, index=index, time_ns=index, image=image, viewport=Viewport.whole(4, 6)
    )


def drained(ring: Ring) -> list[Frame | Event]:
    items: list[Frame | Event] = []
    while taken := ring.get(0):
        items += taken
    return items


def test_a_full_ring_drops_the_oldest_and_says_so() -> None:
    ring = Ring(3)
    ring.put(Event(stream_id="a", time_ns=0, kind="input_error"))
    for i in range(8):
        ring.put(frame(i))
    ring.put(frame(0, "b"))
    items = drained(ring)
    assert [i.index if isinstance(i, Frame) else i.kind for i in items] == [
        "input_error", "gap", 5, 6, 7, 0,
    ]  # fmt: skip
    gap = items[1]
    assert isinstance(gap, Event)
    assert (gap.time_ns, gap.order_ns) == (0, 4)
    assert gap.data == {"reason": "overload", "frames": 5, "until_ns": 4, "known_ns": 4}
    assert ring.gaps.dropped == 5
    ring.put(frame(8))
    assert [type(i) for i in drained(ring)] == [Frame]


def test_passwords_are_not_shown() -> None:
    assert shown("rtsp://me:se@cret@host:554/a?key=1") == "rtsp://me:***@host:554/a?***"
    assert shown("rtsp://host/a") == "rtsp://host/a"
    assert shown("/dev/video0") == "/dev/video0"


def test_what_is_live(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "film.mp4").touch()
    assert is_live("rtsp://x/y")
    assert is_live(str(tmp_path / "pipe"))
    assert not is_live(str(tmp_path / "film.mp4"))
    with pytest.raises(InputError, match=r"cam: .*film\.mp4' is neither .* `streamer caption`"):
        LiveVideo({"cam": str(tmp_path / "film.mp4")}).open()


def collected(
    source: LiveVideo, enough: Callable[[list[Frame | Event]], bool], limit_s: float = 30
) -> list[Frame | Event]:
    """What a source gives until it is enough."""
    found: list[Frame | Event] = []
    threading.Timer(limit_s, source.interrupt).start()
    for record in source.read():
        found.append(record)
        if enough(found):
            return found
    raise AssertionError(f"not enough within {limit_s} s: {found[-5:]}")


def frames_of(records: Sequence[Frame | Event]) -> list[Frame]:
    return [r for r in records if isinstance(r, Frame)]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "cam")
    return tmp_path / "cam"


def write(pipe: Path, parts: Sequence[bytes], seconds: float) -> threading.Thread:
    def work() -> None:
        try:
            with pipe.open("wb") as file:
                for chunk in paced(parts, seconds):
                    file.write(chunk)
                    file.flush()
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_pipe_through_jumping_time_stamps_and_a_second_writer(pipe: Path) -> None:
    source = LiveVideo({"cam": str(pipe)}, buffer_frames=500, connect_s=5)
    begun_ns = now_ns()
    # ahead by an hour, and back to the start
    writer = write(
        pipe, [transport_stream(30), transport_stream(30, 3600), transport_stream(30)], 3.6
    )
    try:
        (info,) = source.open()
        assert (info.height_px, info.width_px) == HW
        assert begun_ns < info.begin_ns < now_ns()
        found = collected(source, lambda f: len(frames_of(f)) >= 60)
        writer.join()
        found += collected(
            source, lambda f: any(isinstance(r, Event) and r.kind == "input_error" for r in f)
        )
        write(pipe, [transport_stream(75)], 3.0)
        found += collected(source, lambda f: len(frames_of(f)) >= 20)
    finally:
        source.close()
    times = [f.time_ns for f in frames_of(found)]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert begun_ns < times[0]
    assert times[-1] - times[0] < now_ns() - begun_ns
    assert [f.index for f in frames_of(found)] == list(range(len(times)))
    kinds = [r.kind for r in found if isinstance(r, Event)]
    assert kinds == ["input_error", "gap"]
    gap = next(r for r in found if isinstance(r, Event) and r.kind == "gap")
    assert gap.data["until_ns"] > gap.time_ns
    assert gap.data["reason"] == "the stream ended"


def test_pictures_of_several_slices_are_whole(pipe: Path) -> None:
    film = transport_stream(
        100, grey=60, codec="libx264", options={"slices": "4", "tune": "zerolatency", "g": "10"}
    )
    source = LiveVideo({"cam": str(pipe)}, connect_s=5)
    write(pipe, [film], 4.0)
    try:
        source.open()
        found = frames_of(collected(source, lambda f: len(frames_of(f)) >= 40))
    finally:
        source.close()
    whole = found[10:]  # the first key frame has come
    assert max(float(np.ptp(f.image)) for f in whole) < 12
    levels = [float(f.image.mean()) for f in whole]
    assert all(abs(b - a - 1) < 1.5 for a, b in itertools.pairwise(levels))


def test_a_server_that_goes_and_comes_back() -> None:
    with feed() as server:
        port = server.port
        source = LiveVideo({"cam": f"http://127.0.0.1:{port}/live?key=secret"}, stall_s=2)
        source.open()
        found = collected(source, lambda f: len(frames_of(f)) >= 20)
    found += collected(source, lambda f: isinstance(f[-1], Event))
    time.sleep(1)
    with feed(port):
        back_s = time.monotonic()
        found += collected(source, lambda f: len(frames_of(f)) >= 20)
        back_s = time.monotonic() - back_s
    source.close()
    times = [f.time_ns for f in frames_of(found)]
    assert all(a < b for a, b in itertools.pairwise(times))
    error, gap = (r for r in found if isinstance(r, Event))
    assert (error.kind, gap.kind) == ("input_error", "gap")
    assert "secret" not in error.data["reason"]
    assert gap.data["until_ns"] - gap.time_ns > 1e9
    assert back_s < 5


def test_hls() -> None:
    with feed() as server:
        source = LiveVideo({"cam": f"http://127.0.0.1:{server.port}/hls.m3u8"})
        source.open()
        try:
            found = collected(source, lambda f: len(frames_of(f)) >= 60)
        finally:
            source.close()
    times = [f.time_ns for f in frames_of(found)]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert frames_of(found)[0].hw == HW
    # three segments and more: those of the first list, and what came later
    assert not [r for r in found if isinstance(r, Event)]


def test_a_silent_stream_and_an_absent_one_hold_no_other_up() -> None:
    with feed() as server:
        base = f"http://127.0.0.1:{server.port}"
        source = LiveVideo(
            {"live": f"{base}/live", "mute": f"{base}/mute", "gone": f"{base}/gone"},
            stall_s=1.5,
            retry_s=0.5,
        )
        infos = {info.stream_id: info for info in source.open()}
        assert (infos["gone"].height_px, infos["live"].height_px) == (0, HW[0])
        found = collected(
            source,
            lambda f: sum(
                isinstance(r, Event) and r.kind == "gap" and r.stream_id == "mute" for r in f
            ) == 2,
        )  # fmt: skip
        source.close()
    lively = [f for f in frames_of(found) if f.stream_id == "live"]
    span_s = (lively[-1].time_ns - lively[0].time_ns) / 1e9
    assert len(lively) > 15 * span_s
    errors = {r.stream_id: r for r in found if isinstance(r, Event) and r.kind == "input_error"}
    assert "no answer in time" in errors["mute"].data["reason"]
    assert "no such stream" in errors["gone"].data["reason"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("text", "no video that FFmpeg knows"),
        ("private", "refuses user name or password"),
        ("gone", "the server has no such stream"),
    ],
)
def test_one_line_for_a_stream_that_cannot_be(path: str, said: str) -> None:
    with feed() as server:
        source = LiveVideo({"cam": f"http://me:secret@127.0.0.1:{server.port}/{path}"})
        with pytest.raises(InputError, match=said) as caught:
            source.open()
        source.close()
    assert str(caught.value).startswith(f"http://me:***@127.0.0.1:{server.port}/{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_HOST", "127.0.0.1:9")
    for address in ("rtsp://me:secret@127.0.0.1:9/x", "rtsp://me:secret@$CAMERA_HOST/x"):
        source = LiveVideo({"cam": address})
        shown_as = re.escape(address.replace("secret", "***"))
        with pytest.raises(InputError, match=f"{shown_as}: nobody answers"):
            source.open()
        source.close()


def test_a_pipe_into_which_nobody_writes(pipe: Path) -> None:
    source = LiveVideo({"cam": str(pipe)}, connect_s=0.5)
    with pytest.raises(InputError, match="nobody writes into the pipe"):
        source.open()
    source.close()


def test_settings_that_cannot_be() -> None:
    for settings, said in (
        ({"stall_s": 0.0}, "stall_s is 0.0"),
        ({"transport": "pigeon"}, "tcp or udp"),
        ({"max_height": 4}, "at least 16"),
    ):
        with pytest.raises(ValueError, match=said):
            LiveVideo({"cam": "rtsp://x/y"}, **settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="urls is empty"):
        LiveVideo({})
