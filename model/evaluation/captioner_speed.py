"""The engine against the official procedure, side by side: same weights, prompts and regions,
greedy, answers compared, every figure of one run on one device.

    python -m model.evaluation.captioner_speed --model mid --json speed.json

Needs nothing but what `model/osprey` needs.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluation.official import describe_officially
from model.evaluation.pictures import ellipses, picture
from model.evaluation.roofline import Ceilings, Job, count, measure_ceilings
from model.evaluation.stopwatch import Stopwatch, peak_bytes, reset_peak
from model.evaluation.subjects import Subject, subject
from model.osprey.asks import Ask, RegionError
from model.osprey.decoding import Row
from model.osprey.prompt import IMAGE_TOKEN_INDEX

HW = (480, 640)
REFERENCE_REGIONS = 4  # the official procedure is measured on so many at most, and multiplied


@dataclass(frozen=True)
class Case:
    """Regions a frame, words a region, frames in a batch."""

    regions: int
    words: int
    frames: int = 1


@dataclass
class Figures:
    """Of one case. Seconds are medians over the rounds; the official ones are multiplied up from
    `reference_regions`. `share` is the roofline's time over the engine's."""

    model: str
    case: Case
    engine_s: float
    engine_stages_s: dict[str, float]
    roofline_s: float
    roofline_stages_s: dict[str, float]
    share: float
    regions_a_second: float
    engine_peak_bytes: int | None
    engine_rounds_s: list[float]
    reference_s: float | None = None
    reference_stages_s: dict[str, float] = field(default_factory=dict)
    reference_regions: int = 0
    reference_peak_bytes: int | None = None
    ratio: float | None = None
    same_answers: int = 0
    different_regions: int = 0


def measure(
    of: Subject, case: Case, ceilings: Ceilings, *, rounds: int, reference: bool
) -> Figures:
    """One case; the two procedures take turns, so that a busy machine slows both alike."""
    rng = np.random.default_rng([case.regions, case.words, case.frames])
    masks = [ellipses(case.regions, HW, rng) for _ in range(case.frames)]
    images = [picture(HW, of_image, rng) for of_image in masks]
    device = of.captioner.model.device
    few = min(case.regions, REFERENCE_REGIONS) if reference else 0

    runs: list[dict[str, float]] = []
    official_runs: list[dict[str, float]] = []
    peaks: list[int | None] = []
    official_peaks: list[int | None] = []
    answers: list[list[tuple[int, ...]]] = []
    official: list[tuple[int, ...]] = []
    run_engine(of, images, masks, case.words, Stopwatch(device))  # graphs, caches, first touches
    for _ in range(rounds):
        watch = Stopwatch(device)
        reset_peak(device)
        answers = run_engine(of, images, masks, case.words, watch)
        peaks.append(peak_bytes(device))
        runs.append(watch.seconds)
        if few:
            watch = Stopwatch(device)
            reset_peak(device)
            official = [
                tuple(
                    describe_officially(
                        of.captioner.model,
                        images[0],
                        masks[0][region],
                        of.ids,
                        max_new_tokens=case.words,
                        eos_token_id=None,
                        watch=watch,
                    )
                )
                for region in range(few)
            ]
            official_peaks.append(peak_bytes(device))
            official_runs.append(watch.seconds)

    totals = [sum(run.values()) for run in runs]
    engine_s = statistics.median(totals)
    slot, at = (
        of.ids.index(of.captioner.model.config.mask_token_id),
        of.ids.index(IMAGE_TOKEN_INDEX),
    )
    job = Job(
        images=case.frames,
        regions=case.regions,
        words=case.words,
        head=at,
        middle=slot - at - 1,
        suffix=len(of.ids) - slot,
    )
    work = count(of.captioner.model.config, job, of.captioner.model.dtype.itemsize)
    least = {name: stage.seconds(ceilings) for name, stage in work.items()}
    least["decode"] += least.pop("suffix")  # measured together
    figures = Figures(
        model=of.name,
        case=case,
        engine_s=engine_s,
        engine_stages_s=_medians(runs),
        roofline_s=sum(least.values()),
        roofline_stages_s=least,
        share=sum(least.values()) / engine_s,
        regions_a_second=case.regions * case.frames / engine_s,
        engine_peak_bytes=_greatest(peaks),
        engine_rounds_s=totals,
    )
    if few:
        factor = case.regions * case.frames / few
        stages = _medians(official_runs)
        figures.reference_stages_s = {name: factor * s for name, s in stages.items()}
        figures.reference_s = factor * statistics.median(sum(run.values()) for run in official_runs)
        figures.reference_regions = few
        figures.reference_peak_bytes = _greatest(official_peaks)
        figures.ratio = figures.reference_s / engine_s
        pairs = list(zip(answers[0], official, strict=False))
        figures.same_answers = sum(mine == theirs for mine, theirs in pairs)
    figures.different_regions = len(set(answers[0]))
    return figures


@torch.inference_mode()
def run_engine(
    of: Subject,
    images: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_]],
    words: int,
    watch: Stopwatch,
) -> list[list[tuple[int, ...]]]:
    """Token ids of every region of every image. The prompt's head before the image is kept from
    earlier images, as it is in use; nothing else is."""
    captioner = of.captioner
    with watch("tower"):
        features = captioner.encode(images)
    with watch("prefill"):
        prefixes = [captioner.prefill_ids(f, of.ids) for f in features]
    with watch("extractor"):
        asks = [Ask(p, m, words) for p, m in zip(prefixes, masks, strict=True)]
        rows = captioner.rows(asks)
    live = [row for of_image in rows for row in of_image if isinstance(row, Row)]
    with watch("decode"):
        for _ in captioner.engine.answers([live]):
            pass
    assert not any(isinstance(row, RegionError) for of_image in rows for row in of_image)
    return [[tuple(row.tokens) for row in of_image if isinstance(row, Row)] for of_image in rows]


def frames_a_second(of: Subject, *, frames: int, regions: int, batch: int) -> float:
    """Frames of 720 x 1280 described a second, from pixels to words, in short captions that end
    where they end, `batch` frames at a time; the median of `frames / batch` rounds."""
    rng = np.random.default_rng(0)
    hw = (720, 1280)
    masks = [ellipses(regions, hw, rng) for _ in range(batch)]
    images = [picture(hw, of_image, rng) for of_image in masks]
    captioner = of.captioner
    captioner.engine.batch.eos_token_id = captioner.tokenizer.eos_token_id

    def once() -> None:
        prefixes = [captioner.prefill(f, "demo_short") for f in captioner.encode(images)]
        captioner.describe_all([Ask(p, m) for p, m in zip(prefixes, masks, strict=True)])

    once()
    rounds = []
    for _ in range(max(1, frames // batch)):
        watch = Stopwatch(captioner.model.device)
        with watch("frames"):
            once()
        rounds.append(watch.total)
    captioner.engine.batch.eos_token_id = None
    return batch / statistics.median(rounds)


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _greatest(peaks: Sequence[int | None]) -> int | None:
    return max((peak for peak in peaks if peak is not None), default=None)


def table(figures: Sequence[Figures]) -> Iterator[str]:
    """Lines of Markdown."""
    yield (
        "| model | frames | R | words | official s | engine s | ratio | regions/s | tower "
        "| prefill | extractor | decode | roofline s | share | peak GB | same answers |"
    )
    yield "|---" * 16 + "|"
    for f in figures:
        official = "-" if f.reference_s is None else f"{f.reference_s:.2f}"
        ratio = "-" if f.ratio is None else f"{f.ratio:.1f} x"
        same = "-" if not f.reference_regions else f"{f.same_answers}/{f.reference_regions}"
        stages = " | ".join(f"{s:.3f}" for s in f.engine_stages_s.values())
        peak = "-" if f.engine_peak_bytes is None else f"{f.engine_peak_bytes / 1e9:.1f}"
        yield (
            f"| {f.model} | {f.case.frames} | {f.case.regions} | {f.case.words} | {official} "
            f"| {f.engine_s:.3f} | {ratio} | {f.regions_a_second:.1f} | {stages} "
            f"| {f.roofline_s:.3f} | {f.share:.0%} | {peak} | {same} |"
        )


def notes(figures: Sequence[Figures]) -> Iterator[str]:
    """What a reader has to know."""
    multiplied = [f for f in figures if f.reference_s and f.reference_regions < f.case.regions]
    if multiplied:
        yield (
            f"The official procedure was measured on {REFERENCE_REGIONS} regions where there are "
            "more, and multiplied: its regions have nothing in common."
        )
    yield "Same answers: token for token, of the regions measured with both."
    distinct = ", ".join(f"{f.different_regions} of {f.case.regions}" for f in figures)
    yield f"Answers that differ from one another, by case: {distinct}."


def run_cases(
    of: Subject,
    cases: Sequence[Case],
    *,
    rounds: int,
    reference: bool,
    report: Callable[[str], None],
) -> tuple[Ceilings, list[Figures]]:
    """All cases of a model."""
    ceilings = measure_ceilings(of.captioner.model.device, of.captioner.model.dtype)
    report(
        f"ceilings: {ceilings.flops / 1e9:.0f} GFLOP/s, {ceilings.bytes / 1e9:.1f} GB/s "
        f"({of.captioner.model.dtype}, {of.captioner.model.device})"
    )
    figures = []
    for case in cases:
        figures.append(measure(of, case, ceilings, rounds=rounds, reference=reference))
        if len(figures) == 1:
            for line in table(figures):
                report(line)
        else:
            report(list(table(figures[-1:]))[-1])
    return ceilings, figures


def to_json(ceilings: Ceilings, figures: Sequence[Figures]) -> dict[str, object]:
    return {"ceilings": asdict(ceilings), "cases": [asdict(f) for f in figures]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mid", help="mid, nano, 7b")
    parser.add_argument("--regions", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--words", type=int, nargs="+", default=[16])
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cases = [Case(r, w, options.frames) for w in options.words for r in options.regions]
    ceilings, figures = run_cases(
        subject(options.model),
        cases,
        rounds=options.rounds,
        reference=not options.no_reference,
        report=lambda line: print(line, flush=True),
    )
    for line in notes(figures):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(to_json(ceilings, figures), indent=2) + "\n")


if __name__ == "__main__":
    main()
