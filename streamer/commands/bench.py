"""`streamer bench`: measurements as ratios, side by side in one run, with the hardware named."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from streamer.commands.caption import find_config
from streamer.commands.demo import write_film
from streamer.commands.running import check_json, err, out, write_json
from streamer.config import load_pipeline
from streamer.executors.bare import run_bare
from streamer.executors.local import run_local
from streamer.pipeline import Pipeline
from streamer.report import RunReport


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gpu": gpu,
        "platform": platform.platform(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def film_pipeline(file: Path | None, config: str, folder: str, *, seconds: float) -> Pipeline:
    """A configuration on a film, or on one of so many seconds that is rendered into the folder."""
    if file is None:
        file = Path(folder) / "film.mp4"
        err.print(f"rendering a film of {seconds:g} s ...")
        write_film(file, Path(folder) / "truth.json", seed=4, seconds=seconds)
    variables = {"input": str(file), "out": folder, "stem": "bench"}
    return load_pipeline(find_config(config), variables=variables)


def bench_pipeline(file: Path | None, *, rounds: int, config: str, json_path: Path | None) -> int:
    """Wall time of the local executor against the same operators in a bare loop."""
    check_json(json_path)
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        pipeline = film_pipeline(file, config, folder, seconds=8.0)
        runs: dict[str, list[RunReport]] = {"bare loop": [], "local executor": []}
        for i in range(rounds):
            # alternating, so that a busy machine slows both alike
            runs["bare loop"].append(run_bare(pipeline))
            runs["local executor"].append(run_local(replace(pipeline)))
            err.print(f"round {i + 1} of {rounds}: {_times(runs, i)}")
    medians = {name: statistics.median(r.wall_s for r in done) for name, done in runs.items()}
    ratios = [
        local.wall_s / bare.wall_s
        for bare, local in zip(runs["bare loop"], runs["local executor"], strict=True)
    ]
    ratio = statistics.median(ratios)
    last = runs["local executor"][-1]
    table = Table(box=None, pad_edge=False)
    for column in ("", "median s", "x real time"):
        table.add_column(column)
    for name, median_s in medians.items():
        table.add_row(name, f"{median_s:.2f}", f"{last.media_ns / 1e9 / median_s:.2f}")
    out.print(table)
    out.print(f"local executor / bare loop: {ratio:.3f} (median of {rounds})")
    for name, step in last.steps.items():
        out.print(f"  {name}: {step.busy_s / max(1, last.frames) * 1e3:.2f} ms a frame")
    machine = hardware()
    out.print(f"on {machine['cpu']}, {machine['cores']} cores, gpu: {machine['gpu'] or 'none'}")
    write_json(
        json_path,
        {
            "what": "pipeline",
            "input": str(file),
            "frames": last.frames,
            "rounds": rounds,
            "wall_s": {name: [r.wall_s for r in done] for name, done in runs.items()},
            "median_wall_s": medians,
            "ratio": round(ratio, 4),
            "hardware": machine,
        },
    )
    return 0


def _times(runs: dict[str, list[RunReport]], i: int) -> str:
    return ", ".join(f"{name} {done[i].wall_s:.2f} s" for name, done in runs.items())


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
