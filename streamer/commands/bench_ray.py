"""`streamer bench ray`: what processes cost and bring, beside the executor of one process."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from streamer.commands.bench import film_pipeline, hardware
from streamer.commands.bench_ray_parts import Camera, Clocked, Notice, Pictures, Wait
from streamer.commands.running import check_json, err, out, runner, write_json
from streamer.executors.local import run_local
from streamer.pipeline import Output, Pipeline, Step
from streamer.report import RunReport

Run = Callable[..., RunReport]
_WAIT_S = 0.2
_FPS = 20.0


def bench_ray(
    file: Path | None, *, rounds: int, config: str, ray: str, json_path: Path | None
) -> int:
    """Three measurements: the frame rate of a film, the throughput of a step that waits, and the
    age of alerts while captions take a second each.

    Raises:
        ConfigError: when Ray is not installed, or there is no cluster.
    """
    check_json(json_path)
    on_ray = runner(ray)
    result: dict[str, Any] = {"what": "ray", "hardware": hardware()}
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        pipeline = film_pipeline(file, config, folder, seconds=20.0)
        result["film"] = _film(pipeline, on_ray, rounds)
    result["waiting"] = _waiting(on_ray)
    result["alerts"] = {name: _alerts(run) for name, run in (("local", run_local), ("ray", on_ray))}
    machine = result["hardware"]
    out.print(f"on {machine['cpu']}, {machine['cores']} cores, gpu: {machine['gpu'] or 'none'}")
    write_json(json_path, result)
    return 0


def _film(pipeline: Pipeline, on_ray: Run, rounds: int) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"local": [], "ray": []}
    for i in range(rounds):
        # alternating, so that a busy machine slows both alike
        for name, run in (("local", run_local), ("ray", on_ray)):
            report: RunReport = run(pipeline)
            rates[name].append(report.frames / report.wall_s)
        err.print(
            f"round {i + 1} of {rounds}: local {rates['local'][i]:.1f}, "
            f"ray {rates['ray'][i]:.1f} frames/s"
        )
    shares = [ray / local for local, ray in zip(rates["local"], rates["ray"], strict=True)]
    share = statistics.median(shares)
    out.print(
        f"film: local {statistics.median(rates['local']):.1f}, "
        f"ray {statistics.median(rates['ray']):.1f} frames/s: {share:.2f} (median of {rounds})"
    )
    return {"frames_per_s": rates, "ray_by_local": round(share, 3)}


def _waiting(on_ray: Run) -> dict[str, Any]:
    """Throughput between the first and the last result, so that starting does not count."""
    rates: dict[int, float] = {}
    for workers in (1, 4, 16):
        sink = Clocked()
        source = partial(Pictures, 25 * workers + 1)
        step = Step(name="wait", operator=Wait, make=partial(Wait, _WAIT_S), workers=workers)
        on_ray(_graph(source, (step,), ("wait", sink)))
        came = sink.came_s
        # from the moment when every worker has given its first
        span_s = came[-1] - came[workers - 1]
        rates[workers] = (len(came) - workers) / span_s
    for workers, rate in rates.items():
        share = rate / (workers * rates[1])
        out.print(f"a step that waits 200 ms, {workers} workers: {rate:.1f}/s, {share:.2f} n")
    return {"per_s": rates, "by_n": {n: round(r / (n * rates[1]), 3) for n, r in rates.items()}}


def _alerts(run: Run) -> dict[str, Any]:
    """How old alerts are when they reach their sink while captions take a second each."""
    sink, words = Clocked(), Clocked()
    steps = (
        Step(name="notice", operator=Notice, make=Notice),
        Step(name="caption", operator=Wait, make=partial(Wait, 1.0), inputs=("notice",)),
    )
    run(_graph(partial(Camera, 200, _FPS), steps, ("notice", sink), ("caption", words)))
    median_s = statistics.median(sink.late_s)
    out.print(
        f"alerts beside captions of 1 s, {'local' if run is run_local else 'ray'}: median "
        f"{median_s * 1e3:.1f} ms, worst {max(sink.late_s) * 1e3:.0f} ms of {len(sink.late_s)}; "
        f"a frame interval is {1e3 / _FPS:.0f} ms; {len(words.late_s)} captions"
    )
    return {"median_s": median_s, "worst_s": max(sink.late_s), "alerts": len(sink.late_s)}


def _graph(
    source: Callable[[], Any], steps: tuple[Step, ...], *sinks: tuple[str, Clocked]
) -> Pipeline:
    outputs = [
        Output(name=f"of {step}", sink=Clocked, make=partial(_same, sink), inputs=(step,))
        for step, sink in sinks
    ]
    return Pipeline(make_source=source, steps=steps, outputs=tuple(outputs))


def _same(sink: Clocked) -> Clocked:
    return sink
