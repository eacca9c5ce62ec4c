"""`streamer doctor`: what is installed, which devices, which weights, which codecs."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.markup import escape
from rich.table import Table

from streamer import __version__
from streamer.commands.running import out, write_json

_NEEDED = ("torch", "torchvision", "transformers", "timm", "av", "opencv-python-headless", "numpy",
           "pycocotools", "pysubs2", "pydantic", "typer", "scipy", "safetensors",
           "segment-anything")  # fmt: skip
_EXTRAS = {"open_clip_torch": "clip", "decord": "decord", "httpx": "endpoint",
           "sentencepiece": "official", "pyvips": "scroll", "iiif-prezi3": "scroll",
           "paho-mqtt": "brokers", "confluent-kafka": "brokers", "redis": "brokers",
           "psycopg": "brokers", "pyarrow": "parquet", "fsspec": "remote",
           "fastapi": "view"}  # fmt: skip


def run_doctor(json_path: Path | None) -> int:
    """Print a report; 0 when the product can run here, 2 when something needed is missing."""
    packages = {name: _version(name) for name in (*_NEEDED, *_EXTRAS)}
    missing = [name for name in _NEEDED if packages[name] is None]
    report: dict[str, Any] = {
        "streamer": __version__,
        "packages": packages,
        "devices": _devices() if packages["torch"] else {},
        "weights": _weights() if not missing else {},
        "codecs": _codecs() if packages["av"] else {},
        "problems": [f"{name} is missing: pip install {name}" for name in missing],
    }
    if not report["weights"] and not missing:
        report["problems"].append("no bundled weights: make them with `streamer train nano`")
    for name, ok in report["codecs"].items():
        if not ok:
            report["problems"].append(f"codec {name} is missing from this build of PyAV")
    for title in ("packages", "devices", "weights", "codecs"):
        table = Table(title=title, title_justify="left", box=None, show_header=False)
        for name, value in report[title].items():
            table.add_row(escape(name), escape(_shown(name, value)))
        out.print(table)
    for problem in report["problems"]:
        out.print(f"[red]problem:[/red] {escape(problem)}")
    if not report["problems"]:
        out.print("[green]all is well[/green]")
    write_json(json_path, report)
    return 2 if report["problems"] else 0


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _shown(name: str, value: Any) -> str:
    if value is None:
        extra = _EXTRAS.get(name)
        return f"not installed (pip install 'osprey-streamer[{extra}]')" if extra else "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _devices() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {
        "cpu": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "cuda": torch.cuda.is_available(),
    }
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        found[f"cuda:{i}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return found


def _weights() -> dict[str, str]:
    from model.weights import bundled_weights, weights_folder
    from model.weights.files import file_hash, weight_files

    found = {}
    for name in bundled_weights():
        folder = weights_folder(name)
        files = weight_files(folder)
        size = sum(path.stat().st_size for path in files)
        found[name] = f"{size / 2**20:.1f} MiB, {file_hash(files)}"
    return found


def _codecs() -> dict[str, bool]:
    import av

    def has(name: str, mode: Any) -> bool:
        try:
            av.Codec(name, mode)
        except ValueError:
            return False
        return True

    found = {f"{name} (decode)": has(name, "r") for name in ("h264", "hevc", "vp9", "av1", "aac")}
    return found | {f"{name} (encode)": has(name, "w") for name in ("libx264", "aac")}
