"""Which device a model runs on."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """The device of a name as torch knows it; "auto" takes CUDA where there is one.

    Raises:
        ValueError: when there is no such device on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device {name!r} cannot be used here ({reason}); take 'auto' or 'cpu'"
        ) from error
    return device
