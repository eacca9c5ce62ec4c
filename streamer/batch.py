"""Many inputs, each run on its own: what fails is tried again and then set aside, what is done is
not done twice, and outputs appear whole or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from streamer.errors import ConfigError, InputError, OutputError, StreamerError
from streamer.manifest import ENDINGS, Input, read_manifest
from streamer.passwords import hidden
from streamer.remote import find_remote, is_remote
from streamer.report import RunReport
from streamer.units import Unit, Units

_UNFINISHED = ".unfinished"
_BACK_OFF = 4.0  # each wait is so many times the one before


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What became of a unit in this run; `state` "stopped" when the user broke it off."""

    unit: Unit
    state: str
    seconds: float
    reason: str = ""
    report: RunReport | None = None


def find_inputs(inputs: str, *, manifest: bool = False) -> list[Input]:
    """The files that a path or URL with wildcards matches, or the lines of a manifest.

    Args:
        inputs: the pattern, or the manifest; see `read_manifest`.
        manifest: whether it must be a manifest; else it is one when it ends like one and is there.

    Raises:
        InputError: when nothing is found or a line is not usable, naming it.
        ConfigError: when what reads such inputs is not installed.
    """
    if manifest or (inputs.lower().endswith(ENDINGS) and not glob.has_magic(inputs)):
        found = read_manifest(inputs)
    elif is_remote(inputs):
        found = [
            (url, PurePosixPath(below).with_suffix("").as_posix(), {})
            for url, below in find_remote(inputs)
        ]
    else:
        root = _fixed_part(inputs)
        names = sorted(name for name in glob.glob(inputs, recursive=True) if os.path.isfile(name))
        found = [(name, _stem(Path(name), root), {}) for name in names]
    shown = hidden(inputs)
    if not found:
        raise InputError(f"{shown}: no input found; give a pattern in quotes, or a manifest")
    seen: set[str] = set()
    for source, _, _ in found:
        if source in seen:
            raise InputError(f"{shown}: {hidden(source)} is given twice; each input once")
        seen.add(source)
    return found


class Batch:
    """Runs units until none waits.

    Args:
        units: the catalog.
        folder: where the outputs go.
        config: fingerprint of the configuration.
        run: runs one unit with its outputs under the folder given.
        attempts: how often a unit is tried before it is set aside.
        first_wait_s: between the first and the second try; later waits are four times as long.
        jobs: how many units run at once.
        stop: when set, nothing more is begun.
    """

    def __init__(
        self,
        units: Units,
        folder: Path,
        *,
        config: str,
        run: Callable[[Unit, Path], RunReport],
        attempts: int = 3,
        first_wait_s: float = 2.0,
        jobs: int = 1,
        stop: threading.Event | None = None,
    ) -> None:
        self.units = units
        self.folder = folder
        self.config = config
        self.attempts = attempts
        self.first_wait_s = first_wait_s
        self.jobs = jobs
        self.stop = stop or threading.Event()
        self._run = run
        self._failure: BaseException | None = None

    def run(self, ids: Sequence[str], told: Callable[[Finished], None]) -> None:
        """Do all units that wait; `told` hears of each try, on the thread that made it.

        Raises:
            OutputError: when outputs cannot be written; what was begun waits again.
            ConfigError: when the configuration does not describe a runnable pipeline.
        """
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        threads = [
            threading.Thread(target=self._work, args=(list(ids), told), daemon=True)
            for _ in range(self.jobs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a plain join() would keep Ctrl-C waiting
                thread.join(0.2)
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        if self._failure is not None:
            raise self._failure

    def _work(self, ids: Sequence[str], told: Callable[[Finished], None]) -> None:
        try:
            while not self.stop.is_set() and self._failure is None:
                unit, wait_s = self.units.take(ids)
                if unit is not None:
                    told(self._try(unit))
                elif wait_s == float("inf"):
                    return
                else:
                    self.stop.wait(min(wait_s, 0.5))
        except BaseException as error:
            self._failure = self._failure or error

    def _try(self, unit: Unit) -> Finished:
        start_s = time.perf_counter()
        out = self.folder / _UNFINISHED / unit.id
        shutil.rmtree(out, ignore_errors=True)

        def finished(state: str, reason: str = "", report: RunReport | None = None) -> Finished:
            seconds = time.perf_counter() - start_s
            return Finished(unit=unit, state=state, seconds=seconds, reason=reason, report=report)

        try:
            report = self._run(unit, out)
        except (OutputError, ConfigError):
            self.units.wait_again([unit])  # not this input's fault: all others would fail as well
            raise
        except StreamerError as error:
            return finished(self._failed(unit, str(error)), str(error))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            return finished(self._failed(unit, reason), reason)
        if report.stopped:
            self.units.wait_again([unit])
            return finished("stopped")
        try:
            _publish(out, self.folder)
        except OSError as error:
            self.units.wait_again([unit])
            raise OutputError(
                f"{self.folder} cannot be written ({error.strerror}); free space or choose another"
            ) from None
        seconds = time.perf_counter() - start_s
        self.units.done(unit, config=self.config, seconds=seconds, report=report.to_json())
        return finished("done", "; ".join(report.input_errors), report)

    def _failed(self, unit: Unit, reason: str) -> str:
        last = unit.attempts + 1 >= self.attempts
        wait_s = None if last else self.first_wait_s * _BACK_OFF**unit.attempts
        self.units.failed(unit, reason, retry_in_s=wait_s)
        return "failed" if last else "waiting"


def _publish(made: Path, folder: Path) -> None:
    """Move finished files to their place; each appears whole. A crash in between leaves the unit
    running, so that it is done again and the files are replaced by their likes."""
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        target = folder / path.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    shutil.rmtree(made, ignore_errors=True)


def _fixed_part(pattern: str) -> Path:
    """The folder above the first wildcard."""
    parts = Path(pattern).parts
    n = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:n])


def _stem(path: Path, root: Path) -> str:
    """The path below the fixed part of the pattern, without the file's ending: files of one name
    in several folders stay apart, whatever is added later."""
    return path.relative_to(root).with_suffix("").as_posix()
