"""`streamer bench scroll`: windows a second from a pyramid, beside a plain pyvips loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips
from rich.table import Table

from streamer.commands.bench import hardware
from streamer.commands.running import err, out, write_json
from streamer.report import peak_memory_bytes
from streamer.sources.canvas import Canvas

_WINDOW_PX = 1024


def bench_scroll(
    file: Path | None, *, width: int, height: int, windows: int, rounds: int, json_path: Path | None
) -> int:
    """Time `windows` windows of 1024 x 1024 px, read by both in turn from the same places."""
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        if file is None:
            file = Path(folder) / "scroll.tif"
            err.print(f"writing a pyramid TIFF of {width}x{height} px ...")
            write_picture(file, width, height)
        canvas = Canvas(str(file))
        side = min(_WINDOW_PX, *canvas.hw)
        rng = np.random.default_rng(5)
        room = (canvas.width_px - side + 1, canvas.height_px - side + 1)
        spots = [(int(x), int(y)) for x, y in rng.integers((0, 0), room, (windows, 2))]
        plain = pyvips.Image.new_from_file(str(file))

        def by_canvas(x: int, y: int) -> int:
            return int(canvas.window(x, y, side, side, (side, side))[0, 0, 0])

        def by_pyvips(x: int, y: int) -> int:
            return int(plain.crop(x, y, side, side).numpy()[0, 0, 0])

        rates: dict[str, list[float]] = {"plain pyvips": [], "canvas": []}
        for i in range(rounds):
            # alternating, so that a busy machine slows both alike
            rates["plain pyvips"].append(_rate(by_pyvips, spots))
            rates["canvas"].append(_rate(by_canvas, spots))
            err.print(f"round {i + 1} of {rounds}: " + _said(rates, i))
        size = f"{canvas.width_px}x{canvas.height_px}"
    ratio = statistics.median(
        mine / theirs for mine, theirs in zip(rates["canvas"], rates["plain pyvips"], strict=True)
    )
    medians = {name: statistics.median(values) for name, values in rates.items()}
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column(f"windows of {side} px a second", justify="right")
    for name, median in medians.items():
        table.add_row(name, f"{median:.1f}")
    out.print(table)
    peak = peak_memory_bytes()
    out.print(
        f"canvas / plain pyvips: {ratio:.3f} (median of {rounds}), {size} px, "
        f"{peak / 2**20:.0f} MiB at most"
    )
    machine = hardware()
    out.print(f"on {machine['cpu']}, {machine['cores']} cores")
    write_json(
        json_path,
        {
            "what": "scroll",
            "size": size,
            "windows": windows,
            "window_px": side,
            "rates": rates,
            "median_rates": medians,
            "ratio": round(ratio, 4),
            "peak_memory_bytes": peak,
            "hardware": machine,
        },
    )
    return 0


def _rate(read: Callable[[int, int], int], spots: list[tuple[int, int]]) -> float:
    started_s = time.perf_counter()
    for x, y in spots:
        read(x, y)
    return len(spots) / (time.perf_counter() - started_s)


def _said(rates: dict[str, list[float]], i: int) -> str:
    return ", ".join(f"{name} {values[i]:.1f}/s" for name, values in rates.items())


def write_picture(path: Path, width: int, height: int) -> None:
    """One block of a synthetic scroll, repeated: a pyramid TIFF, written without being held."""
    from model.synthetic.scroll import Scroll

    block = Scroll(1, width_px=2048, height_px=max(64, height), objects=12).block(0)
    image = pyvips.Image.new_from_array(block).copy(interpretation="srgb")
    whole = image.replicate(-(-width // 2048), 1).crop(0, 0, width, height)
    whole.tiffsave(
        str(path), tile=True, tile_width=256, tile_height=256, pyramid=True, compression="jpeg",
        Q=90, bigtiff=True,
    )  # fmt: skip
