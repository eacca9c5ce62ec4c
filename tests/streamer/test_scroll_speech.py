"""The narration spoken: by espeak-ng where it is installed, and by programs that misbehave."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pyvips")

from streamer.cli import app
from streamer.clock import NS_PER_S
from streamer.errors import ConfigError, ServiceError
from streamer.records import Event
from streamer.scroll.narration import narrate
from streamer.scroll.speech import RATE_HZ, Voice, write_speech
from streamer.sinks.scroll_outputs import ScrollOutputs
from streamer.sources.pan_image import PanImage
from streamer.sources.paths import plan_walk, resting_until
from streamer.sources.walk_record import walk_event
from tests.streamer.scroll_stories import LONG, region, story

ESPEAK = "espeak-ng -w {wav}"
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="no espeak-ng here")

# speaks a tone of 0.1 s for every word that it reads, and writes down what it was given
TONES = """
import sys, wave, array, math
words = sys.stdin.read().split()
with open(sys.argv[2], "a") as log:
    log.write(" ".join(words) + "\\n")
with wave.open(sys.argv[1], "wb") as out:
    out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
    tone = [round(9000 * math.sin(i / 3)) for i in range(800 * len(words))]
    out.writeframes(array.array("h", tone).tobytes())
"""


@pytest.fixture
def tones(tmp_path: Path) -> str:
    (tmp_path / "tones.py").write_text(TONES)
    return f"'{sys.executable}' '{tmp_path}/tones.py' {{wav}} '{tmp_path}/log'"


def loudness(film: Path) -> np.ndarray:
    """Loudness of every hundredth of a second, by the film's own clock."""
    found = np.zeros(100_000)
    with av.open(str(film)) as opened:
        stream = opened.streams.audio[0]
        assert stream.codec_context.name == "aac"
        rate = stream.codec_context.sample_rate
        for frame in opened.decode(stream):
            samples = np.abs(frame.to_ndarray().astype(np.float32)).mean(0)
            at = (np.arange(len(samples)) / rate + float(frame.pts * frame.time_base)) * 100
            np.maximum.at(found, at.astype(int), samples)
    return found


def outputs(tmp_path: Path, speech: str, *, speed_px_s: float = 60.0) -> Path:
    picture = tmp_path / "long.png"
    Image.fromarray(np.full((100, 1600, 3), (200, 190, 160), np.uint8)).save(picture)
    source = PanImage(
        str(picture), window_width=320, window_height=180, speed_px_s=speed_px_s, opening_s=1.0
    )
    (info,) = source.open()
    assert source.walk is not None
    sink = ScrollOutputs(
        str(tmp_path / "out"), str(picture), film_width=320, film_height=180, fps=4, page=False,
        speech=speech,
    )  # fmt: skip
    sink.open([info])
    for record in [
        walk_event(info.stream_id, source.walk),
        *region(1, (1300, 30, 1380, 70), "a red car"),
        *region(2, (400, 40, 460, 90), "a blue boat"),
        Event(stream_id=info.stream_id, time_ns=9, kind="stream_end"),
    ]:
        sink.write(record)
    sink.close()
    return tmp_path / "out"


def sentences_of(out: Path) -> list[dict[str, Any]]:
    scenes = json.loads((out / "narration.json").read_text())["scenes"]
    return [sentence for scene in scenes for sentence in scene["sentences"]]


def check_film(out: Path) -> None:
    """Sound where the script says so, and silence elsewhere."""
    loud = loudness(out / "walk.mp4")
    spoken = sentences_of(out)
    assert len(spoken) == 2
    quiet = np.ones(len(loud), bool)
    for sentence in spoken:
        first, last = sentence["start_ns"] // 10**7, sentence["end_ns"] // 10**7
        assert loud[first:last].max() > 0.02
        assert (loud[first:last] > 0.002).mean() > 0.4
        quiet[max(0, first - 8) : last + 8] = False  # an encoder smears a little
    assert loud[quiet].max() < 0.002


@needs_espeak
def test_espeak_speaks_the_narration_into_the_film(tmp_path: Path) -> None:
    out = outputs(tmp_path, ESPEAK, speed_px_s=30.0)  # scenes long enough for its sentences
    check_film(out)
    with av.open(str(out / "walk.mp4")) as film:
        assert len(film.streams.video) == len(film.streams.audio) == 1
        pictures = [float(f.pts * f.time_base) for f in film.decode(video=0)]
    assert pictures == pytest.approx([i / 4 for i in range(len(pictures))], abs=0.001)


def test_any_program_may_speak(tmp_path: Path, tones: str) -> None:
    out = outputs(tmp_path, tones)
    check_film(out)
    log = (tmp_path / "log").read_text().splitlines()
    assert all(sentence["text"] in log for sentence in sentences_of(out))
    lengths = [s["end_ns"] - s["start_ns"] for s in sentences_of(out)]
    words = [len(s["text"].split()) for s in sentences_of(out)]
    assert lengths == pytest.approx([n * NS_PER_S / 10 for n in words], rel=0.02)
    assert not (out / ".speech" / "all.wav").exists()


def test_what_was_spoken_is_not_spoken_again(tmp_path: Path, tones: str) -> None:
    outputs(tmp_path, tones)
    before = (tmp_path / "log").read_text()
    assert len(set(before.splitlines())) == len(before.splitlines())
    outputs(tmp_path, tones)
    assert (tmp_path / "log").read_text() == before


