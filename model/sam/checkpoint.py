"""SAM's weights: released checkpoints by type, and folders of a sam-nano."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from model.sam.nano import NanoConfig, build_nano

SAM_TYPES = ("vit_b", "vit_l", "vit_h")
_TYPE_OF_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_WEIGHTS = "model.safetensors"


def load_sam(path: str | Path, *, kind: str = "") -> Sam:
    """A SAM from a released checkpoint (`sam_vit_*.pth`) or a sam-nano folder, on the CPU.

    Args:
        kind: vit_b, vit_l or vit_h when the checkpoint has to be of that type; "" to see it from
            the file.

    Raises:
        ValueError: when the file is missing, damaged, or of another type.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return load_nano(path)
    if not path.is_file():
        raise ValueError("no such SAM checkpoint; download one from the segment-anything page")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not checkpoints
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"cannot be read as a SAM checkpoint ({first}); is the download complete?"
        ) from error
    found = sam_type(state)
    if not found:
        raise ValueError("is no SAM checkpoint: it has no image encoder of vit_b, vit_l or vit_h")
    if kind and found != kind:
        raise ValueError(
            f"is a checkpoint of SAM {found}, not {kind}; set the type to {found} or give a "
            f"checkpoint of {kind}"
        )
    sam = sam_model_registry[found]()
    _fill(sam, state, f"a damaged checkpoint of SAM {found}")
    return sam.eval()


def sam_type(state: object) -> str:
    """vit_b, vit_l or vit_h by the width of the image encoder; "" when it is none of them."""
    if not isinstance(state, Mapping):
        return ""
    patches = state.get("image_encoder.patch_embed.proj.weight")
    return _TYPE_OF_WIDTH.get(len(patches), "") if isinstance(patches, Tensor) else ""


def load_nano(folder: Path) -> Sam:
    """A sam-nano from its folder, on the CPU, in float32.

    Raises:
        ValueError: when files are missing, unreadable or do not fit.
    """
    try:
        config = NanoConfig.from_dict(json.loads((folder / "config.json").read_text()))
        state = load_file(folder / _WEIGHTS)
    except FileNotFoundError as error:
        raise ValueError(f"is no sam-nano folder: {Path(error.filename or _WEIGHTS).name} is "
                         "missing") from None  # fmt: skip
    except (json.JSONDecodeError, SafetensorError, TypeError) as error:
        raise ValueError(f"cannot be read as a sam-nano: {error}") from None
    sam = build_nano(config)
    _fill(sam, {name: tensor.float() for name, tensor in state.items()}, "no sam-nano of its sizes")
    return sam.eval()


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


def _fill(sam: Sam, state: Mapping[str, Any], what: str) -> None:
    """Give a SAM its tensors; batch counters are not kept in files."""
    wanted = {n: t for n, t in sam.state_dict().items() if not n.endswith("num_batches_tracked")}
    problems = [f"{name} is missing" for name in wanted.keys() - state.keys()]
    problems += [f"{name} is unknown" for name in state.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted.keys() & state.keys()
        if state[name].shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"is {what}: " + "; ".join(sorted(problems)[:3]) + more)
    sam.load_state_dict(state, strict=False)
