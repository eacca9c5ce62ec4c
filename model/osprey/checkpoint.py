"""The released folder layout: `config.json`, a tokenizer, and sharded or single weight files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.osprey.config import OspreyConfig
from model.osprey.model import Osprey
from model.weights.files import (
    TensorInfo,
    file_hash,
    folder_headers,
    read_headers,
    read_tensors,
    weight_files,
)
from model.weights.shards import SHARD_BYTES, write_shards

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
_TOWER = "model.vision_tower.vision_tower."
# the file of open_clip, beside the weights of a checkpoint that lacks the tower
TOWER_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def is_unused(name: str) -> bool:
    """Whether a tensor of a released checkpoint is used by nothing."""
    return _UNUSED.search(name) is not None


def our_name(official: str) -> str:
    """The name of a released tensor in `Osprey`; unknown ones stay as they are."""
    for theirs, ours in _PREFIXES:
        if official.startswith(theirs):
            return ours + official[len(theirs) :]
    return official


def official_name(ours: str) -> str:
    """The inverse of `our_name`."""
    theirs, prefix = next(pair for pair in _PREFIXES if ours.startswith(pair[1]))
    return theirs + ours[len(prefix) :]


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a released state dict under the names of `Osprey`."""
    return {our_name(name): tensor for name, tensor in state.items() if not is_unused(name)}


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_official`."""
    return {official_name(name): tensor for name, tensor in state.items()}


def load_state(model: Osprey, official: Mapping[str, Tensor]) -> None:
    """Give a model the tensors of a released state dict.

    Raises:
        ValueError: naming every missing, extra and ill-shaped tensor.
    """
    given = from_official(official)
    check_fit(model, {name: tuple(tensor.shape) for name, tensor in official.items()})
    model.load_state_dict(given)


def check_fit(model: Osprey, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare the shapes of a released checkpoint with a model.

    Raises:
        ValueError: naming missing, extra and ill-shaped tensors as the checkpoint calls them.
    """
    given = {name: shape for name, shape in shapes.items() if not is_unused(name)}
    wanted = {official_name(name): tuple(t.shape) for name, t in model.state_dict().items()}
    problems = [f"missing {name}" for name in sorted(wanted.keys() - given.keys())]
    problems += [f"extra {name}" for name in sorted(given.keys() - wanted.keys())]
    problems += [
        f"{name} is {given[name]}, not {wanted[name]}"
        for name in sorted(wanted.keys() & given.keys())
        if given[name] != wanted[name]
    ]
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError("weights do not fit the config: " + "; ".join(problems[:8]) + more)


def read_config(folder: Path) -> OspreyConfig:
    """Sizes from a model folder.

    Raises:
        ValueError: when there is no readable `config.json`, or it is another architecture's.
    """
    path = folder / "config.json"
    try:
        return OspreyConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} has no config.json: not a model folder") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def weights_hash(folder: Path) -> str:
    """12 hex digits over the contents of a folder's weight files, and of the separate tower's."""
    tower = tower_file(folder)
    return file_hash([*weight_files(folder), *([tower] if tower else [])])


def tower_file(folder: Path) -> Path | None:
    """The open_clip file in a folder whose checkpoint lacks the tower; None where it has one.

    Raises:
        ValueError: when the tower is nowhere.
    """
    if any(name.startswith(_TOWER) for path in weight_files(folder) for name in read_headers(path)):
        return None
    for name in TOWER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(
        f"{folder} has no vision tower: put {TOWER_FILES[1]} of "
        "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup into it"
    )


def find_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Every used tensor of a folder under its official name, and where it lies.

    A tower that lies beside the checkpoint as an open_clip file counts as part of it.

    Raises:
        ValueError: for files that are missing, unreadable or contradict each other.
    """
    found = folder_headers(folder)
    tower = tower_file(folder)
    if tower is not None:
        found |= {_TOWER + name: info for name, info in _tower_headers(tower).items()}
    return {name: info for name, info in found.items() if not is_unused(name)}


def read_official(tensors: Mapping[str, TensorInfo]) -> Iterator[tuple[str, Tensor]]:
    """The tensors `find_tensors` found, file by file; copy what is to stay."""
    for path in sorted({info.path for info in tensors.values()}):
        prefix = _TOWER if path.name in TOWER_FILES else ""
        inside = {
            name.removeprefix(prefix): info for name, info in tensors.items() if info.path == path
        }
        for name, tensor in read_tensors(path, inside):
            yield prefix + name, tensor


def load_folder(
    folder: Path, *, device: torch.device, dtype: torch.dtype, keep_small_regions: bool = True
) -> Osprey:
    """A model from a folder in the released layout.

    The model is made without memory and gets its tensors one by one, each already in its place
    and type; memory peaks at the model's own size and some MB.

    Args:
        keep_small_regions: see `MaskExtractor.keep_small`.

    Raises:
        ValueError: when files are missing, unreadable or do not fit.
    """
    config = read_config(folder)
    tensors = find_tensors(folder)
    with torch.device("meta"):
        model = Osprey(config)
    if config.language.get("tie_word_embeddings") and "lm_head.weight" not in tensors:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    check_fit(model, {name: info.shape for name, info in tensors.items()})
    for name, tensor in read_official(tensors):
        _assign(model, our_name(name), tensor.to(device, dtype, copy=True))
    if config.language.get("tie_word_embeddings"):
        model.language.lm_head.weight = model.language.model.embed_tokens.weight
    # the rotary frequencies are in no checkpoint, and stay in float32
    rotary = model.language.model.rotary_emb
    model.language.model.rotary_emb = type(rotary)(config=model.language.config).to(device)
    model.mask_extractor.keep_small = keep_small_regions
    return model.eval()


def save_folder(
    model: Osprey,
    tokenizer: Any,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    most_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model with its tokenizer in the released layout, as safetensors of at most
    `most_bytes` each."""
    state = to_official(model.state_dict())
    write_shards(
        folder,
        {name: tensor.numel() * dtype.itemsize for name, tensor in state.items()},
        lambda names: {n: state[n].detach().to("cpu", dtype).contiguous() for n in names},
        most_bytes=most_bytes,
    )
    text = json.dumps(model.config.to_dict(), indent=2) + "\n"
    (folder / "config.json").write_text(text)
    tokenizer.save_pretrained(folder)


def _tower_headers(path: Path) -> dict[str, TensorInfo]:
    """The trunk in an open_clip file; its text tower and heads are not wanted here."""
    headers = {n: i for n, i in read_headers(path).items() if n.startswith("visual.trunk.")}
    if not headers:
        raise ValueError(f"{path} holds no ConvNeXt of open_clip (no visual.trunk.* tensor)")
    return headers


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Parameter(tensor))
