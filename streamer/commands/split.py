"""Where long films are split: a quick look for cuts, and the pieces of a batch."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from operators.tracking.cuts import CutDetector
from operators.tracking.flow import measure_motion
from streamer.commands.running import notice
from streamer.errors import ConfigError, InputError
from streamer.passwords import hidden
from streamer.pipeline import Pipeline
from streamer.records import Frame, record_id
from streamer.remote import is_remote
from streamer.report import RunReport, Tally
from streamer.sources.video_file import VideoFile
from streamer.split import NotJoinable, Piece, check_splittable, join, pieces, recording
from streamer.units import Unit, Units, stamp

_FOLDER = ".pieces"
_LOOK_HEIGHT_PX = 72

Load = Callable[[Unit, Path, Sequence[str]], Pipeline]
"""The pipeline of a unit with its outputs in a folder and more settings."""


class Splitter:
    """Splits the films of a batch at cuts into pieces, which are units of their own.

    Args:
        folder: where the outputs go.
        least_s: no piece is shorter; films shorter than twice that stay whole.
        load: makes the pipelines.
        config: fingerprint of the configuration.
    """

    def __init__(self, folder: Path, least_s: float, load: Load, config: str) -> None:
        self.folder = folder
        self.least_ns = round(least_s * 1e9)
        self.load = load
        self.config = config
        self._films: dict[str, list[tuple[Piece, Unit]]] = {}
        self._pieces: dict[str, tuple[Unit, Piece, int]] = {}

    def plan(self, films: Sequence[Unit], units: Units, stop: threading.Event) -> list[Unit]:
        """The pieces of the films that wait, as units.

        Raises:
            ConfigError: when the configuration cannot be run in pieces.
        """
        planned: list[Unit] = []
        for film in films:
            if film.state != "waiting" or is_remote(film.input) or stop.is_set():
                continue
            try:
                found, first_ns = self._found(film, stop)
            except InputError:
                continue  # its own run says why
            if len(found) < 2:
                continue
            seen = record_id(stamp(film.input), self.least_ns)[:6]
            names = [f"{film.input} [{_span(piece, first_ns)}, {seen}]" for piece in found]
            stems = [f"{_FOLDER}/{film.id}/{seen}-{n}" for n in range(len(found))]
            added = units.add([(name, stem, {}) for name, stem in zip(names, stems, strict=True)])
            units.wait_again([u for u in added if u.state == "done" and not self._is_there(u)])
            added = [units.get(unit.id) for unit in added]
            self._films[film.id] = list(zip(found, added, strict=True))
            for piece, unit in self._films[film.id]:
                self._pieces[unit.id] = (film, piece, first_ns)
            planned += added
        return planned

    def pipeline(self, unit: Unit, folder: Path) -> Pipeline:
        """What runs a piece."""
        film, piece, first_ns = self._pieces[unit.id]
        settings = []
        if piece.begin_ns is not None:
            settings.append(f"source.start={_seconds(piece.begin_ns - first_ns)}")
        if piece.cut_ns is not None:  # the picture of the cut is looked at too
            settings.append(f"source.end={_seconds(piece.cut_ns - first_ns + 1)}")
        return recording(self.load(film, folder, settings), folder / unit.stem)

    def joined(self, film: Unit, folder: Path, units: Units) -> RunReport | None:
        """The outputs of a film out of those of its pieces; None when it has to be run in one.

        Raises:
            InputError: when a piece was set aside.
        """
        parts = [(piece, units.get(unit.id)) for piece, unit in self._films.get(film.id, ())]
        if not parts:
            return None
        for _, unit in parts:
            if unit.state == "failed":
                raise InputError(f"{hidden(unit.input)} was set aside: {unit.reason}")
        tally = Tally()
        stopped = any(unit.state != "done" for _, unit in parts)
        if not stopped:
            places = [(piece, self.folder / unit.stem) for piece, unit in parts]
            try:
                join(self.load(film, folder, ()), places, tally)
            except NotJoinable as reason:
                notice("whole", "yellow", f"{hidden(film.input)} is run in one piece: {reason}")
                return None
        return tally.report(wall_s=0.0, setup_s=0.0, stopped=stopped, steps={})

    def forget_done(self, films: Sequence[Unit], units: Units) -> None:
        """What pieces have made goes when their film is done."""
        for film in films:
            if units.get(film.id).state == "done":
                shutil.rmtree(self.folder / _FOLDER / film.id, ignore_errors=True)
        if not any((self.folder / _FOLDER).glob("*")):
            shutil.rmtree(self.folder / _FOLDER, ignore_errors=True)

    def _is_there(self, unit: Unit) -> bool:
        return unit.config == self.config and (self.folder / unit.stem).is_dir()

    def _found(self, film: Unit, stop: threading.Event) -> tuple[list[Piece], int]:
        """The pieces of a film, and the time of its first frame; looked for once."""
        known = self.folder / _FOLDER / film.id / "plan.json"
        key = [stamp(film.input), self.config, self.least_ns]
        try:
            data = json.loads(known.read_text())
            if data["key"] == key:
                return [Piece(**piece) for piece in data["pieces"]], int(data["first_ns"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        check_splittable(self.load(film, self.folder, ()))
        found, first_ns = self._look(film, stop)
        known.parent.mkdir(parents=True, exist_ok=True)
        new = known.with_suffix(".new")
        new.write_text(
            json.dumps({"key": key, "first_ns": first_ns, "pieces": [asdict(p) for p in found]})
        )
        os.replace(new, known)
        return found, first_ns

    def _look(self, film: Unit, stop: threading.Event) -> tuple[list[Piece], int]:
        looking = self.load(film, self.folder, [f"source.max_height={_LOOK_HEIGHT_PX}"])
        source = looking.make_source()
        if not isinstance(source, VideoFile):
            raise ConfigError("only films are split; run without --split-s")
        try:
            (info,) = source.open()
            if info.duration_ns is not None and info.duration_ns < 2 * self.least_ns:
                return [Piece(begin_ns=None, cut_ns=None)], source.first_ns
            detector, before = CutDetector(), None
            times: list[int] = []
            cuts: list[int] = []
            for record in source.read():
                if stop.is_set():
                    raise InputError("stopped")
                if not isinstance(record, Frame):
                    continue
                gray = np.asarray(cv2.cvtColor(record.image, cv2.COLOR_RGB2GRAY), np.uint8)
                motion = None if before is None else measure_motion(before, gray)
                if detector.is_cut(record.image, record.time_ns, motion):
                    cuts.append(record.time_ns)
                before = gray
                times = [*times[:1], record.time_ns]
        finally:
            source.close()
        if not times:
            return [Piece(begin_ns=None, cut_ns=None)], source.first_ns
        return pieces(cuts, times[0], times[-1], self.least_ns), source.first_ns


def _seconds(ns: int) -> str:
    return f"{ns // 10**9}.{ns % 10**9:09}"


def _span(piece: Piece, first_ns: int) -> str:
    begin_s = 0.0 if piece.begin_ns is None else (piece.begin_ns - first_ns) / 1e9
    end = "the end" if piece.cut_ns is None else f"{(piece.cut_ns - first_ns) / 1e9:.3f} s"
    return f"{begin_s:.3f} s to {end}"
