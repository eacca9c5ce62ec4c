"""The benchmark's own arithmetic, and that it runs where little is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.evaluation.captioner_speed import (
    HW,
    Case,
    measure,
    notes,
    run_engine,
    table,
    to_json,
)
from model.evaluation.pictures import ellipses, picture
from model.evaluation.roofline import Ceilings, Job, count, measure_ceilings
from model.evaluation.stopwatch import Stopwatch
from model.evaluation.subjects import MID, Subject, random_model, subject
from model.osprey.captioner import OspreyCaptioner
from model.osprey.config import OspreyConfig

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
SMALL = OspreyConfig(
    vision_depths=(1, 1, 2, 1),
    vision_widths=(16, 32, 64, 128),
    extractor_width=32,
    position_width=32,
    mm_hidden_size=64,
    language={
        **OspreyConfig().language,
        "vocab_size": 400,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
)


@pytest.fixture(scope="module")
def small() -> Subject:
    model = random_model(SMALL, CPU, torch.float32)
    captioner = OspreyCaptioner(model, None, name="small", weights_hash="0" * 12)
    return Subject("small", captioner, (5, 6, 7, -200, 8, 9, 400, 401, 10, 11))


def test_both_procedures_give_the_same_words(small: Subject) -> None:
    ceilings = Ceilings(flops=1e12, bytes=1e11)
    figures = measure(small, Case(6, 12), ceilings, rounds=1, reference=True)
    assert figures.reference_regions == 4
    assert figures.same_answers == 4
    assert figures.different_regions > 1
    assert figures.ratio is not None
    assert set(figures.engine_stages_s) == set(figures.roofline_stages_s)
    assert 0 < figures.share < 1
    data = json.loads(json.dumps(to_json(ceilings, [figures])))
    assert data["cases"][0]["case"] == {"regions": 6, "words": 12, "frames": 1}
    assert "| 4/4 |" in list(table([figures]))[-1]
    assert any("multiplied" in note for note in notes([figures]))
    alone = measure(small, Case(2, 3, frames=2), ceilings, rounds=1, reference=False)
    assert alone.ratio is None
    assert "| - |" in list(table([alone]))[-1]


def test_counted_work_is_what_is_done(small: Subject) -> None:
    rng = np.random.default_rng(0)
    masks = [ellipses(3, HW, rng) for _ in range(2)]
    images = [picture(HW, of_image, rng) for of_image in masks]
    run_engine(small, images, masks, 6, Stopwatch(CPU))  # keeps the head

    def attention(q: Any, k: Any, v: Any, p: float = 0.0, causal: bool = False, **_: Any) -> float:
        return 4 * q[0] * q[1] * q[2] * k[2] * q[3] / (2 if causal else 1)

    def linear(x: Any, weight: Any, *_: Any, **__: Any) -> float:
        return float(2 * np.prod(x) * weight[0])

    formulas: dict[Any, Any] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
        torch.ops.mkldnn._linear_pointwise: linear,
    }
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter:
        run_engine(small, images, masks, 6, Stopwatch(CPU))
    job = Job(images=2, regions=3, words=6, head=3, middle=2, suffix=4)
    counted = sum(stage.flops for stage in count(SMALL, job, 4).values())
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_work_of_osprey_7b_is_as_published() -> None:
    job = Job(images=1, regions=1, words=10, head=35, middle=21, suffix=13)
    work = count(OspreyConfig(), job, 2)
    projector = 2 * 1024 * (768 * 4096 + 4096**2)
    assert work["tower"].flops - projector == pytest.approx(0.36e12, rel=0.05)
    # 14.2 TF for all 1080 positions and all layers
    assert work["prefill"].flops == pytest.approx(14.2e12 * 1045 / 1080 * 31.4 / 32, rel=0.03)
    one_step = work["decode"].bytes / 9
    assert one_step == pytest.approx(13.2e9 + 1100 * (1 << 19), rel=0.02)
    more = count(OspreyConfig(), replace(job, regions=64), 2)
    assert more["prefill"] == work["prefill"]


@pytest.mark.slow
def test_ceilings_are_of_this_machine() -> None:
    ceilings = measure_ceilings(CPU, torch.float32)
    assert 1e9 < ceilings.flops < 1e14
    assert 1e8 < ceilings.bytes < 1e13


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(ValueError, match="on a CUDA device only"):
        subject("7b", CPU)
    with pytest.raises(ValueError, match="mid, nano, 7b"):
        subject("13b", CPU)
    assert MID.hidden_size == 512


def test_the_captioner_imports_with_little_installed() -> None:
    """On a machine with torch, transformers, timm, safetensors and numpy alone."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("osprey", "evaluation")
        for path in sorted((ROOT / "model" / folder).glob("*.py"))
        # Triton comes with CUDA, the other two are of tracking
        if path.name not in ("__init__.py", "kernels.py", "masks.py", "tracks.py")
    ]
    assert "model.osprey.captioner" in modules
    code = f"""
import importlib, sys
for name in ("av", "cv2", "open_clip", "pycocotools", "pydantic", "ray", "rich", "scipy",
             "typer", "streamer", "operators"):
    sys.modules[name] = None
for name in {modules}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
