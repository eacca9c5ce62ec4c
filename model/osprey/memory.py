"""Memory: how many rows fit, how lack of it looks, and smaller batches as the answer to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from model.osprey.language import LanguageRunner

CPU_BUDGET_BYTES = 2 << 30
CUDA_SHARE = 0.8  # of what is free when the captioner is made; the rest is for the tower and others
MOST_ROWS = 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


def budget_bytes(device: torch.device) -> int:
    """What decoding and kept prefixes may take together, unless the caller says otherwise."""
    if device.type != "cuda":
        return CPU_BUDGET_BYTES
    free_cached(device)
    return int(torch.cuda.mem_get_info(device)[0] * CUDA_SHARE)


def row_bytes(runner: LanguageRunner, new: int, positions: int) -> int:
    """Memory of a row of `new` own tokens and so many positions in the end: its keys and values,
    and what a pass over its tokens takes on the way."""
    config = runner.language.config
    passing = 8 * int(config.hidden_size) + 3 * int(config.intermediate_size)
    words = 3 * int(config.vocab_size)
    size = int(runner.dtype.itemsize)
    return positions * runner.position_bytes + (new * passing + words) * size


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an allocation failed, on a GPU or in main memory; also when that led to an error of
    another kind, as it does while a CUDA graph is recorded."""
    if error is None:
        return False
    return (
        isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error))
        or is_out_of_memory(error.__cause__ or error.__context__)
    )


def free_cached(device: torch.device) -> None:
    """Give memory that nothing holds any more back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def in_batches(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    size: int,
    device: torch.device,
) -> list[Result]:
    """`run` over all items, at most `size` at a time; half as many from where memory runs out."""
    results: list[Result] = []
    while len(results) < len(items):
        batch = items[len(results) : len(results) + size]
        try:
            done = run(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(batch) == 1:
                raise
            size = len(batch) // 2
        else:
            results += done
            continue
        free_cached(device)  # outside the handler: the error holds the tensors of its frames
    return results