def test_slow_speakers_tell_less(tmp_path: Path, tones: str) -> None:
    walk = plan_walk(LONG, window_hw=(200, 800), overlap=0.5, speed_px_s=200.0)
    voice = Voice(tones, tmp_path / "kept")
    spoken = narrate(story(), walk, voice.length_ns)
    slow = narrate(story(), walk, lambda text: 3 * voice.length_ns(text))
    assert sum(len(s.left_out) for s in slow) > sum(len(s.left_out) for s in spoken)
    for scenes in (spoken, slow):
        told = [s for scene in scenes for s in scene.sentences]
        assert all(a.end_ns <= b.start_ns for a, b in itertools.pairwise(told))
        assert told[-1].end_ns <= walk.duration_ns


def test_the_last_rest_lasts_as_long_as_the_words() -> None:
    walk = plan_walk(LONG, window_hw=(200, 800))
    assert resting_until(walk, walk.duration_ns - 5) is walk
    longer = resting_until(walk, walk.duration_ns + 5)
    assert longer.duration_ns == walk.duration_ns + 5
    assert longer.stops[-1].pause_ns == walk.stops[-1].pause_ns + 5
    assert longer.rect_at(longer.duration_ns) == walk.rect_at(walk.duration_ns)


def test_sentences_lie_at_their_times(tmp_path: Path, tones: str) -> None:
    walk = plan_walk(LONG, window_hw=(200, 800), speed_px_s=100.0)
    voice = Voice(tones, tmp_path / "kept")
    told = [s for scene in narrate(story(), walk, voice.length_ns) for s in scene.sentences]
    write_speech(tmp_path / "all.wav", told, voice)
    with av.open(str(tmp_path / "all.wav")) as opened:
        parts = [frame.to_ndarray().reshape(-1) for frame in opened.decode(audio=0)]
    sound = np.concatenate(parts)
    assert len(sound) == pytest.approx(told[-1].end_ns * RATE_HZ / NS_PER_S, abs=2)
    for sentence in told:
        first, last = (t * RATE_HZ // NS_PER_S for t in (sentence.start_ns, sentence.end_ns))
        assert np.abs(sound[first + 100 : last - 100]).max() > 5000
    gaps = [(a.end_ns, b.start_ns) for a, b in itertools.pairwise(told) if a.end_ns < b.start_ns]
    assert gaps
    for gap in gaps:
        first, last = (t * RATE_HZ // NS_PER_S for t in gap)
        assert not sound[first + 2 : last - 2].any()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program -w {wav}", "no program 'no-such-program'"),
        ("cat", "{wav}"),
        ("", "{wav}"),
        ("cat 'a {wav}", "cannot be read"),
    ],
)
def test_commands_that_cannot_work_are_refused_at_once(
    tmp_path: Path, command: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words.replace("{", r"\{").replace("}", r"\}")):
        Voice(command, tmp_path)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('no voice', file=sys.stderr); sys.exit(3)", "exit code 3: no voice"),
        ("", "wrote no sound"),
        ("import sys; open(sys.argv[1], 'w').write('noise')", "cannot be read"),
    ],
)
def test_programs_that_fail_are_named(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "bad.py").write_text(code)
    voice = Voice(f"'{sys.executable}' '{tmp_path}/bad.py' {{wav}}", tmp_path / "kept")
    for _ in range(2):  # nothing broken is kept
        with pytest.raises(ServiceError, match=words) as caught:
            voice.length_ns("A red car; $(touch hacked) `id`.")
        assert "\n" not in str(caught.value)
    assert not any((tmp_path / "kept").iterdir())


def test_the_text_may_come_in_a_file_and_never_reaches_a_shell(tmp_path: Path) -> None:
    (tmp_path / "say.py").write_text(
        "import sys, shutil\n"
        f"open({str(tmp_path / 'got')!r}, 'w').write(open(sys.argv[2]).read())\n"
        f"shutil.copy({str(tmp_path / 'tone.wav')!r}, sys.argv[1])\n"
    )
    (tmp_path / "tones.py").write_text(TONES)
    text = "A car; $(touch hacked) 'and' `id` {wav}."
    Voice(
        f"'{sys.executable}' '{tmp_path}/tones.py' {{wav}} '{tmp_path}/log'", tmp_path / "one"
    ).length_ns("one two")
    (made,) = (tmp_path / "one").glob("*.wav")
    made.rename(tmp_path / "tone.wav")
    voice = Voice(f"'{sys.executable}' '{tmp_path}/say.py' {{wav}} {{text}}", tmp_path / "kept")
    assert voice.length_ns(text) == pytest.approx(0.2 * NS_PER_S, rel=0.02)
    assert (tmp_path / "got").read_text() == text
    assert not (tmp_path / "hacked").exists()


def test_a_missing_program_is_one_line_of_the_command(tmp_path: Path) -> None:
    Image.new("RGB", (90, 30)).save(tmp_path / "ok.png")
    arguments = ["scroll", str(tmp_path / "ok.png"), "-o", str(tmp_path / "out"), "--plan"]
    result = CliRunner().invoke(app, [*arguments, "--speech", "no-such-program -w {wav}"])
    assert result.exception is not None
    assert "there is no program 'no-such-program'; install it" in str(result.exception)
    assert "\n" not in str(result.exception)
