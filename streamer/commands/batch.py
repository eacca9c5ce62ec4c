"""`streamer run --inputs` and `streamer retry`: many inputs, each done once."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from streamer.batch import Batch, Finished, find_inputs
from streamer.commands.caption import find_config
from streamer.commands.running import (
    OK,
    PARTIAL,
    STOPPED,
    USER_ERROR,
    err,
    interruptible,
    out,
    runner,
    write_json,
)
from streamer.commands.split import Splitter
from streamer.config import load_pipeline
from streamer.errors import ConfigError, InputError, StreamerError
from streamer.logs import LoggedLines, log
from streamer.passwords import hidden
from streamer.pipeline import Pipeline
from streamer.progress import Progress
from streamer.remote import at_hand
from streamer.report import RunReport, Tally
from streamer.units import FILE_NAME, Unit, Units

_FETCHED = ".inputs"


def run_batch(
    inputs: str,
    out_dir: Path,
    *,
    manifest: bool = False,
    config: str,
    overrides: list[str],
    variables: Mapping[str, str],
    attempts: int,
    jobs: int,
    changed: str,
    ray: str | None,
    json_path: Path | None,
    quiet: bool,
    split_s: float | None = None,
) -> int:
    """Do what is missing of the inputs.

    Args:
        inputs, manifest: see `streamer.batch.find_inputs`.
        changed: what becomes of units that were done with another configuration: "ask" (an error
            that says so), "redo" or "keep".
        split_s: split films at cuts into pieces of at least so many seconds; None: never.

    Raises:
        StreamerError: for what is wrong with all of them: configuration, inputs, outputs.
    """
    path = find_config(config)
    found = find_inputs(inputs, manifest=manifest)
    units = Units(out_dir)
    try:
        wanted = units.add(found)
        _load(path, wanted[0], out_dir, variables, overrides)  # mistakes show before the work
        fingerprint = _fingerprint(path, overrides, variables)
        _check_changed(units, wanted, fingerprint, changed)
        run = runner(ray)
        fetched = out_dir / _FETCHED
        shutil.rmtree(fetched, ignore_errors=True)  # what a run that was killed left
        splitter: Splitter | None = None
        if split_s is not None:

            def load(unit: Unit, folder: Path, settings: Sequence[str]) -> Pipeline:
                return _load(path, unit, folder, variables, [*overrides, *settings])

            splitter = Splitter(out_dir, split_s, load, fingerprint)
        with interruptible() as stop:

            def piece(unit: Unit, folder: Path) -> RunReport:
                assert splitter is not None
                return run(splitter.pipeline(unit, folder), tally=Tally(), stop=stop)

            def one(unit: Unit, folder: Path) -> RunReport:
                if splitter is not None and (done := splitter.joined(unit, folder, units)):
                    return done
                tally = Tally()
                view: AbstractContextManager[Any] = nullcontext()
                if jobs == 1 and not quiet:
                    view = Progress(tally, err)
                with at_hand(unit.input, fetched / unit.id) as here, view:
                    try:
                        pipeline = _load(path, unit, folder, variables, overrides, place=str(here))
                        return run(pipeline, tally=tally, stop=stop)
                    except StreamerError as error:
                        said = str(error).replace(str(here), hidden(unit.input))
                        raise type(error)(said) from error

            def do(run_one: Callable[[Unit, Path], RunReport], chosen: Sequence[Unit]) -> None:
                batch = Batch(
                    units, out_dir, config=fingerprint, run=run_one, attempts=attempts, jobs=jobs,
                    stop=stop,
                )  # fmt: skip
                told = _Told(len(chosen), sum(unit.state == "done" for unit in chosen))
                batch.run([unit.id for unit in chosen if unit.state != "failed"], told.tell)

            if splitter is not None:
                films = [units.get(unit.id) for unit in wanted]
                if parts := splitter.plan(films, units, stop):
                    do(piece, parts)
            do(one, wanted)
            if splitter is not None:
                splitter.forget_done(wanted, units)
        shutil.rmtree(fetched, ignore_errors=True)
        wanted = [units.get(unit.id) for unit in wanted]
    finally:
        units.close()
    _summary(wanted, out_dir)
    write_json(json_path, [_plain(unit) for unit in wanted])
    if stop.is_set():
        return STOPPED
    if any(unit.state == "failed" for unit in wanted):
        return USER_ERROR
    return PARTIAL if any(unit.reason for unit in wanted) else OK


def retry(out_dir: Path, *, only_list: bool) -> int:
    """Let the units that were set aside wait again.

    Raises:
        InputError: when there is no catalog in the folder.
        OutputError: when another process works with it.
    """
    if not (out_dir / FILE_NAME).is_file():
        raise InputError(f"{out_dir}: no {FILE_NAME} here; give the --out folder of a batch")
    units = Units(out_dir)
    try:
        failed = units.all("failed")
        for unit in failed:
            out.print(f"{hidden(unit.input)}: {unit.reason}", soft_wrap=True, markup=False)
        if failed and not only_list:
            units.wait_again(failed)
    finally:
        units.close()
    what = "set aside" if only_list else "wait again; start the batch with the same command"
    out.print(f"{len(failed)} {what}" if failed else "nothing is set aside")
    return OK


class _Told:
    """Says a line about every unit."""

    def __init__(self, total: int, done: int) -> None:
        self.total = total
        self.count = done
        if done:
            out.print(f"{done} of {total} were done before")

    def tell(self, finished: Finished) -> None:
        """A try is over."""
        source, reason = hidden(finished.unit.input), finished.reason
        self.count += finished.state in ("done", "failed")
        line = f"[{self.count}/{self.total}] {source}: "
        if finished.state == "done":
            line += f"done in {finished.seconds:.1f} s" + (f", partial: {reason}" if reason else "")
        elif finished.state == "waiting":
            line += f"failed, will be tried again: {reason}"
        elif finished.state == "failed":
            line += f"set aside: {reason}"
        else:
            line += "stopped"
        level = logging.INFO if finished.state in ("done", "stopped") else logging.WARNING
        unit = finished.unit
        about = {"input": unit.input, "stem": unit.stem, "state": finished.state}
        log.log(level, "%s", line, extra=about)
        if finished.state == "done" or not isinstance(err.file, LoggedLines):
            (out if finished.state == "done" else err).print(line, soft_wrap=True, markup=False)


def _load(
    path: Path,
    unit: Unit,
    folder: Path,
    variables: Mapping[str, str],
    overrides: Sequence[str],
    *,
    place: str | None = None,
) -> Pipeline:
    """The pipeline of a unit; `place` is where its input lies now."""
    own = {"input": place or unit.input, "out": str(folder), "stem": unit.stem}
    if stream_id := unit.variables.get("stream_id"):
        overrides = [f"source.stream_id={json.dumps(stream_id)}", *overrides]
    return load_pipeline(
        path, variables={**variables, **unit.variables, **own}, overrides=overrides
    )


def _fingerprint(path: Path, overrides: Sequence[str], variables: Mapping[str, str]) -> str:
    text = "\x1f".join(
        [path.read_text(encoding="utf-8"), *overrides, repr(sorted(variables.items()))]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_changed(units: Units, wanted: Sequence[Unit], config: str, changed: str) -> None:
    other = [unit for unit in wanted if unit.state == "done" and unit.config != config]
    if not other or changed == "keep":
        return
    if changed == "redo":
        units.wait_again(other)
        return
    raise ConfigError(
        f"{len(other)} of {len(wanted)} inputs were done with another configuration; add "
        "--changed redo to do them again, --changed keep to leave them, or choose another --out"
    )


def _summary(units: Sequence[Unit], out_dir: Path) -> None:
    counts = {
        state: sum(unit.state == state for unit in units) for state in ("done", "waiting", "failed")
    }
    partial = sum(unit.state == "done" and bool(unit.reason) for unit in units)
    out.print(
        f"{counts['done']} of {len(units)} done"
        + (f" ({partial} partial)" if partial else "")
        + (f", {counts['waiting']} waiting" if counts["waiting"] else "")
        + (f", {counts['failed']} set aside: streamer retry {out_dir}" if counts["failed"] else ""),
        soft_wrap=True,
    )


def _plain(unit: Unit) -> dict[str, Any]:
    return {
        "input": hidden(unit.input),
        "stem": unit.stem,
        "state": unit.state,
        "attempts": unit.attempts,
        "reason": unit.reason,
    }
