"""A user's mistakes end in one clear line and exit code 2, before torch is imported.

The processes run with a torch in front of the real one that leaves a trace and fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media_factory import damage, write_film, write_sound_only

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
source: {use: streamer.sources.video_file.VideoFile, with: {path: "${input}"}}
steps:
  track: {use: operators.track.Track}
  select: {use: operators.select.Select}
  caption: {use: operators.caption.CaptionRegions}
sinks:
  - {use: streamer.sinks.jsonl.JsonLines, from: [track, caption], with: {path: "${out}/a.jsonl"}}
"""


def without_sam(config: str) -> str:
    """Tracking with SAM loads torch while the captioner is looked for."""
    return config.replace("track.Track}", "track.Track, with: {sam: none}}")


class Box:
    """A folder to work in, where importing torch is noticed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "torch-was-imported"
        (folder / "front" / "torch").mkdir(parents=True)
        (folder / "front" / "torch" / "__init__.py").write_text(
            f"open({str(self.trace)!r}, 'w').close()\nraise RuntimeError('torch was imported')\n"
        )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.folder / "front"), str(ROOT)])
        return subprocess.run(
            [sys.executable, "-m", "streamer", *map(str, arguments)],
            capture_output=True, text=True, cwd=self.folder, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    def mistake(self, *arguments: object) -> str:
        """The one line that a command with a mistake in it ends in."""
        done = self.run(*arguments)
        assert done.returncode == 2, done.stderr
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ")
        assert not self.trace.exists(), "torch was imported for nothing"
        return lines[0].removeprefix("error: ")


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "a.mp4", range(0, 2400, 40))


def test_the_trace_notices_torch(box: Box, film: Path) -> None:
    done = box.run("caption", film, "-q")
    assert done.returncode == 2
    assert box.trace.exists()


def test_a_run_that_cannot_begin_keeps_earlier_results(box: Box, film: Path) -> None:
    earlier = {box.folder / "out" / f"a.{end}": f"earlier {end}" for end in ("jsonl", "srt", "vtt")}
    (box.folder / "out").mkdir()
    for path, text in earlier.items():
        path.write_text(text)
    done = box.run("caption", film, "-o", box.folder / "out", "--set", "caption.weights=none")
    assert done.returncode == 2
    assert {path: path.read_text() for path in earlier} == earlier


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such file; check the path"),
        ("empty", "is empty (0 bytes)"),
        ("text", "is not a video"),
        ("sound", "has no video, only audio"),
        ("folder", "is a folder"),
        ("[b]brackets[/b]", "no such file"),
    ],
)
def test_inputs_that_are_no_film(box: Box, kind: str, said: str) -> None:
    path = box.folder / f"{kind}.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("words\n" * 99)
    elif kind == "sound":
        write_sound_only(path)
    elif kind == "folder":
        path.mkdir()
    line = box.mistake("caption", path, "-o", box.folder / "out")
    assert line.startswith(str(path))
    assert said in line
    assert not list((box.folder / "out").glob("*")), "nothing was begun"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_output_folders_that_cannot_be_made(box: Box, film: Path, out: str) -> None:
    (box.folder / "file").touch()
    line = box.mistake("caption", film, "-o", box.folder / out, "-q")
    assert f"{box.folder / 'file'}" in line
    assert "choose another" in line


def test_a_report_that_cannot_be_written(box: Box, film: Path) -> None:
    (box.folder / "file").touch()
    for command in (("caption", film), ("run", "quickstart")):
        line = box.mistake(*command, "--json", box.folder / "file" / "r.json")
        assert f"{box.folder / 'file'} is a file, not a folder" in line


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("{path: \"${input}\"}", "{paht: a}", ("my.yaml:1:", "'paht'; did you mean 'path'?")),
        ("track.Track}", "track.Track, with: {max_tracks: x}}", ("my.yaml:3:", "wants int")),
        ("track.Track}", "track.Track, from: caption}", ("circle",)),
        ("select.Select}", "select.Select, from: trak}", ("'trak'", "did you mean 'track'?")),
        ("from: [track, caption]", "from: nowhere", ("'nowhere', which is not a step",)),
        (CONFIG, "", ("a mapping with source, steps and sinks is wanted",)),
        ("caption.CaptionRegions}", "caption.CaptionRegions, with: {weights: none}}",
         ("'none'", "bundled: osprey-nano")),
        ("caption.CaptionRegions}", "caption.CaptionRegions, with: {wights: none}}",
         ("'wights'", "did you mean 'weights'")),
        ("caption.CaptionRegions}", "caption.CaptionRegions, with: {captioner: x}}",
         ("there is no captioner 'x'", "osprey, endpoint, clip")),
        ("caption.CaptionRegions}", "caption.CaptionRegions, with: {captioner: endpoint}}",
         ("needs 'url'",)),
    ],
)  # fmt: skip
def test_configurations_that_are_wrong(
    box: Box, film: Path, old: str, new: str, parts: tuple[str, ...]
) -> None:
    assert old in CONFIG
    (box.folder / "my.yaml").write_text(without_sam(CONFIG.replace(old, new)))
    line = box.mistake("caption", film, "-c", "my.yaml", "-o", "out", "-q")
    for part in parts:
        assert part in line


def test_settings_that_are_wrong(box: Box, film: Path) -> None:
    for setting, part in (
        ("trak.max_tracks=3", "there is no step 'trak'; did you mean 'track'?"),
        ("track.hidden_s=.nan", "hidden_s is nan"),
        ("source.start=99", "start=99 s lies behind its end"),
    ):
        assert part in box.mistake("caption", film, "-o", "out", "-q", "--set", setting)
    line = box.mistake("caption", film, "-c", "[quickstart]")
    assert "[quickstart]: no such configuration" in line
    assert "one of alerts, batch, documentary, live, private, quickstart" in line


def test_check_takes_variables_of_ones_own(box: Box) -> None:
    (box.folder / "my.yaml").write_text(CONFIG.replace("${out}", "${where}"))
    assert "give one with --var where=" in box.mistake("check", "my.yaml")
    done = box.run("check", "my.yaml", "--var", "where=there")
    assert done.returncode == 0, done.stderr
    assert "my.yaml is fine" in done.stdout
    assert not box.trace.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("caption",),
        ("demo", "--seconds", "inf"),
        ("train", "nano", "--length", "nan"),
        ("run", "quickstart", "--var", "x"),
    ],
)
def test_arguments_that_are_wrong(box: Box, arguments: tuple[str, ...]) -> None:
    done = box.run(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "Usage:" in done.stderr
    assert not box.trace.exists()


def test_a_film_damaged_in_its_middle_is_partial(box: Box) -> None:
    film = write_film(box.folder / "a.mp4", range(0, 6000, 40))
    damage(film, 0.4, 0.5)
    without_words = CONFIG.replace("  caption: {use: operators.caption.CaptionRegions}\n", "")
    without_words = without_words.replace("[track, caption]", "track")
    (box.folder / "my.yaml").write_text(without_sam(without_words))
    done = box.run("caption", film, "-c", "my.yaml", "-o", "out", "-q")
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("partial: ")
    assert len(done.stderr.splitlines()) == 1
    lines = [json.loads(x) for x in (box.folder / "out" / "a.jsonl").read_text().splitlines()]
    (error,) = [x for x in lines if x.get("kind") == "input_error"]
    assert "damaged at" in error["data"]["reason"]
    (end,) = [x for x in lines if x.get("kind") == "stream_end"]
    assert 75 < end["data"]["frames"] <= 150
    assert end["time_ns"] == 149 * 40_000_000, "what lies behind the damage is read"
    assert not box.trace.exists(), "tracking without SAM needs no torch"
