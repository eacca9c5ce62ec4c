"""Lets torchvision be imported where its compiled operators are missing.

timm, open_clip and segment-anything import torchvision, and torchvision registers fake kernels
for `torchvision::nms` and `torchvision::qnms` when it is imported, which fails beside a torch
build that its own binary does not fit (a CPU-only torch with the wheel of the CUDA one). Import
this module before any of them: where the operators are missing it defines them, `nms` for real;
where they load, it does nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
from typing import Any

import torch
from torch import Tensor

_TORCH: Any = torch  # these parts of torch carry no types


def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression; boxes Nx4 xyxy, returns kept indices by falling score."""
    order = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep = []
    while order.numel():
        best, rest = order[0], order[1:]
        keep.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = (high - low).clamp(min=0).prod(dim=1)
        order = rest[common <= iou_threshold * (areas[best] + areas[rest] - common)]
    return torch.stack(keep) if keep else order


def _load_compiled() -> None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for library in pathlib.Path(spec.origin).parent.glob("_C*.so"):
        try:
            _TORCH.ops.load_library(library)
        except OSError:
            return


def _has(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(f"torchvision::{name}"))


def _define_missing() -> Any:
    _load_compiled()
    if _has("nms"):
        return None
    library = _TORCH.library.Library("torchvision", "FRAGMENT")
    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    library.define("nms" + signature)
    library.define("qnms" + signature)
    library.impl("nms", _nms, "CompositeExplicitAutograd")
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True  # torchvision.ops.nms asks before it dispatches
    return library


LIBRARY = _define_missing()  # the registration lives as long as this object
