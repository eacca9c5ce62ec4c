"""Ask on a camera in Chromium, while a real `streamer watch` runs, and afterwards."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from streamer.sinks.newest import taken_of
from tests.streamer.sources.live_feeds import paced
from tests.streamer.viewer.viewed_runs import BrightAsker
from tests.viewer.pages import SETTINGS, Open, axe_faults, shoot, until
from tests.viewer.served import served

pytestmark = pytest.mark.browser
FPS, SECONDS, HW = 10, 240, (180, 320)


def scene(seconds: int) -> bytes:
    """MPEG-TS: a red square goes to and fro in 8 s."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=FPS, options={"g": "10", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *HW, "yuv420p"
        stream.bit_rate = 1_000_000
        for n in range(seconds * FPS):
            image = np.full((*HW, 3), 120, np.uint8)
            x = 20 + abs(40 - n % 80) * 5
            image[60:130, x : x + 70] = (210, 30, 30)
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = n, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return file.getvalue()


class Camera:
    """A `streamer watch` on a named pipe that a camera writes into."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        pipe = folder / "gate"
        os.mkfifo(pipe)
        self._over = threading.Event()
        self._film = scene(SECONDS)
        threading.Thread(target=self._write, args=(pipe,), daemon=True).start()
        with (folder / "said.txt").open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamer", "watch", f"gate={pipe}", "-o", str(self.out),
                 "-q"], stdout=said, stderr=said,
            )  # fmt: skip
        deadline_s = time.monotonic() + 90
        while not (self.out / "newest" / "gate.jpg").exists() or self.tracks() == 0:
            assert self.process.poll() is None, (folder / "said.txt").read_text()
            assert time.monotonic() < deadline_s, (folder / "said.txt").read_text()
            time.sleep(0.2)

    def tracks(self) -> int:
        try:
            return (self.out / "live.jsonl").read_text().count('"track_start"')
        except OSError:
            return 0

    def end(self) -> None:
        self._over.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()

    def _write(self, pipe: Path) -> None:
        try:
            with pipe.open("wb", buffering=0) as file:
                for chunk in paced([self._film], SECONDS):
                    if self._over.is_set():
                        return
                    file.write(chunk)
        except OSError:
            pass


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    made = Camera(tmp_path_factory.mktemp("camera"))
    yield made
    made.end()


def shown(page: Any) -> str:
    """The address of the picture that is shown, another for every picture."""
    return str(page.evaluate("document.getElementById('still').src"))


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the picture lies in the page."""
    stage = page.locator("#stage").bounding_box()
    scale = min(stage["width"] / HW[1], stage["height"] / HW[0])
    left = stage["x"] + (stage["width"] - HW[1] * scale) / 2
    return left + x * scale, stage["y"] + (stage["height"] - HW[0] * scale) / 2 + y * scale


def answers(page: Any, count: int) -> list[str]:
    until(page, f"document.querySelectorAll('#answers .answer').length === {count}")
    return list(page.locator("#answers .answer b").all_inner_texts())


def square_in(page: Any) -> tuple[int, int]:
    """Where the middle of the red square is in the picture that is shown."""
    pixels = page.evaluate(
        "(() => { const i = document.getElementById('still'), c = document.createElement('canvas');"
        " c.width = i.naturalWidth; c.height = i.naturalHeight; const g = c.getContext('2d');"
        " g.drawImage(i, 0, 0); const d = g.getImageData(0, 95, c.width, 1).data, on = [];"
        " for (let x = 0; x < c.width; x += 1) if (d[4 * x] - d[4 * x + 1] > 80) on.push(x);"
        " return on; })()"
    )
    return int(np.mean(pixels)), 95


def masks_drawn(page: Any, x: float, y: float) -> bool:
    left, top = at(page, x, y)
    stage = page.locator("#stage").bounding_box()
    return bool(page.evaluate(
        "([x, y]) => document.getElementById('overlay').getContext('2d').getImageData("
        "x * devicePixelRatio, y * devicePixelRatio, 1, 1).data[3] > 0",
        [left - stage["x"], top - stage["y"]],
    ))  # fmt: skip


def wait_for_masks(page: Any) -> None:
    """Until the masks lie on what is seen, and nowhere else, while the picture stays the same."""
    end_s = time.monotonic() + 40
    while True:
        before, (x, y) = shown(page), square_in(page)
        fits = masks_drawn(page, x, y) and not masks_drawn(page, (x + 160) % 320, 20)
        if fits and shown(page) == before:
            return
        assert time.monotonic() < end_s, "the masks never fitted the picture"
        page.wait_for_timeout(100)


