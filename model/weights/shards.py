"""Weights written by size: one file, or several with an index, in the Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

Kind = Literal["safetensors", "bin"]
SHARD_BYTES = 2 << 30


def plan_shards(sizes_bytes: Mapping[str, int], most_bytes: int) -> list[list[str]]:
    """Names cut into groups of at most `most_bytes`, in order; a larger tensor stands alone."""
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes_bytes.items():
        if not groups or size > room:
            groups.append([])
            room = most_bytes
        groups[-1].append(name)
        room -= size
    return groups


def write_shards(
    folder: Path,
    sizes_bytes: Mapping[str, int],
    read: Callable[[Sequence[str]], dict[str, Tensor]],
    *,
    kind: Kind = "safetensors",
    most_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """Write tensors, holding one shard in memory at a time.

    A file gets its name when it is complete, and the index comes last, so a broken-off run
    leaves nothing that looks whole.

    Args:
        sizes_bytes: of every tensor as it will be written.
        read: the tensors of some of these names, on the CPU, contiguous.

    Returns:
        The weight files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = "model" if kind == "safetensors" else "pytorch_model"
    groups = plan_shards(sizes_bytes, most_bytes)
    files: list[Path] = []
    weight_map: dict[str, str] = {}
    for i, names in enumerate(groups, start=1):
        number = f"-{i:05}-of-{len(groups):05}" if len(groups) > 1 else ""
        path = folder / f"{stem}{number}.{kind}"
        partial = path.with_name(path.name + ".partial")
        if kind == "safetensors":
            save_file(read(names), partial, metadata={"format": "pt"})
        else:
            torch.save(read(names), partial)
        partial.replace(path)
        files.append(path)
        weight_map |= dict.fromkeys(names, path.name)
    if len(groups) > 1:
        index = {"metadata": {"total_size": sum(sizes_bytes.values())}, "weight_map": weight_map}
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return files
