"""`streamer models`: what there is, what a file is, other forms of it, and where to get more."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from streamer.commands.running import OK, USER_ERROR, err, out, write_json
from streamer.errors import InputError, OutputError, WeightsError

Format = Literal["safetensors", "bin"]
DType = Literal["keep", "float32", "float16", "bfloat16"]


def list_models(json_path: Path | None) -> int:
    """Show the bundled models, and the released ones with their size and place."""
    from model.weights import WEIGHTS_FOLDER, bundled_weights, is_pulled, models_folder
    from model.weights.files import weight_files
    from model.weights.known import KNOWN

    rows: list[dict[str, Any]] = []
    for name in bundled_weights():
        folder = WEIGHTS_FOLDER / name
        size = sum(path.stat().st_size for path in weight_files(folder))
        rows.append(
            {"name": name, "size_bytes": size, "here": True, "folder": str(folder),
             "about": "comes with the product", "source": ""}
        )  # fmt: skip
    for name, model in KNOWN.items():
        folder = models_folder() / name
        rows.append(
            {"name": name, "size_bytes": round(model.size_gb * 1e9), "here": is_pulled(name),
             "folder": str(folder), "about": model.about, "source": model.source}
        )  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for column in ("name", "size", "here", "what", "folder"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for row in rows:
        here = "yes" if row["here"] else "no"
        table.add_row(row["name"], _size(row["size_bytes"]), here, row["about"], row["folder"])
    out.print(table)
    out.print("get one with `streamer models pull NAME`; use it with `--set caption.weights=NAME`")
    write_json(json_path, rows)
    return OK


def verify_model(path: str, json_path: Path | None) -> int:
    """Say what a file, folder or model is; 2 when it cannot be used."""
    from model.weights import weights_path
    from model.weights.identify import identify

    try:
        summary = identify(weights_path(path))
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from None
    types = ", ".join(f"{name} ({n:,})" for name, n in summary.dtypes.items())
    unused = f", {summary.unused} of them unused" if summary.unused else ""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("path", summary.path),
        ("architecture", summary.architecture),
        ("sizes", summary.sizes),
        ("tensors", f"{summary.tensors}{unused}"),
        ("parameters", f"{summary.parameters:,}"),
        ("types", types),
        ("files", f"{summary.files}, {_size(summary.size_bytes)}"),
        ("sha256", summary.sha256),
    ):
        table.add_row(name, value)
    out.print(table)
    for problem in summary.problems:
        err.print(f"[red]problem:[/red] {problem}", soft_wrap=True)
    if not summary.problems:
        out.print("[green]complete and fit for use[/green]")
    write_json(json_path, summary.to_json())
    return USER_ERROR if summary.problems else OK


def convert_model(source: str, target: Path, *, kind: Format, dtype: DType, shard_gb: float) -> int:
    """Write an Osprey folder anew, as safetensors or for the official code."""
    import torch

    from model.osprey.convert import convert_folder
    from model.weights import weights_folder

    try:
        files = convert_folder(
            weights_folder(source),
            target,
            kind=kind,
            dtype=None if dtype == "keep" else getattr(torch, dtype),
            most_bytes=max(1, round(shard_gb * 1e9)),
        )
    except ValueError as error:
        raise WeightsError(str(error)) from None
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from None
    size = sum(path.stat().st_size for path in files)
    out.print(f"written: {target}, {len(files)} weight files, {_size(size)}")
    return OK


def pull_model(name: str, folder: Path | None) -> int:
    """Download a released model; an attempt that broke off is gone on with."""
    from model.weights import models_folder
    from model.weights.download import fetch
    from model.weights.known import KNOWN

    if name not in KNOWN:
        raise InputError(f"no model {name!r} is known; there are {', '.join(KNOWN)}")
    model = KNOWN[name]
    place = folder or models_folder() / name
    try:
        fetch(model, place, lambda line: err.print(line, soft_wrap=True))
    except ConnectionError as error:
        files = model.url.rpartition("/")[2] or ", ".join(model.patterns)
        raise InputError(
            f"{name} ({model.size_gb:g} GB) cannot be downloaded here ({error}). Download {files} "
            f"from {model.source} on a machine with a network into {place}; or try again, what "
            "has arrived is kept"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{name}: {error}; try again") from None
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}") from None
    out.print(f"{name} is in {place}; look at it with `streamer models verify {name}`")
    return OK


def _size(size_bytes: int) -> str:
    if size_bytes >= 10**9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.1f} MB"
