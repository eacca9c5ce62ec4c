"""The released folder layout: `config.json`, a tokenizer, and sharded or single weight files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.osprey.config import OspreyConfig
from model.osprey.model import Osprey

# (name in a released checkpoint, name here), first match wins
_PREFIXES = (
    ("model.vision_tower.vision_tower.visual.", "vision_tower."),
    ("model.mm_projector.", "mm_projector."),
    ("mask_extractor.", "mask_extractor."),
    ("model.", "language.model."),
    ("lm_head.", "language.lm_head."),
)
# saved by older libraries or by open_clip, used by nothing
_UNUSED = re.compile(r"rotary_emb\.inv_freq$|\.visual\.head\.|\.visual\.trunk\.head\.")


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a released state dict under the names of `Osprey`."""
    renamed = {}
    for name, tensor in state.items():
        if _UNUSED.search(name):
            continue
        for theirs, ours in _PREFIXES:
            if name.startswith(theirs):
                renamed[ours + name[len(theirs) :]] = tensor
                break
        else:
            renamed[name] = tensor
    return renamed


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_official`."""
    renamed = {}
    for name, tensor in state.items():
        theirs, ours = next(pair for pair in _PREFIXES if name.startswith(pair[1]))
        renamed[theirs + name[len(ours) :]] = tensor
    return renamed


def load_state(model: Osprey, official: Mapping[str, Tensor]) -> None:
    """Give a model the tensors of a released state dict.

    Raises:
        ValueError: naming every missing, extra and ill-shaped tensor.
    """
    given, wanted = from_official(official), model.state_dict()
    problems = [f"missing {name}" for name in sorted(wanted.keys() - given.keys())]
    problems += [f"extra {name}" for name in sorted(given.keys() - wanted.keys())]
    problems += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & given.keys())
        if given[name].shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError("weights do not fit the config: " + "; ".join(problems[:8]) + more)
    model.load_state_dict(given)


def read_config(folder: Path) -> OspreyConfig:
    """Sizes from a model folder.

    Raises:
        ValueError: when there is no readable `config.json`.
    """
    path = folder / "config.json"
    try:
        return OspreyConfig.from_dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no config.json: not a model folder") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: safetensors where there are any, else `.bin` pickles.

    Raises:
        ValueError: when there are none.
    """
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    raise ValueError(f"{folder} has neither model*.safetensors nor pytorch_model*.bin")


def weights_hash(folder: Path) -> str:
    """12 hex digits over the contents of a folder's weight files."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:12]


def load_folder(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Osprey:
    """A model from a folder in the released layout.

    Raises:
        ValueError: when files are missing, unreadable or do not fit.
    """
    model = Osprey(read_config(folder))
    state: dict[str, Tensor] = {}
    for path, shard in _shards(folder):
        doubled = state.keys() & shard.keys()
        if doubled:
            raise ValueError(f"{path} repeats tensors of another file: {sorted(doubled)[:4]}")
        state |= shard
    load_state(model, state)
    return model.to(device=device, dtype=dtype).eval()


def _shards(folder: Path) -> Iterator[tuple[Path, dict[str, Tensor]]]:
    for path in weight_files(folder):
        try:
            if path.suffix == ".safetensors":
                yield path, load_file(path)
            else:
                yield path, torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # only the first sentence: torch goes on to advise running the code in the file
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise ValueError(f"{path} cannot be read as weights: {reason}") from error


def save_folder(
    model: Osprey, tokenizer: Any, folder: Path, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write a model with its tokenizer in the released layout, as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in to_official(model.state_dict()).items()
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(model.config.to_dict(), indent=2) + "\n"
    (folder / "config.json").write_text(text)
    tokenizer.save_pretrained(folder)
