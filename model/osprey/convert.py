"""A model folder rewritten: pickles to safetensors and back, another type, shards of a size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.osprey.checkpoint import check_fit, find_tensors, read_config, read_official
from model.osprey.model import Osprey
from model.weights.shards import SHARD_BYTES, Kind, write_shards

# what a model folder has besides its weights
_BESIDE = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "generation_config.json",
           "README.md", "card.json")  # fmt: skip


def convert_folder(
    source: Path,
    target: Path,
    *,
    kind: Kind = "safetensors",
    dtype: torch.dtype | None = None,
    most_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """Write a model folder anew under the official names, without the tensors nothing uses.

    A tower that lay beside the checkpoint as an open_clip file becomes part of it, and fields
    that `config.json` lacks are filled in. One shard is held in memory at a time.

    Args:
        kind: "safetensors", or "bin" for the official code.
        dtype: of the tensors written; None keeps every tensor's own.
        most_bytes: size of a shard.

    Raises:
        ValueError: when the source cannot be read or does not fit its config, or the target is
            the source or holds weights already.
    """
    config = read_config(source)
    tensors = find_tensors(source)
    with torch.device("meta"):
        model = Osprey(config)
    check_fit(model, {name: info.shape for name, info in tensors.items()})
    if target.exists() and (
        not target.is_dir() or any(target.glob("*.safetensors")) or any(target.glob("*.bin"))
    ):
        raise ValueError(f"{target} is in use already; name a new folder")

    def read(names: Sequence[str]) -> dict[str, Tensor]:
        some = {name: tensors[name] for name in names}
        return {n: t.to(dtype or t.dtype, copy=True) for n, t in read_official(some)}

    sizes = {
        name: info.size_bytes if dtype is None else info.numel * dtype.itemsize
        for name, info in tensors.items()
    }
    files = write_shards(target, sizes, read, kind=kind, most_bytes=most_bytes)
    raw = json.loads((source / "config.json").read_text(encoding="utf-8"))
    complete = config.to_dict() | raw
    if dtype is not None:
        complete["torch_dtype"] = str(dtype).removeprefix("torch.")
    (target / "config.json").write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")
    for pattern in _BESIDE:
        for path in source.glob(pattern):
            shutil.copy2(path, target / path.name)
    return files
