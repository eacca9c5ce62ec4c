"""WebVTT and SubRip subtitles from caption intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pysubs2

from streamer.interfaces import Sink
from streamer.records import Caption, StreamInfo
from streamer.sinks.files import prepare

_SHORTEST_MS = 500


class Subtitles(Sink[Caption]):
    """One cue for every stretch of time in which the same captions hold.

    Players show overlapping cues in ways of their own, so cues never overlap: a cue has a line
    for each caption, the newest tracks when there are more than fit.

    Args:
        path: ends in .vtt or .srt.
        max_lines: the most lines of a cue.
    """

    ordered = True

    def __init__(self, path: str, max_lines: int = 4) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in (".vtt", ".srt"):
            raise ValueError(f"path is {path!r}; subtitles end in .vtt or .srt")
        if max_lines < 1:
            raise ValueError(f"max_lines is {max_lines}; at least 1")
        self.max_lines = max_lines
        self._captions: dict[str, Caption] = {}

    def open(self, streams: Sequence[StreamInfo]) -> None:
        prepare(self.path)
        self._save()

    def write(self, record: Caption) -> None:
        self._captions[record.id] = record

    def flush(self) -> None:
        self._save()

    def close(self) -> None:
        if self._captions:
            self._save()

    def _save(self) -> None:
        subtitles = pysubs2.SSAFile()
        for start_ms, end_ms, lines in cues(list(self._captions.values()), self.max_lines):
            event = pysubs2.SSAEvent(start=start_ms, end=end_ms)
            event.plaintext = "\n".join(lines)
            subtitles.append(event)
        subtitles.save(str(self.path))


def cues(captions: Sequence[Caption], max_lines: int) -> list[tuple[int, int, list[str]]]:
    """(start ms, end ms, lines) of cues that do not overlap, in order.

    Edges closer together than half a second become one, so that no cue flashes by.
    """
    spans = [
        (c.start_ns // 1_000_000, c.end_ns // 1_000_000, c)
        for c in captions
        if c.end_ns is not None and c.text and c.end_ns > c.start_ns
    ]
    edges: list[int] = []
    for edge in sorted({t for start, end, _ in spans for t in (start, end)}):
        if not edges or edge - edges[-1] >= _SHORTEST_MS:
            edges.append(edge)
    found: list[tuple[int, int, list[str]]] = []
    for start_ms, end_ms in itertools.pairwise(edges):
        middle = (start_ms + end_ms) / 2
        shown = sorted((c for s, e, c in spans if s <= middle < e), key=lambda c: c.track_id)
        lines = [f"#{c.track_id} {c.text}" for c in shown[-max_lines:]]
        if not lines:
            continue
        if found and found[-1][1] == start_ms and found[-1][2] == lines:
            found[-1] = (found[-1][0], end_ms, lines)
        else:
            found.append((start_ms, end_ms, lines))
    return found
