"""Everything that a walk along a picture leaves, written when the walk has come to its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pysubs2
from numpy.typing import NDArray

from streamer.errors import OutputError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo
from streamer.scroll.film import draw_plan, write_film
from streamer.scroll.findings import Finding, Findings, finding_json
from streamer.scroll.geojson import feature_collection
from streamer.scroll.iiif import manifest
from streamer.scroll.narration import (
    Scene,
    canvas_place,
    narrate,
    neighbours,
    scene_json,
    script_text,
)
from streamer.scroll.page import write_page
from streamer.sinks.files import writing
from streamer.sources.canvas import Canvas
from streamer.sources.paths import Walk
from streamer.sources.walk_record import walk_of_event

Progress = Callable[[str, float], None]
_THUMBNAIL_PX = 3000


class ScrollOutputs(Sink[Caption | Event]):
    """regions.jsonl, regions.geojson, manifest.json (IIIF Presentation 3), narration.md and
    .json, narration.vtt, plan.png, picture.jpg, page/index.html, and walk.mp4.

    A walk that did not come to its end leaves nothing new: it is gone on with by another run.

    Args:
        out: the folder for all of it.
        picture: the path of the picture.
        title: what to call it; the picture's name when empty.
        film: render the film of the walk.
        page: write the page.
        fps: of the film.
        film_width, film_height: of the film, in pixels.
        words_per_minute: how fast the narration is spoken.
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
    ) -> None:
        if film_width % 2 or film_height % 2 or min(film_width, film_height) < 64:
            raise ValueError("film_width and film_height are even and at least 64 px")
        if not 1 <= fps <= 60:
            raise ValueError(f"fps is {fps}; 1 .. 60")
        if words_per_minute <= 0:
            raise ValueError(f"words_per_minute is {words_per_minute}; more than 0")
        self.out = Path(out)
        self.picture = picture
        self.title = title
        self.film = film
        self.page = page
        self.fps = fps
        self.film_hw = (film_height, film_width)
        self.words_per_minute = words_per_minute
        self.base = base.rstrip("/")
        self.cache = cache
        self.on_progress: Progress | None = None
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
        canvas = Canvas(self.picture, self.cache)
        findings = self._findings.all()
        scenes = narrate(findings, walk, words_per_minute=self.words_per_minute)
        self._write_records(findings, walk)
        self._write_script(scenes)
        thumbnail = canvas.thumbnail(_THUMBNAIL_PX)
        self._image("picture.jpg", thumbnail)
        self._image("plan.png", draw_plan(canvas, walk))
        data = manifest(
            findings, scenes, walk,
            title=self._name,
            base=self.base,
            image=f"{self.base}/picture.jpg",
            thumbnail_wh=(thumbnail.shape[1], thumbnail.shape[0]),
            film=f"{self.base}/walk.mp4" if self.film else "",
            film_wh=(self.film_hw[1], self.film_hw[0]),
            subtitles=f"{self.base}/narration.vtt",
        )  # fmt: skip
        self._json("manifest.json", data)
        if self.page:
            write_page(
                self.out / "page", canvas, walk, findings, scenes,
                title=self._name, on_progress=self._told("page"),
            )  # fmt: skip
        if self.film:
            write_film(
                self.out / "walk.mp4", canvas, walk, findings,
                size_hw=self.film_hw, fps=self.fps, on_progress=self._told("film"),
            )  # fmt: skip

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

    def _told(self, what: str) -> Callable[[float], None] | None:
        told = self.on_progress
        return None if told is None else lambda share: told(what, share)
