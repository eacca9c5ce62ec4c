"""Regions as a COCO file of instances."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from streamer.interfaces import Sink
from streamer.records import Caption, StreamInfo, TrackedFrame
from streamer.sinks.files import prepare, writing
from streamer.sinks.views import folder_of, save_picture
from streamer.words import read_caption

_UNKNOWN = "object"


class Coco(Sink[TrackedFrame | Caption]):
    """One image a frame, one annotation a region, with its mask as run-length code; the category
    is that of the track's last caption, "object" where it has none. `track_id`, `stream_id`,
    `frame_index` and `time_ns` stand beside what COCO wants.

    The file appears when the run ends; memory does not grow with its length.

    Args:
        path: the file to write; folders above it are made.
        pictures: also write the frames, into a folder beside it that `file_name` is below:
            PATH without its ending, and ".images".
    """

    ordered = True

    def __init__(self, path: str, pictures: bool = False) -> None:
        self.path = Path(path)
        self.pictures = self.path.with_suffix(".images") if pictures else None
        self._images = _Spool(self.path, "images")
        self._annotations = _Spool(self.path, "annotations")
        self._tracks: dict[tuple[str, int], str] = {}
        self._last_ns: dict[str, int] = {}
        self._hw: dict[str, tuple[int, int]] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        prepare(self.path)
        self._hw = {i.stream_id: (i.height_px, i.width_px) for i in streams if i.height_px}

    def write(self, record: TrackedFrame | Caption) -> None:
        if isinstance(record, Caption):
            category = read_caption(record.text).category
            if category:
                self._tracks[record.stream_id, record.track_id] = category
            return
        frame = record.frame
        if frame.time_ns <= self._last_ns.get(frame.stream_id, -1):
            return  # written before
        self._last_ns[frame.stream_id] = frame.time_ns
        height, width = record.regions[0].mask.hw if record.regions else frame.hw
        if (height, width) == (1, 1):  # of stored tracks, before the first region
            height, width = self._hw.get(frame.stream_id, (1, 1))
        name = f"{folder_of(frame.stream_id)}/{frame.index:06d}.jpg"
        image_id = self._images.count + 1
        image = {
            "id": image_id, "file_name": name, "width": width, "height": height,
            "stream_id": frame.stream_id, "frame_index": frame.index, "time_ns": frame.time_ns,
        }  # fmt: skip
        with writing(self.path):
            self._images.write(image)
            for region in record.regions:
                x0, y0, x1, y1 = region.box_xyxy
                annotation = {
                    "id": self._annotations.count + 1, "image_id": image_id, "category_id": 0,
                    "segmentation": region.mask.to_json(), "area": region.mask.area_px,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0,
                    "track_id": region.track_id, "score": round(region.score, 3),
                    "stream_id": frame.stream_id,
                }  # fmt: skip
                self._annotations.write(annotation)
            if self.pictures is not None:
                (self.pictures / name).parent.mkdir(parents=True, exist_ok=True)
                save_picture(self.pictures / name, frame.image)

    def close(self) -> None:
        if not self._images.count:
            return
        names = sorted({_UNKNOWN, *self._tracks.values()})
        numbers = {name: n for n, name in enumerate(names, 1)}
        beside = self.path.with_name(f".{self.path.name}.new")
        with writing(self.path):
            with beside.open("w", encoding="utf-8") as file:
                file.write('{"info":{"description":"regions found by streamer"},"licenses":[],')
                categories = [{"id": n, "name": name} for name, n in numbers.items()]
                file.write(f'"categories":{_text(categories)},"images":[')
                _join(file, (line.rstrip("\n") for line in self._images.lines()))
                file.write('],"annotations":[')
                _join(file, self._named(numbers))
                file.write("]}\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            self._images.remove()
            self._annotations.remove()

    def _named(self, numbers: dict[str, int]) -> Iterator[str]:
        for line in self._annotations.lines():
            annotation = json.loads(line)
            key = (annotation.pop("stream_id"), annotation["track_id"])
            annotation["category_id"] = numbers[self._tracks.get(key, _UNKNOWN)]
            yield _text(annotation)


class _Spool:
    """Lines of JSON beside a file, until it can be written."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path.with_name(f".{path.name}.{what}")
        self.count = 0
        self._file: IO[str] | None = None

    def write(self, data: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8")
        self._file.write(_text(data) + "\n")
        self.count += 1

    def lines(self) -> Iterator[str]:
        if self._file is None:
            return
        self._file.flush()
        with self.path.open(encoding="utf-8") as file:
            yield from file

    def remove(self) -> None:
        self.count = 0
        if self._file is not None:
            self._file.close()
            self._file = None
            self.path.unlink()


def _join(file: IO[str], texts: Iterator[str]) -> None:
    for n, text in enumerate(texts):
        file.write(f",\n{text}" if n else text)


def _text(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
