"""Tracks as text in the layout of the MOT Challenge."""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from streamer.errors import OutputError
from streamer.interfaces import Sink
from streamer.records import StreamInfo, TrackedFrame
from streamer.sinks.files import writing
from streamer.sinks.views import folder_of, save_picture


class Mot(Sink[TrackedFrame]):
    """PATH/STREAM/gt/gt.txt: frame, id, x, y, width, height, 1, 1, 1; frames count from 1, pixels
    from 0, the rows in the order of time. With seqinfo.ini beside it, as MOT17 has it.

    Args:
        path: the folder to write into; made when it is missing.
        pictures: also write the frames, as img1/000001.jpg and so on.
    """

    def __init__(self, path: str, pictures: bool = False) -> None:
        self.path = Path(path)
        self.pictures = pictures
        self._streams: dict[str, _Stream] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; give a folder for the sequences")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def write(self, record: TrackedFrame) -> None:
        stream = self._streams.get(record.stream_id)
        if stream is None:
            stream = _Stream(self.path / folder_of(record.stream_id), self.pictures)
            self._streams[record.stream_id] = stream
        with writing(stream.folder):
            stream.write(record)

    def flush(self) -> None:
        for stream in self._streams.values():
            with writing(stream.folder):
                stream.flush()

    def close(self) -> None:
        for stream in self._streams.values():
            with writing(stream.folder):
                stream.close()


class _Stream:
    def __init__(self, folder: Path, pictures: bool) -> None:
        self.folder = folder
        self.pictures = pictures
        self._file: IO[str] | None = None
        self._frames = 0
        self._first_ns = self._last_ns = -1
        self._hw = (0, 0)

    def write(self, record: TrackedFrame) -> None:
        frame = record.frame
        if self._frames and frame.time_ns <= self._last_ns:
            return  # written before
        if self._file is None:
            for name in ("gt", "img1") if self.pictures else ("gt",):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            if self.pictures:  # of an earlier, longer run
                for old in (self.folder / "img1").glob("[0-9]*.jpg"):
                    old.unlink()
            self._file = (self.folder / "gt" / "gt.txt").open("w", encoding="utf-8", buffering=1)
            self._first_ns = frame.time_ns
        self._frames += 1
        self._last_ns = frame.time_ns
        if record.regions or not self._hw[0]:
            self._hw = record.regions[0].mask.hw if record.regions else frame.hw
        for region in record.regions:
            x0, y0, x1, y1 = region.box_xyxy
            row = (self._frames, region.track_id, x0, y0, x1 - x0, y1 - y0, 1, 1, 1)
            self._file.write(",".join(map(str, row)) + "\n")
        if self.pictures:
            save_picture(self.folder / "img1" / f"{self._frames:06d}.jpg", frame.image)

    def flush(self) -> None:
        if self._file is None:
            return
        self._file.flush()
        seconds = (self._last_ns - self._first_ns) / 1e9
        info = configparser.ConfigParser()
        info.optionxform = str  # type: ignore[assignment,method-assign]
        info["Sequence"] = {
            "name": self.folder.name,
            "imDir": "img1",
            "frameRate": f"{(self._frames - 1) / seconds:.6g}" if seconds > 0 else "25",
            "seqLength": str(self._frames),
            "imWidth": str(self._hw[1]),
            "imHeight": str(self._hw[0]),
            "imExt": ".jpg",
        }
        with (self.folder / "seqinfo.ini").open("w", encoding="utf-8") as file:
            info.write(file, space_around_delimiters=False)

    def close(self) -> None:
        self.flush()
        file, self._file = self._file, None
        if file is not None:
            file.close()
