"""The narration spoken by a program of the user's choice, and put together at its times."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import wave
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from streamer.clock import NS_PER_S
from streamer.errors import ConfigError, ServiceError
from streamer.scroll.narration import Sentence
from streamer.sinks.files import writing

RATE_HZ = 48_000
_PATIENCE_S = 300.0
_SHOWN_CHARACTERS = 60


class Voice:
    """Speaks sentences with a program, each once: what was spoken is kept in a folder.

    Args:
        command: the program and its arguments, as in a shell but never given to one. `{wav}` stands
            for the sound file it has to write; `{text}` for a file with the text, which is given on
            standard input as well.
        folder: for what was spoken.

    Raises:
        ConfigError: when the command cannot be used.
    """

    def __init__(self, command: str, folder: Path) -> None:
        self.command = command
        self.folder = folder
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"speech {command!r} cannot be read: {error}") from None
        if not any("{wav}" in word for word in self._words[1:]):
            raise ConfigError(
                f"speech {command!r} has to say where the program writes its sound; put {{wav}} "
                "there, as in 'espeak-ng -w {wav}'"
            )
        if shutil.which(self._words[0]) is None:
            raise ConfigError(
                f"speech: there is no program {self._words[0]!r}; install it, or name another one"
            )

    def spoken(self, text: str) -> NDArray[np.int16]:
        """The sound of a text: samples at RATE_HZ, one channel.

        Raises:
            ServiceError: when the program does not speak it.
            OutputError: when the sound cannot be kept.
        """
        name = hashlib.sha256("\x1f".join((self.command, text)).encode()).hexdigest()[:24]
        kept = self.folder / f"{name}.wav"
        if not kept.is_file():
            with writing(kept):
                self.folder.mkdir(parents=True, exist_ok=True)
                beside, script = kept.with_suffix(".new.wav"), kept.with_suffix(".txt")
                script.write_text(text, encoding="utf-8")
                try:
                    self._speak(text, script, beside)
                    beside.replace(kept)
                finally:
                    script.unlink(missing_ok=True)
                    beside.unlink(missing_ok=True)
        return self._samples(kept, text)

    def length_ns(self, text: str) -> int:
        """How long a text takes to speak."""
        return len(self.spoken(text)) * NS_PER_S // RATE_HZ

    def _speak(self, text: str, script: Path, wav: Path) -> None:
        words = [
            word.replace("{wav}", str(wav)).replace("{text}", str(script)) for word in self._words
        ]
        try:
            # a session of its own: Ctrl-C is for the run, which ends when the sentence is spoken
            done = subprocess.run(
                words, input=text.encode(), capture_output=True, timeout=_PATIENCE_S, check=False,
                start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise self._failed(text, f"did not end within {_PATIENCE_S:.0f} s") from None
        except OSError as error:
            raise self._failed(text, f"cannot be run: {error.strerror}") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            why = f"exit code {done.returncode}" + (f": {lines[-1]}" if lines else "")
            raise self._failed(text, why)
        if not wav.is_file():
            raise self._failed(text, "it wrote no sound to {wav}")

    def _samples(self, wav: Path, text: str) -> NDArray[np.int16]:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        try:
            with av.open(str(wav)) as opened:
                frames = [f for frame in opened.decode(audio=0) for f in resampler.resample(frame)]
                frames += resampler.resample(None)
        except (av.FFmpegError, IndexError) as error:
            wav.unlink(missing_ok=True)
            raise self._failed(text, f"its sound cannot be read: {error}") from None
        parts = [frame.to_ndarray().reshape(-1) for frame in frames]
        if not parts:
            wav.unlink(missing_ok=True)
            raise self._failed(text, "its sound is empty")
        return np.concatenate(parts).astype(np.int16, copy=False)

    def _failed(self, text: str, why: str) -> ServiceError:
        short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
        return ServiceError(
            f"speech {self.command!r} failed on {short!r} ({why}); try the program by hand"
        )


def write_speech(path: Path, sentences: Sequence[Sentence], voice: Voice) -> None:
    """Write all sentences at their times into one WAV file, with silence between them.

    Raises:
        ServiceError: when the program does not speak one.
        OutputError: when the file cannot be written.
    """
    with writing(path), wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        at = 0
        for sentence in sentences:
            start = sentence.start_ns * RATE_HZ // NS_PER_S
            file.writeframes(bytes(2 * max(0, start - at)))
            samples = voice.spoken(sentence.text)
            file.writeframes(samples.tobytes())
            at = max(at, start) + len(samples)
