"""The least time a device could need: arithmetic and bytes counted from the shapes, set against
ceilings that are measured on the same device.

A multiplication and an addition are two operations. Each stage needs the longer of its arithmetic
at the matrix product's pace and its bytes at the copy's pace; stages follow one another.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from model.osprey.config import OspreyConfig


@dataclass(frozen=True)
class Ceilings:
    """Measured on the device: operations and bytes a second."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Work:
    """Of one stage."""

    flops: float
    bytes: float

    def seconds(self, ceilings: Ceilings) -> float:
        return max(self.flops / ceilings.flops, self.bytes / ceilings.bytes)


@dataclass(frozen=True)
class Job:
    """What is asked: images in a batch, regions of each, words of each region, and the prompt's
    lengths: positions before the image and between image and region, the region's own tokens."""

    images: int
    regions: int
    words: int
    head: int
    middle: int
    suffix: int


def count(config: OspreyConfig, job: Job, itemsize: int) -> dict[str, Work]:
    """Work by stage, everything shared that can be: one tower pass and one prefix an image, the
    head of the prompt prefilled before, the last layer run only where its outcome is read."""
    rows = job.images * job.regions
    width, layers = config.hidden_size, int(config.language["num_hidden_layers"])
    inner, vocabulary = (
        int(config.language["intermediate_size"]),
        int(config.language["vocab_size"]),
    )
    heads = int(config.language["num_attention_heads"])
    kv_width = width * int(config.language.get("num_key_value_heads") or heads) // heads
    layer = 2 * width * width + 2 * width * kv_width + 3 * width * inner
    keys = 2 * width * kv_width
    image_tokens = (config.image_size_px // 16) ** 2
    prefix = job.head + image_tokens + job.middle
    new = image_tokens + job.middle
    position_bytes = layers * 2 * kv_width * itemsize
    weights = (layers * layer + width * vocabulary) * itemsize

    tower, tower_weights = _tower(config)
    projector = config.mm_hidden_size * width + width * width
    pooled = sum(
        channels * (config.image_size_px >> (2 + i)) ** 2
        for i, channels in enumerate(config.vision_widths)
    )
    linears = (
        sum(config.vision_widths) * config.extractor_width
        + config.extractor_width * width
        + config.mask_grid**2 * config.position_width
        + config.position_width**2
        + config.position_width * width
    )
    past = job.head * new + new * new / 2  # pairs of a query and a key, causal
    own = job.suffix * (prefix + job.suffix / 2)
    steps = job.words - 1
    each_step = Work(
        flops=rows * (2 * (layers * layer + width * vocabulary))
        + rows * layers * 4 * width * (prefix + job.suffix + job.words / 2),
        bytes=weights
        + job.images * prefix * position_bytes
        + rows * (job.suffix + job.words / 2) * position_bytes,
    )
    return {
        "tower": Work(
            job.images * 2 * (tower + image_tokens * projector),
            (tower_weights + projector) * itemsize,
        ),
        "prefill": Work(
            job.images
            * (2 * new * ((layers - 1) * layer + keys) + (layers - 1) * 4 * width * past),
            layers * layer * itemsize + job.images * prefix * position_bytes,
        ),
        "extractor": Work(
            rows * 2 * (pooled + linears), job.images * pooled * itemsize + linears * itemsize
        ),
        "suffix": Work(
            rows
            * (
                2 * job.suffix * ((layers - 1) * layer + keys)
                + 2 * (layer - keys + width * vocabulary)
                + layers * 4 * width * own
            ),
            weights + (job.images * prefix + rows * job.suffix) * position_bytes,
        ),
        "decode": Work(steps * each_step.flops, steps * each_step.bytes),
    }


def _tower(config: OspreyConfig) -> tuple[float, float]:
    """Multiplications for an image, and weights."""
    widths = config.vision_widths
    multiplications, weights = 0.0, 0.0
    for i, (depth, width) in enumerate(zip(config.vision_depths, widths, strict=True)):
        positions = (config.image_size_px >> (2 + i)) ** 2
        into = 3 * 16 * width if i == 0 else 4 * widths[i - 1] * width
        a_position = into + depth * (49 * width + 8 * width * width)
        multiplications += positions * a_position
        weights += a_position
    return multiplications, weights


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """The best of several matrix products and copies, large enough to leave the caches."""
    side, cells = (8192, 1 << 30) if device.type == "cuda" else (2048, 1 << 26)
    a = torch.randn(side, side, device=device, dtype=dtype)
    source = torch.zeros(cells, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    product_s = _best_s(lambda: torch.mm(a, a), device)
    copy_s = _best_s(lambda: target.copy_(source), device)
    return Ceilings(2 * side**3 / product_s, 2 * source.nbytes / copy_s)


def _best_s(run: object, device: torch.device, repeats: int = 6) -> float:
    assert callable(run)
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
