"""Batches: every input is done once, whatever fails or is killed in between."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamer.batch import Batch, Finished, find_inputs
from streamer.errors import InputError, OutputError
from streamer.report import RunReport, Tally
from streamer.units import Unit, Units
from tests.media_factory import write_film

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
source: {use: streamer.sources.video_file.VideoFile, with: {path: "${input}"}}
steps:
  track: {use: operators.track.Track}
sinks:
  - {use: streamer.sinks.jsonl.JsonLines, from: track, with: {path: "${out}/${stem}.jsonl"}}
"""


def write(unit: Unit, folder: Path) -> RunReport:
    path = folder / f"{unit.stem}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(unit.input)
    return Tally().report(wall_s=0, setup_s=0, stopped=False, steps={})


def batch(
    folder: Path,
    inputs: list[str],
    run: Callable[[Unit, Path], RunReport] = write,
    *,
    config: str = "1",
    attempts: int = 3,
    jobs: int = 1,
    stop: threading.Event | None = None,
) -> list[Finished]:
    units = Units(folder)
    told: list[Finished] = []
    try:
        wanted = units.add([(name, Path(name).stem, {}) for name in inputs])
        Batch(
            units, folder, config=config, run=run, attempts=attempts, first_wait_s=0.01, jobs=jobs,
            stop=stop,
        ).run([u.id for u in wanted], told.append)  # fmt: skip
    finally:
        units.close()
    return told


def states(folder: Path) -> dict[str, str]:
    units = Units(folder)
    try:
        return {unit.input: unit.state for unit in units.all()}
    finally:
        units.close()


@pytest.mark.parametrize("jobs", [1, 3])
def test_everything_is_done_once(tmp_path: Path, jobs: int) -> None:
    inputs = [f"{n}.mp4" for n in range(7)]
    assert {f.state for f in batch(tmp_path, inputs, jobs=jobs)} == {"done"}
    assert sorted(p.name for p in tmp_path.glob("*.txt")) == [f"{n}.txt" for n in range(7)]
    assert batch(tmp_path, inputs) == []
    assert [f.unit.input for f in batch(tmp_path, [*inputs, "new.mp4"])] == ["new.mp4"]


def test_what_fails_is_tried_again_and_then_set_aside(tmp_path: Path) -> None:
    def breaks(unit: Unit, folder: Path) -> RunReport:
        write(unit, folder)
        if unit.input == "bad.mp4" or (unit.input == "late.mp4" and unit.attempts == 0):
            raise InputError(f"{unit.input} is not there")
        return write(unit, folder)

    told = batch(tmp_path, ["bad.mp4", "late.mp4", "good.mp4"], breaks)
    of_bad = [f.state for f in told if f.unit.input == "bad.mp4"]
    assert of_bad == ["waiting", "waiting", "failed"]
    assert [f.state for f in told if f.unit.input == "late.mp4"] == ["waiting", "done"]
    assert sorted(p.name for p in tmp_path.glob("*.txt")) == ["good.txt", "late.txt"]
    units = Units(tmp_path)
    (failed,) = units.all("failed")
    assert failed.reason == "bad.mp4 is not there"
    units.wait_again([failed])
    units.close()
    assert [f.state for f in batch(tmp_path, ["bad.mp4"])] == ["done"]


def test_a_full_disk_is_not_the_fault_of_an_input(tmp_path: Path) -> None:
    def full(unit: Unit, folder: Path) -> RunReport:
        raise OutputError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        batch(tmp_path, ["a.mp4", "b.mp4"], full)
    assert set(states(tmp_path).values()) == {"waiting"}


def test_stopping_leaves_the_rest_for_the_next_start(tmp_path: Path) -> None:
    stop = threading.Event()

    def stopped(unit: Unit, folder: Path) -> RunReport:
        write(unit, folder)
        stop.set()
        return Tally().report(wall_s=0, setup_s=0, stopped=True, steps={})

    assert [f.state for f in batch(tmp_path, ["a.mp4", "b.mp4"], stopped, stop=stop)] == ["stopped"]
    assert not list(tmp_path.glob("*.txt"))
    assert len(batch(tmp_path, ["a.mp4", "b.mp4"])) == 2


def test_what_a_crash_left_running_is_done_again(tmp_path: Path) -> None:
    batch(tmp_path, ["a.mp4", "b.mp4"])
    with sqlite3.connect(tmp_path / "catalog.sqlite") as db:
        db.execute("UPDATE units SET state = 'running' WHERE input = 'a.mp4'")
    assert [f.unit.input for f in batch(tmp_path, ["a.mp4", "b.mp4"])] == ["a.mp4"]


