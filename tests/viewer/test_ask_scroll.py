"""Ask on a scroll in Chromium: point, box, everything, a conversation, saved and there again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.streamer.viewer.viewed_runs import BrightAsker, write_scroll
from tests.viewer.pages import SETTINGS, Open, axe_faults, shoot, until
from tests.viewer.served import served

pytestmark = pytest.mark.browser


def place(page: Any) -> tuple[float, float, float]:
    """Where the canvas lies in the page, and its scale, in CSS pixels."""
    box = page.locator("#osd").bounding_box()
    text = page.evaluate("document.querySelector('#marks g').getAttribute('transform')")
    x, y, scale = (float(v) for v in text.replace("translate(", "").replace(") scale(", " ")
                   .rstrip(")").split())  # fmt: skip
    return box["x"] + x, box["y"] + y, scale


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    left, top, scale = place(page)
    return left + x * scale, top + y * scale


def answers(page: Any, count: int) -> list[str]:
    until(page, f"document.querySelectorAll('#answers .answer').length === {count}")
    return list(page.locator("#answers .answer b").all_inner_texts())


def drawn(page: Any, x: float, y: float) -> bool:
    """Whether something is drawn over a place of the canvas."""
    left, top, scale = place(page)
    box = page.locator("#osd").bounding_box()
    px, py = left + x * scale - box["x"], top + y * scale - box["y"]
    return bool(page.evaluate(
        "([x, y]) => document.getElementById('asked').getContext('2d').getImageData("
        "x * devicePixelRatio, y * devicePixelRatio, 1, 1).data[3] > 0", [px, py]
    ))  # fmt: skip


def opened(page: Any) -> None:
    page.wait_for_selector("#captions .row-item")
    page.keyboard.press("3")
    page.wait_for_selector("#osd.asking")
    page.wait_for_timeout(500)


def test_point_box_everything_question_and_save(tmp_path: Path, open_page: Open) -> None:
    out = write_scroll(tmp_path / "walk")
    with served(out, BrightAsker) as address:
        page = open_page(address)
        opened(page)
        page.mouse.click(*at(page, 500, 150))
        assert answers(page, 1) == ["short 100 px"]
        assert drawn(page, 500, 150)
        assert not drawn(page, 530, 150)
        page.mouse.move(*at(page, 300, 200))
        page.mouse.down()
        page.mouse.move(*at(page, 350, 220), steps=3)
        page.mouse.move(*at(page, 400, 250), steps=3)
        page.mouse.up()
        assert answers(page, 2)[1] == "short 5000 px"
        page.fill("#ask-text", "Is it wet?")
        page.keyboard.press("Enter")
        assert answers(page, 3)[2] == "1 turns before"
        page.fill("#ask-text", "And now?")
        page.keyboard.press("Enter")
        assert answers(page, 4)[3] == "2 turns before"
        page.click("#ask-detailed")
        assert answers(page, 5)[4] == "detailed 5000 px"
        # outlines stay in place under zoom and pan
        before = place(page)
        page.mouse.move(*at(page, 350, 225))
        page.mouse.wheel(0, -240)
        page.wait_for_timeout(1800)
        assert place(page)[2] > before[2] * 1.1
        page.keyboard.down("Control")
        page.mouse.down()
        page.mouse.move(*at(page, 330, 205), steps=4)
        page.mouse.up()
        page.keyboard.up("Control")
        page.wait_for_timeout(1500)
        assert [drawn(page, x, 225) for x in (290, 310, 390, 410)] == [False, True, True, False]
        page.click("#ask-save")
        until(page, "document.getElementById('said').textContent.includes('saved')")
        page.click("#ask-save")  # once more is the same
        page.wait_for_timeout(500)
        saved = [json.loads(line) for line in (out / "asked.jsonl").read_text().splitlines()]
        assert [s["box_xyxy"] for s in saved] == [[300, 200, 400, 250]] * 2
        assert saved[0] == saved[1]
        shoot(page, "scroll-ask")
        page.click("#ask-all")
        assert len(answers(page, 3)) == 3  # the house of the run, and what is found besides
        # by keyboard alone: what lies in the middle
        page.click("#ask-clear")
        page.focus(".openseadragon-canvas")
        page.keyboard.press("Enter")
        assert answers(page, 1) == ["short 100 px"]
        for _ in range(2):  # at once, and after the page was loaded again
            page.click("#tab-captions")
            page.fill("#search", "wet")
            page.fill("#search", "short 5000")
            until(
                page, "document.querySelectorAll('#captions .row-item:not([hidden])').length === 1"
            )
            assert "asked" in page.inner_text("#captions .row-item:not([hidden])")
            page.reload()
            page.wait_for_selector("#captions .row-item")


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_looks_and_accessibility(
    tmp_path: Path, open_page: Open, name: str, settings: dict[str, Any]
) -> None:
    with served(write_scroll(tmp_path / "walk"), BrightAsker) as address:
        page = open_page(address, bypass_csp=True, **settings)
        opened(page)
        x, y = at(page, 200, 150)
        if name == "phone":
            page.touchscreen.tap(x, y)
        else:
            page.mouse.click(x, y)
        assert answers(page, 1) == ["short 15000 px"]  # the house that the run found there
        page.wait_for_timeout(300)
        assert axe_faults(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shoot(page, f"scroll-ask-{name}")
