"""Everything of a run into a SQLite catalog that can be searched while the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from streamer.catalog_writer import Best, CatalogWriter, TrackRow
from streamer.interfaces import Sink
from streamer.looks import look_of
from streamer.records import Caption, Event, Frame, Region, StreamInfo, TrackedFrame
from streamer.sinks.views import MUCH_BETTER, quality

_JPEG_SIDE_PX = 160


class Catalog(Sink[TrackedFrame | Caption | Event]):
    """Streams, tracks with their masks and best views, captions with full-text search, events.

    Several runs may share the file, also at once; a stream that is run again replaces its rows.

    Args:
        path: the file to write; folders above it are made.
        masks: keep the mask of every track in every frame; without, only that of the best view.
        pictures: keep a small picture (JPEG) of every track's best view.
        looks: keep colours and outline of that view, for `streamer search --like`.
    """

    def __init__(
        self, path: str, masks: bool = True, pictures: bool = True, looks: bool = True
    ) -> None:
        self.path = Path(path)
        self.masks = masks
        self.pictures = pictures
        self.looks = looks
        self._writer: CatalogWriter | None = None
        self._rows: dict[tuple[str, int], TrackRow] = {}
        self._quality: dict[tuple[str, int], float] = {}
        self._changed: set[tuple[str, int]] = set()
        self._last_ns: dict[str, int] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._writer = CatalogWriter(self.path, streams)

    def join(self, info: StreamInfo) -> None:
        self._opened().start(info)

    def write(self, record: TrackedFrame | Caption | Event) -> None:
        writer = self._opened()
        if isinstance(record, Caption):
            writer.caption(record)
        elif isinstance(record, Event):
            writer.event(record)
            if record.kind == "track_end" and record.track_id is not None:
                self._forget((record.stream_id, record.track_id))
        else:
            self._take(writer, record)
        if writer.due:
            self.flush()

    def flush(self) -> None:
        if self._writer is None:
            return
        for key in sorted(self._changed):
            self._writer.track(self._rows[key])
        self._changed.clear()
        self._writer.commit()

    def close(self) -> None:
        if self._writer is not None:
            self.flush()
            writer, self._writer = self._writer, None
            writer.close()

    def _opened(self) -> CatalogWriter:
        if self._writer is None:
            raise RuntimeError("open() comes before write()")
        return self._writer

    def _take(self, writer: CatalogWriter, record: TrackedFrame) -> None:
        frame = record.frame
        if frame.time_ns <= self._last_ns.get(frame.stream_id, -1):
            return  # written before
        self._last_ns[frame.stream_id] = frame.time_ns
        for region in record.regions:
            key = (frame.stream_id, region.track_id)
            if self.masks:
                writer.mask(frame.stream_id, frame.time_ns, frame.index, region)
            found = quality(frame, region)
            row = self._rows.get(key)
            if row is None:
                best = self._best(frame, region)
                self._rows[key] = TrackRow(
                    stream_id=frame.stream_id, track_id=region.track_id, first_ns=frame.time_ns,
                    last_ns=frame.time_ns, frames=1, best=best, part_of=region.part_of,
                )  # fmt: skip
                self._quality[key] = found
            else:
                row.last_ns, row.frames = frame.time_ns, row.frames + 1
                row.part_of = region.part_of
                if found > MUCH_BETTER * self._quality[key]:
                    row.best = self._best(frame, region)
                    self._quality[key] = found
            self._changed.add(key)

    def _best(self, frame: Frame, region: Region) -> Best:
        jpeg = _jpeg(frame, region) if self.pictures else None
        look = look_of(frame.image, region.mask) if self.looks else b""
        return Best(
            frame_index=frame.index, time_ns=frame.time_ns, region=region, jpeg=jpeg, look=look
        )

    def _forget(self, key: tuple[str, int]) -> None:
        """A track that has ended does not come back: its row is written, and memory stays small."""
        row = self._rows.pop(key, None)
        self._quality.pop(key, None)
        self._changed.discard(key)
        if row is not None:
            self._opened().track(row)


def _jpeg(frame: Frame, region: Region) -> bytes:
    """The region with a little of what is around it, at most 160 px on a side."""
    x0, y0, x1, y1 = region.box_xyxy
    pad = max(4, (max(x1 - x0, y1 - y0)) // 10)
    crop = frame.image[max(0, y0 - pad) : y1 + pad, max(0, x0 - pad) : x1 + pad]
    scale = min(1.0, _JPEG_SIDE_PX / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(np.asarray(data).tobytes())
