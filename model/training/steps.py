"""What trainings share: precision, learning rate, a step, and how long the rest will take."""

from __future__ import annotations

import platform
import time

import numpy as np
import torch
from torch import Tensor, nn


def half_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the device computes in it faster than in float32."""
    fast = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


class Eta:
    """Says how far a stage is and how long the rest will take at the pace so far."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.start_s = time.monotonic()

    def at(self, step: int) -> str:
        """How far, and how long the rest will take."""
        return f"step {step} of {self.steps}, {self.left(step)}"

    def left(self, step: int) -> str:
        """How long the rest will take."""
        left_s = (time.monotonic() - self.start_s) * (self.steps - step) / step
        return f"{left_s / 60:.0f} min left"


def set_lr(optimizer: torch.optim.Optimizer, peak: float, done: float) -> None:
    """Warm-up over the first 4 % of the steps, then a cosine to 2 % of the peak."""
    warm = min(1.0, done / 0.04)
    scale = warm * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * done))))
    for group in optimizer.param_groups:
        group["lr"] = peak * scale


def take_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]
) -> None:
    """One step down the gradient of a loss, clipped to norm 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def hardware(device: torch.device) -> str:
    """What the training ran on, for a card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
