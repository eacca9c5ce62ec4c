"""`streamer bench captioner`: the engine beside the official procedure, and beside the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from streamer.commands.bench import hardware
from streamer.commands.running import err, out, write_json
from streamer.errors import ConfigError

if TYPE_CHECKING:
    import torch


def bench_captioner(
    model: str,
    *,
    regions: Sequence[int],
    words: Sequence[int],
    frames: int,
    rounds: int,
    reference: bool,
    json_path: Path | None,
) -> int:
    """Measure every case and show a table.

    Raises:
        ConfigError: for a model that cannot be measured here.
    """
    from model.evaluation.captioner_speed import (
        Case,
        frames_a_second,
        notes,
        run_cases,
        table,
        to_json,
    )
    from model.evaluation.subjects import nano, subject

    try:
        of = subject(model)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    cases = [Case(r, w, frames) for w in words for r in regions]
    ceilings, figures = run_cases(
        of, cases, rounds=rounds, reference=reference, report=lambda line: err.print(line)
    )
    head, _, *lines = table(figures)
    shown = Table(box=None, pad_edge=False)
    for column in _cells(head):
        shown.add_column(column, justify="right")
    for line in lines:
        shown.add_row(*_cells(line))
    out.print(shown)
    for note in notes(figures):
        out.print(note)
    data = {"what": "captioner", "model": of.name, **to_json(ceilings, figures)}
    if of.captioner.tokenizer is not None:
        data["frames_a_second"] = speeds = {}
        for dtype in _dtypes(of.captioner.model.device.type):
            fps = frames_a_second(nano(dtype), frames=96, regions=16, batch=8)
            speeds[str(dtype).removeprefix("torch.")] = fps
        out.print(
            f"{of.name}, frames/s of 720 x 1280 with 16 regions, short captions, 8 frames in a "
            f"batch: {', '.join(f'{fps:.1f} ({name})' for name, fps in speeds.items())}"
        )
    machine = hardware()
    out.print(f"on {machine['cpu']}, {machine['cores']} cores, gpu: {machine['gpu'] or 'none'}")
    write_json(json_path, data | {"hardware": machine})
    return 0


def _dtypes(device: str) -> list[torch.dtype]:
    """Those that the device computes in."""
    import torch

    from model.osprey.vision import bfloat16_on_cpu

    half = device != "cpu" or bfloat16_on_cpu()
    return [torch.float32, torch.bfloat16] if half else [torch.float32]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
