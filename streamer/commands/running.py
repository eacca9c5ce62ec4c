"""What the commands that run a pipeline share: progress, Ctrl-C, exit codes, the summary."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any, cast

from rich.console import Console
from rich.text import Text

from streamer.errors import ConfigError, OutputError
from streamer.executors.local import run_local
from streamer.logs import LoggedLines, listen, log
from streamer.pipeline import Pipeline
from streamer.progress import Progress
from streamer.report import RunReport, Tally
from streamer.sinks.files import prepare

OK, USER_ERROR, PARTIAL, STOPPED = 0, 2, 3, 130
CONFIGS = Path(__file__).resolve().parents[2] / "configs"

# where no terminal tells its width, tables are not squeezed
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, emoji=False)


def log_as(form: str) -> None:
    """From now on stderr gets JSON lines instead of text, when `form` is "json"."""
    if form == "json" and not isinstance(err.file, LoggedLines):
        listen(sys.stderr)
        err.file = cast(IO[str], LoggedLines())


def notice(label: str, style: str, text: object) -> None:
    """One line on stderr behind a coloured label; brackets in the text stay as they are."""
    if isinstance(err.file, LoggedLines):
        log.log(logging.ERROR if label == "error" else logging.WARNING, "%s", text)
        return
    err.print(Text.assemble((f"{label}:", style), f" {text}"), soft_wrap=True)


def execute(
    pipeline: Pipeline,
    *,
    quiet: bool = False,
    ray: str | None = None,
    metrics: str | None = None,
) -> RunReport:
    """Run a pipeline with progress; Ctrl-C ends it early with everything finished written.

    Args:
        metrics: PORT or HOST:PORT at which to serve figures meanwhile; None: nowhere.
        ray: run it on Ray: "local", "auto" or the address of a cluster; None: in this process.

    Raises:
        StreamerError: from a part of the pipeline, or when there is no such cluster.
    """
    tally = Tally()
    run = runner(ray)
    with (
        served(tally, metrics),
        interruptible() as stop,
        Progress(tally, err, quiet=quiet),
    ):
        return run(pipeline, tally=tally, stop=stop)


def served(tally: Tally, address: str | None) -> AbstractContextManager[object]:
    """The figures of a run at an address, as long as it lasts.

    Raises:
        ConfigError: when the address cannot be served, or `prometheus_client` is not installed.
    """
    if address is None:
        return nullcontext()
    try:
        from streamer.metrics import Metrics
    except ModuleNotFoundError:
        raise ConfigError(
            "--metrics needs prometheus_client; pip install 'osprey-streamer[metrics]'"
        ) from None
    return Metrics(tally, address)


def runner(ray: str | None) -> Callable[..., RunReport]:
    """What runs a pipeline: `run_local`, or `run_ray` connected to a cluster.

    Raises:
        ConfigError: when Ray is not installed, or there is no cluster at the address.
    """
    if ray is None:
        return run_local
    try:
        from streamer.executors.ray import connect, run_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError(
            "--ray needs the package ray; pip install 'osprey-streamer[ray]'"
        ) from None
    connect(ray)  # before Ctrl-C is handled here: Ray sets handlers of its own
    return partial(run_ray, address=ray)


def exit_code(report: RunReport) -> int:
    """130 when it was interrupted, 3 when an input could not be read to its end, else 0."""
    if report.stopped:
        return STOPPED
    return PARTIAL if report.partial else OK


def show(report: RunReport) -> None:
    """The sums of a run, and what went wrong with its input."""
    out.print(
        f"{report.frames} frames, {report.media_ns / 1e9:.1f} s of media in {report.wall_s:.1f} s "
        f"({report.speed:.2f}x real time), {report.tracks} tracks, {report.captions} captions, "
        f"{report.events.get('cut', 0)} cuts, "
        f"{report.peak_memory_bytes / 2**20:.0f} MiB at most"
    )
    if report.restarts:
        err.print(f"{report.restarts} workers died and were replaced; nothing is missing")
    for reason in report.input_errors:
        notice("partial", "yellow", reason)
    if full := report.events.get("tracks_full"):
        shots = "a shot" if full == 1 else f"{full} shots"
        notice("full", "yellow", f"{shots} had more to follow than max_tracks allows; the rest was "
               "left out (--set track.max_tracks=N)")  # fmt: skip
    if report.stopped:
        notice("stopped", "yellow", "everything finished so far is written")


def check_json(path: Path | None) -> None:
    """Find out whether `--json FILE` can be written, before the work.

    Raises:
        OutputError: when it cannot.
    """
    if path is not None:
        prepare(path)


def write_json(path: Path | None, data: Any) -> None:
    """Write data for `--json FILE`.

    Raises:
        OutputError: when the file cannot be written.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another") from None


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) sets the event, the second one breaks off at once."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        err.print("stopping: finishing what was begun (once more to break off)")

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