def test_a_changed_input_is_done_again(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_text("one")
    assert len(batch(tmp_path / "out", [str(film)])) == 1
    assert len(batch(tmp_path / "out", [str(film)])) == 0
    film.write_text("another")
    assert len(batch(tmp_path / "out", [str(film)])) == 1


def test_two_inputs_never_share_an_output(tmp_path: Path) -> None:
    batch(tmp_path, ["a/x.mp4", "b/x.mp4"])
    assert sorted(p.read_text() for p in tmp_path.glob("*.txt")) == ["a/x.mp4", "b/x.mp4"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Units(tmp_path)
    with pytest.raises(OutputError, match="another process"):
        Units(tmp_path)
    first.close()
    Units(tmp_path).close()


def test_a_pattern_keeps_the_folders_below_it(tmp_path: Path) -> None:
    for name in ("a/x.mp4", "b/x.mp4", "b/c/y.mp4", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_inputs(f"{tmp_path}/**/*.mp4")
    assert [stem for _, stem, _ in found] == ["a/x", "b/c/y", "b/x"]
    assert find_inputs(f"{tmp_path}/a/x.mp4")[0][1] == "x"


def test_manifests(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("input,stem,place\na.mp4,first,gate\nb/c.mp4,,\n")
    assert find_inputs(str(path)) == [
        ("a.mp4", "first", {"place": "gate"}),
        ("b/c.mp4", "c", {}),
    ]
    path = tmp_path / "list.jsonl"
    path.write_text('{"input": "a.mp4", "start": 3}\n\n')
    assert find_inputs(str(path)) == [("a.mp4", "a", {"start": "3"})]


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("x.csv", "file\na.mp4\n", "no column 'input'"),
        ("x.csv", "input\na.mp4,b\n", "more values"),
        ("x.csv", "input\n", "no input found"),
        ("x.csv", "input\na.mp4\na.mp4\n", "given twice"),
        ("x.jsonl", "{\n", "x.jsonl:1 is not JSON"),
        ("x.jsonl", '{"stem": "a"}\n', "x.jsonl:1 names no input"),
        ("x.jsonl", '{"input": "a.mp4", "stem": "../a"}\n', "leads out of"),
    ],
)
def test_bad_manifests(tmp_path: Path, name: str, text: str, part: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=part):
        find_inputs(str(tmp_path / name))


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "streamer", *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def films(folder: Path, count: int) -> str:
    folder.mkdir()
    for n in range(count):
        write_film(folder / f"{n:03}.mp4", range(0, 40 * (4 + n % 5), 40))
    return f"{folder}/*.mp4"


def test_the_command_does_what_is_missing(tmp_path: Path) -> None:
    config, out = tmp_path / "batch.yaml", tmp_path / "out"
    config.write_text(CONFIG)
    inputs = films(tmp_path / "films", 2)
    (tmp_path / "films" / "bad.mp4").write_text("no film")
    command = ("run", config, "--inputs", inputs, "-o", out, "-q", "--attempts", 1)
    first = start(*command)
    output, errors = first.communicate(timeout=300)
    assert first.returncode == 2, errors
    assert "2 of 3 done, 1 set aside" in output
    assert "bad.mp4 is not a video" in errors
    assert sorted(p.name for p in out.glob("*.jsonl")) == ["000.jsonl", "001.jsonl"]
    assert json.loads((out / "000.jsonl").read_text().splitlines()[-1])["kind"] == "stream_end"
    assert not (out / ".unfinished").exists()
    config.write_text(CONFIG.replace("Track}", "Track, with: {max_tracks: 3}}"))
    changed = start(*command)
    assert "another configuration" in changed.communicate(timeout=300)[1]
    assert changed.returncode == 2


@pytest.mark.parametrize(
    ("count", "kills"),
    [
        (10, (3,)),
        pytest.param(200, (0, 20, 60, 90, 120, 170, 199), marks=pytest.mark.slow),
    ],
)
def test_many_films_and_a_process_that_is_killed_and_started_again(
    tmp_path: Path, count: int, kills: tuple[int, ...]
) -> None:
    config = tmp_path / "batch.yaml"
    config.write_text(CONFIG)
    inputs = films(tmp_path / "films", count)
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def command(folder: Path) -> subprocess.Popen[str]:
        return start("run", config, "--inputs", inputs, "-o", folder, "-q")

    undisturbed = command(whole)
    assert undisturbed.wait(600) == 0, undisturbed.communicate()
    for done in kills:
        process = command(killed)
        while not (killed / ".unfinished").exists() or len(list(killed.glob("*.jsonl"))) < done:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    last = command(killed)
    output, errors = last.communicate(timeout=600)
    assert last.returncode == 0, errors
    assert f"{count} of {count} done" in output
    # every record once: the files are the same, to the byte, and there are no others
    records = {path.name: path.read_bytes() for path in whole.rglob("*.jsonl")}
    assert len(records) == count
    assert {path.name: path.read_bytes() for path in killed.rglob("*.jsonl")} == records
    assert not (killed / ".unfinished").exists()
