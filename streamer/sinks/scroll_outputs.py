"""Everything that a walk along a picture leaves, written when the walk has come to its end."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pysubs2
from numpy.typing import NDArray

from streamer import __version__
from streamer.errors import OutputError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo
from streamer.scroll.film import Painter, draw_plan
from streamer.scroll.film_parts import FilmShape, write_film
from streamer.scroll.findings import Finding, Findings, finding_json
from streamer.scroll.geojson import feature_collection
from streamer.scroll.iiif import manifest
from streamer.scroll.narration import (
    Scene,
    canvas_place,
    narrate,
    neighbours,
    reading_length,
    scene_json,
    script_text,
)
from streamer.scroll.page import write_page
from streamer.scroll.speech import Voice, write_speech
from streamer.sinks.files import writing
from streamer.sources.canvas import Canvas
from streamer.sources.paths import Walk, resting_until
from streamer.sources.picture_levels import identity_of
from streamer.sources.walk_record import walk_event, walk_of_event

Progress = Callable[[str, float], None]
_THUMBNAIL_PX = 3000
_TRIAL = "one"


class _StoppedError(Exception):
    """The rest is written by another run."""


class ScrollOutputs(Sink[Caption | Event]):
    """regions.jsonl, regions.geojson, manifest.json (IIIF Presentation 3), narration.md and
    .json, narration.vtt, plan.png, picture.jpg, page/index.html, and walk.mp4.

    A walk that did not come to its end leaves nothing new: it is gone on with by another run. So is
    the writing, when `stop` is set in it.

    Args:
        out: the folder for all of it.
        picture: the path of the picture.
        title: what to call it; the picture's name when empty.
        film: render the film of the walk.
        page: write the page.
        fps: of the film.
        film_width, film_height: of the film, in pixels.
        words_per_minute: how fast the narration is spoken, where no program speaks it.
        speech: a program that speaks the narration, and its arguments: `{wav}` stands for the sound
            file it writes, `{text}` for a file with the text, which it is given on standard input
            too. The film has its sound, and what is told is what fits the walk when spoken.
        base: address under which the manifest will be published.
        cache: the source's cache folder.
    """

    def __init__(
        self,
        out: str,
        picture: str,
        title: str = "",
        film: bool = True,
        page: bool = True,
        fps: int = 25,
        film_width: int = 1280,
        film_height: int = 720,
        words_per_minute: float = 150.0,
        base: str = "https://example.org/scroll",
        cache: str = "",
        speech: str = "",
    ) -> None:
        if film_width % 2 or film_height % 2 or min(film_width, film_height) < 64:
            raise ValueError("film_width and film_height are even and at least 64 px")
        if not 1 <= fps <= 60:
            raise ValueError(f"fps is {fps}; 1 .. 60")
        if speech and not film:
            raise ValueError("speech is heard in the film, and film is off")
        if words_per_minute <= 0:
            raise ValueError(f"words_per_minute is {words_per_minute}; more than 0")
        self.out = Path(out)
        self.picture = picture
        self.title = title
        self.film = film
        self.page = page
        self.film_shape = FilmShape(height_px=film_height, width_px=film_width, fps=fps)
        self.words_per_minute = words_per_minute
        self.base = base.rstrip("/")
        self.cache = cache
        self.voice = Voice(speech, self.out / ".speech") if speech else None
        self.on_progress: Progress = lambda what, share: None
        self.on_note: Callable[[str], None] = lambda note: None
        self.stop = threading.Event()
        self._findings = Findings()
        self._walk: Walk | None = None
        self._name = ""
        self._ended = False

    def open(self, streams: Sequence[StreamInfo]) -> None:
        if len(streams) != 1:
            raise OutputError(f"{self.out}: a walk is one stream, not {len(streams)}")
        self._name = self.title or streams[0].stream_id.replace("_", " ").replace("-", " ")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            probe = self.out / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"{self.out} cannot be written ({error.strerror}); choose another folder"
            ) from None
        if self.voice is not None:  # a program that cannot speak shows before the work
            self.voice.spoken(_TRIAL)

    def write(self, record: Caption | Event) -> None:
        if isinstance(record, Event) and record.kind == "walk":
            self._walk = walk_of_event(record)
        elif isinstance(record, Event) and record.kind == "stream_end":
            self._ended = True
        else:
            self._findings.add(record)

    def close(self) -> None:
        """Write everything, when the walk has come to its end."""
        walk, self._walk = self._walk, None
        if walk is None or not self._ended:
            return
        with suppress(_StoppedError):
            self._write_all(walk, Canvas(self.picture, self.cache), self._findings.all())

    def _write_all(self, walk: Walk, canvas: Canvas, findings: Sequence[Finding]) -> None:
        self._write_records(findings, walk)
        scenes = narrate(findings, walk, self._length_ns)
        sentences = [s for scene in scenes for s in scene.sentences]
        if sentences and self.voice is not None:
            walk = resting_until(walk, sentences[-1].end_ns)  # nobody is cut off
        self._note(scenes)
        self._write_script(scenes)
        thumbnail = canvas.thumbnail(_THUMBNAIL_PX)
        self._image("picture.jpg", thumbnail)
        self._image("plan.png", draw_plan(canvas, walk))
        shape = self.film_shape
        data = manifest(
            findings, scenes, walk,
            title=self._name,
            base=self.base,
            image=f"{self.base}/picture.jpg",
            thumbnail_wh=(thumbnail.shape[1], thumbnail.shape[0]),
            film=f"{self.base}/walk.mp4" if self.film else "",
            film_wh=(shape.width_px, shape.height_px),
            subtitles=f"{self.base}/narration.vtt",
        )  # fmt: skip
        self._json("manifest.json", data)
        if self.page:
            write_page(
                self.out / "page", canvas, walk, findings, scenes,
                title=self._name,
                film="../walk.mp4" if self.film else "",
                on_progress=lambda share: self._tell("page", share),
            )  # fmt: skip
        if self.film:
            sound = None
            if self.voice is not None:
                sound = self.out / ".speech" / "all.wav"
                write_speech(sound, sentences, self.voice)
            write_film(
                self.out / "walk.mp4",
                Painter(canvas, walk, findings, (shape.height_px, shape.width_px)),
                walk.duration_ns,
                shape,
                key=self._film_key(walk, findings, scenes),
                audio=sound,
                on_progress=lambda share: self._tell("film", share),
            )
            if sound is not None:
                sound.unlink(missing_ok=True)

    def _film_key(self, walk: Walk, findings: Sequence[Finding], scenes: Sequence[Scene]) -> str:
        """What the film shows and says."""
        spoken = [scene_json(scene) for scene in scenes] if self.voice else []
        voice = self.voice.command if self.voice else ""
        parts = [
            __version__, identity_of(Path(self.picture)), str(self.film_shape),
            walk_event("walk", walk).to_json(), [finding_json(f) for f in findings], voice, spoken,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _length_ns(self, text: str) -> int:
        if self.stop.is_set():
            raise _StoppedError
        if self.voice is None:
            return reading_length(self.words_per_minute)(text)
        return self.voice.length_ns(text)

    def _note(self, scenes: Sequence[Scene]) -> None:
        told = sum(len(scene.sentences) for scene in scenes)
        left = sum(len(scene.left_out) for scene in scenes)
        if left or self.voice is not None:
            spoken_s = sum(s.end_ns - s.start_ns for scene in scenes for s in scene.sentences) / 1e9
            note = f"narration: {told} sentences, {spoken_s:.0f} s"
            if left:
                note += f"; no time to tell of {left} regions (a slower walk, source.speed_px_s)"
            self.on_note(note)

    def _write_records(self, findings: Sequence[Finding], walk: Walk) -> None:
        lines = []
        for finding in findings:
            data = finding_json(finding)
            data["place"] = canvas_place(finding, walk.canvas_hw)
            data["neighbours"] = [
                {"relation": relation, "region_id": i}
                for relation, i in neighbours(finding, findings)
            ]
            lines.append(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
        self._text("regions.jsonl", "".join(f"{line}\n" for line in lines))
        self._json("regions.geojson", feature_collection(findings, walk.canvas_hw))

    def _write_script(self, scenes: Sequence[Scene]) -> None:
        self._text("narration.md", script_text(scenes, self._name))
        self._json("narration.json", {"scenes": [scene_json(scene) for scene in scenes]})
        subtitles = pysubs2.SSAFile()
        for scene in scenes:
            for s in scene.sentences:
                event = pysubs2.SSAEvent(start=s.start_ns // 10**6, end=s.end_ns // 10**6)
                event.plaintext = s.text
                subtitles.append(event)
        with writing(self.out / "narration.vtt"):
            subtitles.save(str(self.out / "narration.vtt"), format_="vtt")

    def _image(self, name: str, image: NDArray[np.uint8]) -> None:
        path = self.out / name
        _, data = cv2.imencode(path.suffix, image[..., ::-1])
        with writing(path):
            path.write_bytes(data.tobytes())

    def _json(self, name: str, data: dict[str, Any]) -> None:
        self._text(name, json.dumps(data, ensure_ascii=False, indent=1) + "\n")

    def _text(self, name: str, text: str) -> None:
        with writing(self.out / name):
            (self.out / name).write_text(text, encoding="utf-8")

    def _tell(self, what: str, share: float) -> None:
        if self.stop.is_set():
            raise _StoppedError
        self.on_progress(what, share)
