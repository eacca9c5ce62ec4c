"""The page of a walk in a real browser, from a file and without a server."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyvips")
pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from streamer.scroll.narration import narrate
from streamer.scroll.page import write_page
from streamer.sources.canvas import Canvas
from streamer.sources.paths import plan_walk
from tests.streamer.scroll_stories import found, region

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

HW = (600, 4000)
GROUND, CAR = (200, 190, 160), (190, 30, 40)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    image = np.full((*HW, 3), GROUND, np.uint8)
    image[200:300, 3400:3600] = CAR
    Image.fromarray(image).save(folder / "picture.png")
    walk = plan_walk(HW, window_hw=(600, 1000), speed_px_s=100.0)
    findings = found(
        region(1, (3400, 200, 3600, 300), "a <b>red</b> car"),
        region(2, (500, 300, 700, 420), "a blue boat"),
    )
    canvas = Canvas(str(folder / "picture.png"))
    write_page(
        folder / "page", canvas, walk, findings, narrate(findings, walk), title="Ri<ver", film="f"
    )
    return (folder / "page" / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, opened; it must not complain, nor ask for anything that is not beside it."""
    opened = browser.new_page(viewport={"width": 1200, "height": 700})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("requestfailed", lambda request: complaints.append(request.url))
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(address)
    opened.wait_for_selector("#marks path[d]")
    opened.wait_for_function("document.querySelector('#marks g').hasAttribute('transform')")
    yield opened
    opened.close()
    assert complaints == []
    assert asked
    folder = address.rpartition("/")[0]
    assert all(url.startswith(folder) or url.startswith("data:") for url in asked)


def scale(page: Any) -> float:
    """Screen pixels per canvas pixel."""
    transform = page.locator("#marks g").first.get_attribute("transform")
    return float(re.search(r"scale\(([\d.]+)", transform).group(1))  # type: ignore[union-attr]


def settled(page: Any) -> float:
    """The scale when the viewer has come to rest and its tiles are drawn."""
    before = -1.0
    while (now := scale(page)) != before:
        before = now
        page.wait_for_timeout(300)
    return now


def colour_at(page: Any, x_px: float, y_px: float) -> np.ndarray:
    """What the screen shows at a place of the canvas."""
    transform = page.locator("#marks g").first.get_attribute("transform")
    left, top = map(float, re.findall(r"-?[\d.]+", transform)[:2])
    area = page.locator("#picture").bounding_box()
    shown = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    return shown[
        round(area["y"] + top + y_px * scale(page)), round(area["x"] + left + x_px * scale(page))
    ]


def test_it_shows_the_picture_its_regions_words_and_path(page: Any) -> None:
    assert page.title() == "Ri<ver"
    assert settled(page) < 0.3
    assert np.abs(colour_at(page, 2000, 150) - GROUND).max() < 20
    assert np.abs(colour_at(page, 3450, 230) - CAR).max() < 20
    assert page.locator("#regions li").count() == 2
    words = page.locator("#marks text").all_text_contents()
    assert sorted(words) == ["a <b>red</b> car", "a blue boat"]
    assert page.locator("#marks path[d^=M]").count() >= 2
    points = page.locator("#path polyline").get_attribute("points").split()
    assert float(points[0].split(",")[0]) > float(points[-1].split(",")[0])  # from right to left
    page.locator("#show-path").uncheck()
    assert not page.locator("#path").is_visible()
    page.locator("#show-words").uncheck()
    assert page.locator("#marks text").count() == 0
    assert page.locator("#film").get_attribute("href") == "f"


def test_it_zooms_into_finer_tiles(page: Any) -> None:
    whole = settled(page)
    finest: list[str] = []
    page.on("request", lambda request: finest.append(request.url))
    page.locator("#viewer").hover(position={"x": 740, "y": 330})
    for _ in range(8):
        page.mouse.wheel(0, -240)
        page.wait_for_timeout(60)
    assert settled(page) > 3 * whole
    assert any("/tiles/12/" in url for url in finest)  # 2 ** 12 >= 4000: the level of full size
    page.locator("#home").click()
    assert settled(page) == pytest.approx(whole, rel=0.01)


def test_a_region_of_the_list_is_shown_large(page: Any) -> None:
    whole = settled(page)
    page.locator("#search").fill("BOAT")
    assert page.locator("#count").text_content() == "1 of 2 regions"
    page.locator("#regions li:visible").click()
    assert settled(page) > 2 * whole
    assert page.locator("#marks path.chosen").count() == 1
    assert page.locator("#said").text_content() == "a blue boat; left of the picture"


def test_the_walk_tells_the_script(page: Any) -> None:
    whole = settled(page)
    page.locator("#walk").click()
    page.wait_for_function("document.getElementById('said').textContent.includes('red')")
    assert page.locator("#said").text_content() == "At the right end: a <b>red</b> car."
    assert page.locator("#marks path.chosen").count() == 1
    assert settled(page) > 1.5 * whole
    page.locator("#walk").click()
    assert not page.locator("#said").is_visible()
    page.locator("#tab-script").click()
    assert page.locator("#script p").first.text_content() == "At the right end: a <b>red</b> car."


def test_an_address_may_name_a_region(browser: Any, address: str) -> None:
    opened = browser.new_page()
    opened.goto(f"{address}#region=2")
    opened.wait_for_selector("#marks path.chosen")
    assert opened.locator("#said").text_content().startswith("a blue boat")  # type: ignore[union-attr]
    opened.close()
