"""`streamer scroll`: walks along a picture of any size and writes down what is on it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from streamer import __version__
from streamer.clock import format_ns
from streamer.commands.caption import find_config
from streamer.commands.running import (
    OK,
    err,
    exit_code,
    interruptible,
    out,
    write_json,
)
from streamer.config import load_pipeline
from streamer.errors import ConfigError, InputError, OutputError
from streamer.executors.resumable import run_resumable
from streamer.pipeline import Output, Pipeline
from streamer.progress import Progress
from streamer.report import RunReport, Tally
from streamer.sources.picture_levels import identity_of

_SAY_EVERY_S = 5.0


def scroll_picture(
    picture: Path,
    out_dir: Path,
    *,
    config: str,
    overrides: list[str],
    json_path: Path | None,
    quiet: bool,
) -> int:
    """The whole run; goes on where an earlier one of the same work was stopped."""
    tally = Tally()
    started_s = time.perf_counter()
    with interruptible() as stop:
        pipeline = _loaded(picture, out_dir, config, overrides, _Teller(quiet, stop))
        with Progress(tally, err, quiet=quiet):
            report = run_resumable(
                pipeline,
                out_dir / ".walk",
                key=_work(picture, find_config(config), overrides),
                tally=tally,
                stop=stop,
            )
    regions = tally.events.get("region", 0)
    _show(report, regions, time.perf_counter() - started_s)
    write_json(json_path, {"input": str(picture), "regions": regions, **report.to_json()})
    if report.stopped:
        err.print("[yellow]stopped:[/yellow] the same command goes on from here")
    else:
        made = sorted(p for p in out_dir.iterdir() if not p.name.startswith("."))
        out.print("written: " + "  ".join(str(p) for p in made), soft_wrap=True)
    return exit_code(report)


def plan_scroll(
    picture: Path, out_dir: Path, *, config: str, overrides: list[str], quiet: bool
) -> int:
    """Draw the walk on a small copy of the picture, and run nothing."""
    from streamer.scroll.film import draw_plan
    from streamer.sources.pan_image import PanImage

    say = _Teller(quiet, threading.Event())
    pipeline = _loaded(picture, out_dir, config, overrides, say)
    source = pipeline.make_source()
    if not isinstance(source, PanImage):
        raise ConfigError(f"{config}: only a PanImage has a plan")
    try:
        source.open()
        assert source.canvas is not None
        assert source.walk is not None
        walk = source.walk
        image = draw_plan(source.canvas, walk)
    finally:
        source.close()
    path = out_dir / "plan.png"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another") from None
    levels = sorted({(stop.level, stop.zoom) for stop in walk.stops})
    zooms = ", ".join(f"{zoom:g}" for _, zoom in levels)
    out.print(
        f"{walk.kind} over {walk.canvas_hw[1]}x{walk.canvas_hw[0]} px: {len(walk.stops)} windows "
        f"at zoom {zooms}, {sum(s.pause_ns > 0 for s in walk.stops)} rests, "
        f"{walk.speed_px_s:.0f} px/s, {format_ns(walk.duration_ns)} long"
    )
    out.print(f"drawn: {path}")
    return OK


def _loaded(
    picture: Path, out_dir: Path, config: str, overrides: list[str], say: _Teller
) -> Pipeline:
    if not picture.exists():
        raise InputError(f"{picture}: no such picture; check the path")
    variables = {"input": str(picture), "out": str(out_dir), "stem": picture.stem}
    pipeline = load_pipeline(find_config(config), variables=variables, overrides=overrides)
    make = pipeline.make_source
    return replace(
        pipeline,
        make_source=partial(_telling, make, {"on_progress": partial(say, "pyramid")}),
        outputs=tuple(_told(output, say) for output in pipeline.outputs),
    )


def _told(output: Output, say: _Teller) -> Output:
    hooks = {"on_progress": say, "on_note": say.note, "stop": say.stop}
    return replace(output, make=partial(_telling, output.make, hooks))


def _telling(make: Callable[[], Any], hooks: dict[str, Any]) -> Any:
    """What is made, with the hooks it has a place for."""
    made = make()
    for name, hook in hooks.items():
        if hasattr(made, name):
            setattr(made, name, hook)
    return made


class _Teller:
    """A line of progress for what takes long besides the walk itself; `stop` ends it early."""

    def __init__(self, quiet: bool, stop: threading.Event) -> None:
        self.quiet = quiet
        self.stop = stop
        self._said_s = 0.0

    def note(self, text: str) -> None:
        if not self.quiet:
            err.print(text, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, what: str, share: float) -> None:
        now_s = time.monotonic()
        if not self.quiet and (share >= 1 or now_s - self._said_s >= _SAY_EVERY_S):
            self._said_s = now_s
            err.print(f"{what}: {share:.0%}", highlight=False)


def _work(picture: Path, config: Path, overrides: list[str]) -> str:
    """What the work is: the picture's state, the configuration and the version."""
    parts = [
        __version__, identity_of(picture),
        config.read_text(encoding="utf-8"), *(o for o in overrides if not o.startswith("outputs.")),
    ]  # fmt: skip
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _show(report: RunReport, regions: int, wall_s: float) -> None:
    out.print(
        f"{report.frames} windows, {regions} regions, {report.captions} captions in "
        f"{wall_s:.1f} s, {report.peak_memory_bytes / 2**20:.0f} MiB at most"
    )
    for reason in report.input_errors:
        err.print(f"[yellow]partial:[/yellow] {reason}", soft_wrap=True)
