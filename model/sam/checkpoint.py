"""SAM's weights: released checkpoints by type, and folders of a sam-nano."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from model.sam.nano import NanoConfig, build_nano

_TYPE_OF_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_WEIGHTS = "model.safetensors"


def load_sam(path: str | Path, *, kind: str) -> Sam:
    """A SAM from a released checkpoint (`sam_vit_*.pth`), on the CPU; no code from it is run.

    Args:
        kind: vit_b, vit_l or vit_h.

    Raises:
        ValueError: when the file is damaged or of another type, in one line.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not checkpoints
        name = type(error).__name__  # its words advise to run the code in the file
        raise ValueError(f"cannot be read as a SAM checkpoint ({name}); get it again") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError("holds something else than the tensors of a SAM")
    found = sam_type(state)
    if found not in ("", kind):
        raise ValueError(
            f"is a checkpoint of SAM {found}, which does not fit this kind of SAM, {kind}; the "
            f"kind stands in the file's name: take {found}"
        )
    sam = sam_model_registry[kind]()
    try:
        _fill(sam, state, f"does not fit this kind of SAM, {kind}")
    except ValueError as error:
        raise ValueError(f"{error}; the kind stands in the file's name") from None
    return sam.eval()


def sam_type(state: Mapping[str, Tensor]) -> str:
    """vit_b, vit_l or vit_h by the width of the image encoder; "" when it is none of them."""
    patches = state.get("image_encoder.patch_embed.proj.weight")
    return "" if patches is None else _TYPE_OF_WIDTH.get(len(patches), "")


def load_nano(folder: Path) -> Sam:
    """A sam-nano from its folder, on the CPU, in float32.

    Raises:
        ValueError: when files are missing, unreadable or do not fit.
    """
    sam = build_nano(read_config(folder))
    try:
        state = load_file(folder / _WEIGHTS)
    except FileNotFoundError:
        raise _missing(_WEIGHTS) from None
    except SafetensorError as error:
        raise _unreadable(error) from None
    _fill(
        sam, {name: tensor.float() for name, tensor in state.items()}, "is no sam-nano of its sizes"
    )
    return sam.eval()


def read_config(folder: Path) -> NanoConfig:
    """The sizes of a sam-nano from its folder.

    Raises:
        ValueError: when `config.json` is missing, unreadable or another model's.
    """
    try:
        return NanoConfig.from_dict(json.loads((folder / "config.json").read_text()))
    except FileNotFoundError:
        raise _missing("config.json") from None
    except (json.JSONDecodeError, TypeError) as error:
        raise _unreadable(error) from None


def _missing(file: str) -> ValueError:
    return ValueError(f"is no sam-nano folder: {file} is missing")


def _unreadable(error: Exception) -> ValueError:
    return ValueError(f"cannot be read as a sam-nano: {error}")


def save_nano(sam: Sam, config: NanoConfig, folder: Path) -> None:
    """Write `config.json` and the weights, in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    state: dict[str, Tensor] = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in sam.state_dict().items()
        if tensor.is_floating_point()
    }
    save_file(state, folder / _WEIGHTS)


def _fill(sam: Sam, state: Mapping[str, Tensor], what: str) -> None:
    """Give a SAM its tensors; the counters of batch norms are not kept in files."""
    wanted = {n: t for n, t in sam.state_dict().items() if not n.endswith("num_batches_tracked")}
    shared = wanted.keys() & state.keys()
    reshaped = sum(state[name].shape != wanted[name].shape for name in shared)
    missing, extra = len(wanted) - len(shared), len(state) - len(shared)
    if missing or extra or reshaped:
        raise ValueError(
            f"{what}: of {len(wanted)} tensors {missing} are missing and {reshaped} have another "
            f"shape, and {extra} are not known"
        )
    sam.load_state_dict(state, strict=False)
