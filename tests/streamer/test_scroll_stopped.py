"""Ctrl-C while the outputs are written, given to a real process: what is finished is kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pyvips")


def picture(folder: Path) -> Path:
    image = np.full((120, 1500, 3), 200, np.uint8)
    for i in range(5):
        cv2.rectangle(image, (60 + 290 * i, 40), (104 + 290 * i, 76), (180, 30 + 40 * i, 30), -1)
    Image.fromarray(image).save(folder / "boxes.png")
    return folder / "boxes.png"


def command(picture: Path, out: Path, report: Path) -> list[str]:
    settings = [
        "caption.detail_prompt=''", "outputs.film_width=640", "outputs.film_height=360",
        "outputs.fps=25", "source.speed_px_s=20", "outputs.speech=" + json.dumps(tone(out.parent)),
    ]  # fmt: skip
    flags = [flag for setting in settings for flag in ("--set", setting)]
    return [
        *(sys.executable, "-m", "streamer", "scroll", str(picture), "-o", str(out)),
        *("--json", str(report)), *flags,
    ]  # fmt: skip


def tone(folder: Path) -> str:
    """A program that says a tone of half a second, and notes that it was called."""
    (folder / "tone.py").write_text(
        "import sys, wave\n"
        "open(sys.argv[2], 'a').write('x')\n"
        "with wave.open(sys.argv[1], 'wb') as out:\n"
        "    out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)\n"
        "    out.writeframes(bytes([0, 40, 0, 200]) * 2000)\n"
    )
    return f"'{sys.executable}' '{folder}/tone.py' {{wav}} '{folder}/called'"


def started(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_ctrl_c_in_the_film_keeps_all_that_is_finished(tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "r.json"
    arguments = command(picture(tmp_path), out, report)
    process = started(arguments)
    try:
        # the first part of the film is whole, the second one is begun
        until = time.monotonic() + 120
        folder = out / ".walk.mp4.parts"
        while not (list(folder.glob("*.mp4")) and list(folder.glob("*.new"))):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "the same command goes on from here" in " ".join(said.split())
    assert "Traceback" not in said
    assert not (out / "walk.mp4").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert kept
    lines = (out / "regions.jsonl").read_text().splitlines()
    assert [json.loads(line)["region_id"] for line in lines] == [1, 2, 3, 4, 5]
    assert (out / "page" / "index.html").is_file()
    tiles = {path: path.stat().st_mtime_ns for path in (out / "page" / "tiles").rglob("*.jpg")}
    called = (tmp_path / "called").read_text()

    again = started(arguments)
    parts: dict[Path, int] = {}
    while again.poll() is None:
        parts |= {p: p.stat().st_mtime_ns for p in kept if p.exists()}
        time.sleep(0.02)
    assert again.returncode == 0, again.communicate()[0]
    assert parts == kept  # not one finished part was rendered again
    assert (tmp_path / "called").read_text() == called  # nor anything spoken again
    assert {p: p.stat().st_mtime_ns for p in tiles} == tiles
    assert json.loads(report.read_text())["frames"] == 0  # nor a window looked at again
    assert (out / "regions.jsonl").read_text().splitlines() == lines
    with av.open(str(out / "walk.mp4")) as film:
        times = [float(frame.pts * frame.time_base) for frame in film.decode(video=0)]
        assert film.streams.audio
    assert times == pytest.approx([i / 25 for i in range(len(times))], abs=0.001)
    made = (out / "walk.mp4").stat().st_mtime_ns
    assert started(arguments).wait() == 0
    assert (out / "walk.mp4").stat().st_mtime_ns == made  # a finished film is left as it is
