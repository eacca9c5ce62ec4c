"""`streamer bench view`: searches and the first paint with a large catalog."""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from streamer.catalog_writer import CatalogWriter
from streamer.commands.running import OK, out, write_json
from streamer.commands.view import listen, served_hosts
from streamer.errors import ConfigError
from streamer.records import StreamInfo

_STREAMS = 8
_TOKEN = "bench"


def write_large(path: Path, captions: int) -> None:
    """A catalog of so many captions of synthetic words, four a track, in eight streams."""
    from model.synthetic.captions import CATEGORIES, COLOURS, PLACES, SIZES

    infos = [
        StreamInfo(stream_id=f"camera-{n}", uri="", width_px=1280, height_px=720, fps=25.0)
        for n in range(_STREAMS)
    ]
    CatalogWriter(path, infos).close()
    rng = np.random.default_rng(1)
    lists = (CATEGORIES, COLOURS, SIZES, PLACES)
    picks = [rng.integers(len(words), size=captions) for words in lists]
    jpeg = rng.bytes(3000)  # of the size that pictures of tracks have

    def words(n: int) -> tuple[str, ...]:
        return tuple(w[p[n]] for w, p in zip(lists, picks, strict=True))

    def caption_rows() -> Iterator[tuple[Any, ...]]:
        for n in range(captions):
            category, colour, size, place = words(n)
            at_ns, stream = n * 250_000_000, f"camera-{n // 4 % _STREAMS}"
            text, detail = f"a {size} {colour} {category}", f"a {colour} {category}, at the {place}"
            yield (f"{n:016x}", stream, n // 4, at_ns, at_ns + 8 * 10**9, text, detail, category,
                   colour, "new", at_ns, n, at_ns, "{}", -0.1, "bench", "0")  # fmt: skip

    db = sqlite3.connect(path)
    db.executemany(
        "INSERT INTO caption (id, stream_id, track_id, start_ns, end_ns, text, detail, category,"
        " colour, why, asked_ns, frame_index, frame_time_ns, mask, mean_logprob, model,"
        f" weights_hash) VALUES ({','.join('?' * 17)})",
        caption_rows(),
    )
    db.executemany(
        "INSERT INTO track VALUES (?,?,?,?,?,?,?,?,?,?,NULL)",
        (
            (f"camera-{n % _STREAMS}", n, n * 10**9, n * 10**9 + 9 * 10**9, 225, n, n * 10**9,
             "{}", 0.9, jpeg)
            for n in range(captions // 4)
        ),
    )  # fmt: skip
    db.executemany(
        "INSERT INTO event VALUES (?,?,?,?,?,'','{}')",
        (
            (f"e{n}", f"camera-{n % _STREAMS}", n * 10**9, "track_start", n)
            for n in range(captions // 4)
        ),
    )
    db.commit()
    db.close()


def bench_view(captions: int, rounds: int, json_path: Path | None) -> int:
    """Write a catalog into a temporary folder, serve it, and measure as a browser would."""
    try:
        from streamer.viewer.run import Run
        from streamer.viewer.serving import make_server
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the viewer needs {error.name}; pip install 'osprey-streamer[view]'"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        start_s = time.perf_counter()
        write_large(Path(folder) / "catalog.sqlite", captions)
        out.print(f"{captions:,} captions written in {time.perf_counter() - start_s:.0f} s")
        listening = listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        server = make_server(
            Run(Path(folder)), token=_TOKEN, hosts=served_hosts("127.0.0.1", port, [])
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            figures = _searches(port, rounds)
            figures |= _first_paint(f"http://127.0.0.1:{port}/?token={_TOKEN}")
        finally:
            server.should_exit = True
            thread.join()
            listening.close()
    write_json(json_path, {"captions": captions, **figures})
    return OK


def _searches(port: int, rounds: int) -> dict[str, float]:
    from model.synthetic.captions import CATEGORIES, COLOURS

    asked: list[dict[str, Any]] = [{"q": f"{c} {k}"} for c in COLOURS for k in CATEGORIES[:4]]
    asked += [{"q": k} for k in CATEGORIES]
    asked += [{"q": "small red c*"}, {"q": "nothing"}, {"q": ""}, {"category": "car"}]
    asked += [{"q": "red car", "stream": f"camera-{n}"} for n in range(_STREAMS)]
    times_ms = []
    for _ in range(rounds):
        for values in asked:
            query = urllib.parse.urlencode({**values, "limit": 100})
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/api/captions?{query}",
                headers={"authorization": f"Bearer {_TOKEN}"},
            )
            start_s = time.perf_counter()
            with urllib.request.urlopen(request) as answer:
                found = json.load(answer)
            times_ms.append((time.perf_counter() - start_s) * 1e3)
            assert found["total"] >= len(found["items"])
    median, slowest = statistics.median(times_ms), max(times_ms)
    out.print(f"{len(times_ms)} searches: median {median:.1f} ms, slowest {slowest:.1f} ms")
    return {"search_median_ms": median, "search_slowest_ms": slowest}


def _first_paint(address: str) -> dict[str, float]:
    """First contentful paint, and when the first captions stand there, in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        chromium = None
    if chromium is None:
        out.print("no playwright with Chromium here: the first paint is not measured")
        return {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#captions .row-item", timeout=60_000)
        listed_ms = float(page.evaluate("performance.now()"))
        paint_ms = float(
            page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        )
        browser.close()
    out.print(f"first paint {paint_ms:.0f} ms, captions listed after {listed_ms:.0f} ms")
    return {"first_paint_ms": paint_ms, "listed_ms": listed_ms}
