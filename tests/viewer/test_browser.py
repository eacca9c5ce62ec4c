"""The viewer in Chromium: plays, seeks, searches, follows a run, asks; no errors, no axe fault."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.records import StreamInfo
from streamer.sinks.catalog import Catalog
from tests.media_factory import write_film
from tests.streamer.sinks.sink_records import caption, event, numbered_frames, region, tracked
from tests.streamer.viewer.viewed_runs import SCRIPT, BrightAsker, write_run, write_scroll
from tests.viewer.pages import SETTINGS, Open, axe_faults, shoot, until
from tests.viewer.served import served

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("view") / "out")


def now_ms(page: Any) -> float:
    return float(page.evaluate("document.getElementById('video').currentTime * 1000"))


def drawn(page: Any) -> int:
    """Pixels of the overlay that are not clear."""
    return int(
        page.evaluate(
            "(() => { const c = document.getElementById('overlay');"
            " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;"
            " for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()"
        )
    )


def test_it_plays_seeks_and_draws(out: Path, open_page: Open) -> None:
    with served(out) as address:
        page = open_page(address)
        page.wait_for_selector("#captions .row-item")
        assert page.evaluate("location.search") == ""  # the token is not left in the address
        until(page, "document.getElementById('video').readyState >= 2")
        page.click("#play")
        until(page, "document.getElementById('video').currentTime > 0.3")
        page.keyboard.press("k")
        until(page, "document.getElementById('video').paused")
        page.wait_for_timeout(300)
        assert drawn(page) > 500
        at = now_ms(page)
        page.keyboard.press(".")
        until(page, f"document.getElementById('video').currentTime * 1000 > {at}")
        assert now_ms(page) - at < 90
        page.keyboard.press("Home")
        until(page, "document.getElementById('video').currentTime === 0")
        # a click on the time line: three quarters of the way
        box = page.locator("#lanes").bounding_box()
        page.mouse.click(box["x"] + 44 + (box["width"] - 52) * 0.75, box["y"] + 40)
        until(page, "document.getElementById('video').currentTime > 1")
        assert now_ms(page) == pytest.approx(1500, abs=120)
        page.keyboard.press("w")
        page.keyboard.press("c")
        page.wait_for_timeout(200)
        assert drawn(page) == 0


def test_masks_lie_on_what_they_are_of(out: Path, open_page: Open) -> None:
    """At 1000 ms track 1 is the box (45, 30, 85, 70) of 160x120 px."""
    with served(out) as address:
        page = open_page(address)
        page.wait_for_selector("#captions .row-item")
        page.click("#captions .row-item:nth-child(3)")
        page.uncheck("#show-words")
        until(page, "document.getElementById('video').currentTime >= 1")
        page.wait_for_timeout(1500)
        found = page.evaluate(
            "(() => { const c = document.getElementById('overlay'), s = devicePixelRatio;"
            " const r = c.getBoundingClientRect(), k = Math.min(r.width / 160, r.height / 120);"
            " const ox = (r.width - 160 * k) / 2, oy = (r.height - 120 * k) / 2;"
            " const at = (x, y) => c.getContext('2d').getImageData((ox + x * k) * s,"
            " (oy + y * k) * s, 1, 1).data[3]; return [at(65, 50), at(115, 30), at(20, 100),"
            " at(95, 90), at(65, 25)]; })()"
        )
        assert [bool(alpha) for alpha in found] == [True, True, False, False, False]


def test_search_jumps_and_script_is_text(out: Path, open_page: Open) -> None:
    with served(out) as address:
        page = open_page(address)
        page.wait_for_selector("#captions .row-item")
        page.keyboard.press("/")
        page.keyboard.type("blue")
        until(page, "document.querySelectorAll('#captions .row-item').length === 1")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('video').currentTime >= 1")
        assert SCRIPT in page.inner_text("#captions .row-item")
        page.wait_for_timeout(300)
        assert page.title() != "taken"
        page.fill("#search", "' OR 1=1 --")
        until(page, "document.querySelectorAll('#captions .row-item').length === 0")
        assert "no caption" in page.inner_text("#captions")
        page.fill("#search", "")
        page.select_option("#category", "dog")
        until(page, "document.querySelectorAll('#captions .row-item').length === 1")
        page.click("#tab-events")
        page.select_option("#kind", "line_cross")
        until(page, "document.querySelectorAll('#events .row-item').length === 1")
        assert "gate" in page.inner_text("#events")


def test_more_like_this(out: Path, open_page: Open) -> None:
    with served(out) as address:
        page = open_page(address)
        page.wait_for_selector("#captions .row-item")
        assert page.is_hidden("#like")
        page.fill("#search", "dog")
        until(page, "document.querySelectorAll('#captions .row-item').length === 1")
        page.click("#captions .row-item")
        page.click("#like")
        until(page, "document.querySelector('#captions .row-item b').textContent === 'a red car'")
        assert page.input_value("#search") == "like:film#2"


def test_it_follows_a_run_that_goes_on(tmp_path: Path, open_page: Open) -> None:
    film = write_film(tmp_path / "film.mp4", range(0, 8000, 40))
    info = StreamInfo(
        stream_id="test", uri=str(film), width_px=160, height_px=120, fps=25.0,
    )  # fmt: skip
    sink = Catalog(str(tmp_path / "catalog.sqlite"))
    sink.open([info])
    frames = iter(numbered_frames(200))

    def go_on(count: int, words: str) -> None:
        first = None
        for _ in range(count):
            frame = next(frames)
            first = first if first is not None else frame.time_ns / 1e9
            sink.write(tracked(frame, region((20, 20, 60, 60), 1)))
            sink.write(event(frame.time_ns / 1e9, "tick", 1))
        sink.write(caption(first or 0.0, text=words))
        sink.flush()

    go_on(25, "a first car")
    with served(tmp_path) as address:
        page = open_page(address)
        until(page, "document.querySelector('#tab-events .n').textContent === '25'")
        page.click("#tab-events")
        page.keyboard.press("End")
        writer = threading.Thread(target=go_on, args=(100, "a second car"))
        writer.start()
        until(page, "document.querySelector('#tab-events .n').textContent === '125'")
        writer.join()
        assert page.is_visible("#live")
        page.click("#tab-captions")
        until(page, "document.querySelectorAll('#captions .row-item').length === 2")
        # masks that came since are drawn
        page.click("#captions .row-item:nth-child(2)")
        until(page, "document.getElementById('video').currentTime >= 1")
        for _ in range(12):
            page.keyboard.press(".")
        until(page, "document.getElementById('video').currentTime > 1.4")
        page.wait_for_timeout(1500)
        assert drawn(page) > 500
        shoot(page, "live")
    sink.close()


def test_a_hundred_thousand_events_scroll_without_stutter(tmp_path: Path, open_page: Open) -> None:
    import sqlite3

    write_run(tmp_path)
    db = sqlite3.connect(tmp_path / "catalog.sqlite")
    db.executemany(
        "INSERT INTO event VALUES (?, 'film', ?, 'tick', NULL, '', '{}')",
        ((str(n), n * 20_000) for n in range(100_000 - 4)),
    )
    db.commit()
    db.close()
    with served(tmp_path) as address:
        page = open_page(address)
        page.click("#tab-events")
        until(page, "document.querySelectorAll('#events .row-item').length > 5")
        frames = page.evaluate(
            "new Promise((done) => { const list = document.getElementById('events'), times = [];"
            " let last = performance.now(), n = 0; const step = (now) => { times.push(now - last);"
            " last = now; list.scrollTop += 900; n += 1;"
            " if (n < 200) requestAnimationFrame(step); else done(times.slice(5)); };"
            " requestAnimationFrame(step); })"
        )
        half, most, worst = np.percentile(frames, [50, 95, 100])
        print(
            f"scrolling 100,000 events: median {half:.1f} ms a picture, 95 % under {most:.1f} ms, "
            f"worst {worst:.1f} ms"
        )
        assert half < 25
        assert page.evaluate("document.querySelectorAll('#events .row-item').length") < 60
        page.focus("#events")
        page.keyboard.press("End")
        page.wait_for_selector("#events .row-item[aria-posinset='100000']")


def test_point_box_everything_question_and_save(out: Path, tmp_path: Path, open_page: Open) -> None:
    copy = shutil.copytree(out, tmp_path / "copy")
    with served(copy, BrightAsker) as address:
        page = open_page(address)
        page.wait_for_selector("#captions .row-item")
        page.keyboard.press("3")
        stage = page.locator("#overlay").bounding_box()
        scale = min(stage["width"] / 160, stage["height"] / 120)
        left = stage["x"] + (stage["width"] - 160 * scale) / 2
        top = stage["y"] + (stage["height"] - 120 * scale) / 2

        def at(x: float, y: float) -> tuple[float, float]:
            return left + x * scale, top + y * scale

        def answers(count: int) -> list[str]:
            until(page, f"document.querySelectorAll('#answers .answer').length === {count}")
            return list(page.locator("#answers .answer b").all_inner_texts())

        page.mouse.click(*at(40, 50))
        assert answers(1) == ["short 1600 px"]  # of the track that lies there
        page.mouse.move(*at(100, 80))
        page.mouse.down()
        page.mouse.move(*at(110, 90), steps=3)
        page.mouse.move(*at(120, 100), steps=3)
        page.mouse.up()
        assert answers(2)[1] == "short 400 px"
        page.fill("#ask-text", "Is it wet?")
        page.keyboard.press("Enter")
        assert answers(3)[2] == "1 turns before"
        page.click("#ask-detailed")
        assert answers(4)[3] == "detailed 400 px"
        page.click("#ask-save")
        until(page, "document.getElementById('said').textContent.includes('saved')")
        assert (copy / "asked.jsonl").read_text().count("\n") == 1
        page.click("#ask-all")
        assert len(answers(3)) == 3
        shoot(page, "ask")
        # by keyboard alone
        page.click("#ask-clear")
        page.focus("#overlay")
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Enter")
        assert len(answers(1)) == 1
        page.click("#tab-captions")
        page.fill("#search", "wet")
        until(page, "document.querySelectorAll('#captions .row-item').length === 1")


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_looks_and_accessibility(
    out: Path, open_page: Open, name: str, settings: dict[str, Any]
) -> None:
    with served(out, BrightAsker) as address:
        page = open_page(address, bypass_csp=True, **settings)  # axe is put into the page
        page.wait_for_selector("#captions .row-item")
        until(page, "document.getElementById('video').readyState >= 2")
        faults = []
        for tab in ("captions", "events", "ask"):
            page.click(f"#tab-{tab}")
            page.wait_for_timeout(300)
            faults += [f"{tab}: {fault}" for fault in axe_faults(page)]
        page.click("#help-open")
        faults += [f"help: {fault}" for fault in axe_faults(page)]
        assert faults == []
        page.keyboard.press("Escape")
        page.click("#tab-captions")
        # nothing hangs over the edge
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        one = shoot(page, name)
        page.wait_for_timeout(400)
        assert one == shoot(page, name)  # it rests, so that pictures of it can be compared
        assert len(one) > 10_000


def test_without_a_film_the_masks_play_alone(tmp_path: Path, open_page: Open) -> None:
    out = write_run(tmp_path / "out")
    (out / "film.mp4").unlink()
    with served(out) as address:
        page = open_page(address)
        page.wait_for_selector("#no-film", state="visible")
        page.click("#play")
        time.sleep(1)
        page.keyboard.press("k")
        assert drawn(page) > 500


def test_a_scroll_is_zoomed_into(tmp_path: Path, open_page: Open) -> None:
    with served(write_scroll(tmp_path / "walk")) as address:
        page = open_page(address)
        page.wait_for_selector("#captions .row-item")
        assert SCRIPT in page.inner_text("#captions")
        page.fill("#search", "house")
        until(page, "document.querySelectorAll('#captions .row-item:not([hidden])').length === 1")
        page.keyboard.press("Enter")
        assert page.locator("#marks path.chosen").count() == 1
        page.wait_for_timeout(1500)
        scale = page.evaluate(
            "Number(document.querySelector('#marks g').getAttribute('transform')"
            ".match(/scale.(.+)\\)/)[1])"
        )
        assert scale > 1  # it was gone to
        page.click("#tab-events")
        assert "A red house." in page.inner_text("#events")
        shoot(page, "scroll")
