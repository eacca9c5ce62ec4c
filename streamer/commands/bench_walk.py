"""`streamer bench scroll --memory`: what the reader and the tracker of a walk hold."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from streamer.commands.bench import hardware
from streamer.commands.bench_scroll import write_picture
from streamer.commands.running import err, out, write_json
from streamer.report import peak_memory_bytes


@dataclass(frozen=True, kw_only=True)
class Walked:
    """A walk over a picture, in a process of its own."""

    width_px: int
    windows: int
    regions: int
    wall_s: float
    peak_memory_bytes: int


def bench_walk(
    *, width: int, height: int, zooms: list[float] | None, json_path: Path | None
) -> int:
    """Walk over a picture and over one of a tenth of its length, read and track, ask no words."""
    walks: list[Walked] = []
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        for length in (max(height, width // 10), width):
            file = Path(folder) / f"{length}.tif"
            err.print(f"writing a pyramid TIFF of {length}x{height} px ...")
            write_picture(file, length, height)
            # one process each: what the first has held must not count for the second
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                walks.append(pool.submit(_walk, str(file), zooms, folder).result())
    table = Table(box=None, pad_edge=False)
    for title in ("picture", "windows", "regions", "seconds", "MiB at most"):
        table.add_column(title, justify="right")
    for walk in walks:
        table.add_row(
            f"{walk.width_px}x{height}", str(walk.windows), str(walk.regions),
            f"{walk.wall_s:.0f}", f"{walk.peak_memory_bytes / 2**20:.0f}",
        )  # fmt: skip
    out.print(table)
    ratio = walks[1].peak_memory_bytes / walks[0].peak_memory_bytes
    out.print(f"the long one / the short one: {ratio:.3f}")
    machine = hardware()
    out.print(f"on {machine['cpu']}, {machine['cores']} cores")
    write_json(
        json_path,
        {
            "what": "scroll memory",
            "height_px": height,
            "walks": [asdict(walk) for walk in walks],
            "ratio": round(ratio, 4),
            "hardware": machine,
        },
    )
    return 0


def _walk(file: str, zooms: list[float] | None, cache: str) -> Walked:
    from operators.canvas import TrackCanvas
    from streamer.records import Event, Frame
    from streamer.sources.pan_image import PanImage

    source = PanImage(file, zooms=zooms, cache=cache)
    tracker = TrackCanvas(file, cache=cache)
    (info,) = source.open()
    tracker.setup()
    started_s = time.perf_counter()
    windows = regions = 0
    for record in source.read():
        made = tracker.process([record])
        windows += isinstance(record, Frame)
        regions += sum(isinstance(m, Event) and m.kind == "region" for m in made)
        if isinstance(record, Frame) and windows % 100 == 0:
            held = peak_memory_bytes() / 2**20
            err.print(f"{windows} of {info.frames} windows, {regions} regions, {held:.0f} MiB")
    made = tracker.flush(info.stream_id)
    regions += sum(isinstance(m, Event) and m.kind == "region" for m in made)
    return Walked(
        width_px=info.width_px,
        windows=windows,
        regions=regions,
        wall_s=round(time.perf_counter() - started_s, 1),
        peak_memory_bytes=peak_memory_bytes(),
    )