def saved(camera: Camera) -> list[dict[str, Any]]:
    lines = (camera.out / "asked.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_is_followed_frozen_asked_about_and_saved(camera: Camera, open_page: Open) -> None:
    with served(camera.out, BrightAsker) as address:
        page = open_page(address)
        page.wait_for_selector("#still", state="visible")
        first = shown(page)
        until(page, f"document.getElementById('still').src !== '{first}'")  # it goes on
        assert page.get_attribute("#to-live", "aria-pressed") == "true"
        wait_for_masks(page)
        shoot(page, "camera-live")
        page.keyboard.press("3")  # asking freezes it
        frozen = shown(page)
        x, y = square_in(page)
        page.wait_for_timeout(2500)  # the file has been replaced more than once
        assert shown(page) == frozen
        page.mouse.click(*at(page, x, y))
        (tracked,) = answers(page, 1)
        assert 3000 < int(tracked.split()[1]) < 7500  # the track there: about 70 x 70 px
        page.mouse.move(*at(page, 10, 140))
        page.mouse.down()
        page.mouse.move(*at(page, 20, 150), steps=3)
        page.mouse.move(*at(page, 30, 160), steps=3)
        page.mouse.up()
        assert answers(page, 2)[1] == "short 400 px"
        page.fill("#ask-text", "Is it wet?")
        page.keyboard.press("Enter")
        assert answers(page, 3)[2] == "1 turns before"
        page.fill("#ask-text", "And cold?")
        page.keyboard.press("Enter")
        assert answers(page, 4)[3] == "2 turns before"
        page.click("#ask-save")
        until(page, "document.getElementById('said').textContent.includes('saved')")
        shoot(page, "camera-ask")
        (record,) = saved(camera)
        assert (record["stream_id"], record["text"]) == ("gate", "short 400 px")
        assert record["detail"] == "Is it wet? 1 turns before; And cold? 2 turns before"
        assert record["box_xyxy"] == [10, 140, 30, 160]
        assert record["track_id"] > 10**6  # the run may number its own tracks on
        assert abs(record["frame_time_ns"] / 1e9 - time.time()) < 60
        page.click("#ask-all")
        until(page, "document.querySelectorAll('#answers .answer').length >= 3")
        # live again: another picture, and what was asked belongs to the one before
        page.click("#to-live")
        until(page, f"document.getElementById('still').src !== '{frozen}'")
        assert page.locator("#answers .answer").count() == 0
        page.reload()
        page.wait_for_selector("#captions .row-item")
        page.fill("#search", "wet cold")
        until(page, "document.querySelectorAll('#captions .row-item').length === 1")
        # at the moment of that answer there is no picture any more, which is said
        page.click("#captions .row-item")
        page.wait_for_selector("#no-film", state="visible")
        assert page.is_hidden("#still")
        page.click("#tab-ask")
        assert "press Live" in page.inner_text("#ask-hint")
        assert page.is_disabled("#ask-all")
        page.click("#to-live")
        page.wait_for_selector("#still", state="visible")


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_looks_and_accessibility(
    camera: Camera, open_page: Open, name: str, settings: dict[str, Any]
) -> None:
    with served(camera.out, BrightAsker) as address:
        page = open_page(address, bypass_csp=True, **settings)
        page.wait_for_selector("#still", state="visible")
        page.wait_for_timeout(2500)
        shoot(page, f"camera-{name}")
        assert axe_faults(page) == []
        page.click("#tab-ask")
        x, y = at(page, *square_in(page))
        if name == "phone":
            page.touchscreen.tap(x, y)
        else:
            page.mouse.click(x, y)
        answers(page, 1)
        page.wait_for_timeout(300)
        assert axe_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shoot(page, f"camera-ask-{name}")


def test_it_can_be_asked_about_when_the_run_has_ended(camera: Camera, open_page: Open) -> None:
    camera.end()
    picture = (camera.out / "newest" / "gate.jpg").read_bytes()
    taken = taken_of(picture)
    assert taken is not None
    assert Image.open(io.BytesIO(picture)).size == HW[::-1]
    with served(camera.out, BrightAsker) as address:
        page = open_page(address)
        page.wait_for_selector("#still", state="visible")
        page.click("#play")  # pause
        page.keyboard.press("3")
        page.mouse.click(*at(page, 20, 20))
        assert answers(page, 1) == ["short 100 px"]
        page.click("#ask-save")
        until(page, "document.getElementById('said').textContent.includes('saved')")
    record = saved(camera)[-1]
    assert (record["frame_time_ns"], record["frame_index"]) == (taken.time_ns, taken.frame_index)
    assert record["uncertainty_ns"] == taken.uncertainty_ns
