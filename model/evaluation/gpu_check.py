"""Everything that needs a CUDA device, in one run: `make gpu-check`.

The tests marked `cuda`, then Osprey-7B's shape with random weights against the aims for an H200,
then the mid-size model and osprey-nano. Needs torch, transformers, timm, safetensors, numpy and
pytest; no network.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from model.evaluation.captioner_speed import (
    Case,
    Figures,
    frames_a_second,
    notes,
    run_cases,
    table,
)
from model.evaluation.subjects import Subject, subject

ROOT = Path(__file__).resolve().parent.parent.parent
# (regions a frame, words a region): regions a second on an H200, 16 frames in a batch
AIMS = {(16, 10): 260.0, (64, 10): 510.0, (16, 80): 125.0, (64, 80): 225.0}
BUDGET_S = 500.0
TESTS = ("tests/model/osprey/test_cuda.py", "tests/model/sam/test_cuda.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "gpu-check.md")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-check needs a CUDA device and there is none here; nothing was measured")
        return 1
    start = time.monotonic()
    tests = [sys.executable, "-m", "pytest", "-m", "cuda", "-rs", *TESTS]
    passed = subprocess.run(tests, cwd=ROOT, check=False).returncode == 0
    lines = [
        "# GPU check",
        "",
        f"{datetime.date.today().isoformat()}, {torch.cuda.get_device_name()}, "
        f"{platform.platform()}, torch {torch.__version__}, CUDA {torch.version.cuda}, "
        f"transformers {transformers.__version__}, commit {_commit()}",
        "",
        f"Tests marked `cuda`: {'passed' if passed else 'FAILED'}.",
        "",
    ]
    mid = [([Case(r, 16) for r in (1, 16, 64)], True)]
    for name, dtype, groups in (
        (
            "7b",
            torch.bfloat16,
            [([Case(r, w, 16) for r, w in AIMS], False), ([Case(1, 10), Case(16, 10)], True)],
        ),
        ("mid", torch.bfloat16, mid),
        ("mid", torch.float32, mid),  # without near-ties: where answers can be compared
    ):
        of = subject(name, dtype=dtype)
        for cases, reference in groups:
            if time.monotonic() - start > BUDGET_S:
                lines += [f"{name}, reference {reference}: left out, the time was up.", ""]
                continue
            lines += _section(of, cases, reference=reference)
            _write(options.out, lines)
        del of
        gc.collect()
        torch.cuda.empty_cache()
    nano = subject("nano")
    fps = frames_a_second(nano, frames=64, regions=16, batch=16)
    lines += [f"{nano.name}: {fps:.0f} frames/s of 720 x 1280 with 16 regions, short captions."]
    _write(options.out, lines)
    print(f"written: {options.out}, after {time.monotonic() - start:.0f} s")
    return 0 if passed else 1


def _section(of: Subject, cases: Sequence[Case], *, reference: bool) -> list[str]:
    ceilings, figures = run_cases(
        of, cases, rounds=2, reference=reference, report=lambda line: print(line, flush=True)
    )
    flops, bandwidth = ceilings.flops / 1e12, ceilings.bytes / 1e12
    return [
        f"{of.name}. Ceilings measured: {flops:.0f} TFLOP/s, {bandwidth:.2f} TB/s.",
        "",
        *table(figures),
        "",
        *notes(figures),
        *(line for f in figures for line in _aim(f)),
        "",
    ]


def _aim(f: Figures) -> list[str]:
    aim = AIMS.get((f.case.regions, f.case.words))
    if aim is None or f.case.frames != 16:
        return []
    word = "reached" if f.regions_a_second >= aim else "missed"
    return [
        f"R={f.case.regions}, {f.case.words} words: {f.regions_a_second:.0f} regions/s, "
        f"aim {aim:.0f} (H200): {word}."
    ]


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
