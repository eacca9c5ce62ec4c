"""WebVTT and SubRip subtitles from caption intervals."""

from __future__ import annotations

import html
import itertools
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pysubs2

from streamer.errors import OutputError
from streamer.interfaces import Sink
from streamer.records import Caption, StreamInfo
from streamer.sinks.files import prepare, writing

_SHORTEST_MS = 500
_NO_MARKUP = str.maketrans({"{": "(", "}": ")", "\\": "/"})  # pysubs2 reads them as commands


class Subtitles(Sink[Caption]):
    """One cue for every stretch of time in which the same captions hold.

    Players show overlapping cues in ways of their own, so cues never overlap: a cue has a line
    for each caption, the newest tracks when there are more than fit. Times are those of the media
    file, or count from the beginning of a live stream; captions that are still open are not shown.

    Args:
        path: ends in .vtt or .srt.
        max_lines: the most lines of a cue.
    """

    ordered = True
    from_records = True
    one_stream = True

    def __init__(self, path: str, max_lines: int = 4) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in (".vtt", ".srt"):
            raise ValueError(f"path is {path!r}; subtitles end in .vtt or .srt")
        if max_lines < 1:
            raise ValueError(f"max_lines is {max_lines}; at least 1")
        self.max_lines = max_lines
        self._begin_ns = 0
        self._captions: dict[str, Caption] = {}
        self._unsaved = True

    def open(self, streams: Sequence[StreamInfo]) -> None:
        if len(streams) != 1:
            raise OutputError(f"{self.path}: subtitles are for one stream, not {len(streams)}")
        self._begin_ns = streams[0].begin_ns
        prepare(self.path)

    def write(self, record: Caption) -> None:
        if record.end_ns is not None:
            since_ns, until_ns = record.start_ns - self._begin_ns, record.end_ns - self._begin_ns
            self._captions[record.id] = replace(record, start_ns=since_ns, end_ns=until_ns)
            self._unsaved = True

    def flush(self) -> None:
        if self._unsaved:
            self._save()

    def close(self) -> None:
        if self._captions:  # a run that failed before there were any keeps the old file
            self.flush()

    def _save(self) -> None:
        subtitles = pysubs2.SSAFile()
        for start_ms, end_ms, lines in cues(list(self._captions.values()), self.max_lines):
            event = pysubs2.SSAEvent(start=start_ms, end=end_ms)
            event.plaintext = "\n".join(map(self._plain, lines))
            subtitles.append(event)
        # written beside and moved over: a crash leaves the whole old file or the whole new one
        beside = self.path.with_name(f".{self.path.name}.new{self.path.suffix}")
        with writing(self.path):
            subtitles.save(str(beside), format_=self.path.suffix[1:].lower())
            beside.replace(self.path)
        self._unsaved = False

    def _plain(self, line: str) -> str:
        """Text that neither format takes for markup."""
        line = " ".join(line.translate(_NO_MARKUP).split()).replace("-->", "→")
        return html.escape(line, quote=False) if self.path.suffix.lower() == ".vtt" else line


def cues(captions: Sequence[Caption], max_lines: int) -> list[tuple[int, int, list[str]]]:
    """(start ms, end ms, lines) of cues that do not overlap, in order, each at least half a
    second long.

    Edges that lie closer together become one. A caption that holds for less is left out where its
    track has other words at that time, else shown for half a second or a little more.
    """
    spans = sorted(
        (max(0, c.start_ns // 1_000_000), c.end_ns // 1_000_000, c.track_id, c.id, c)
        for c in captions
        if c.end_ns is not None and c.text.strip() and c.end_ns >= max(0, c.start_ns)
    )
    edges: list[int] = []
    for edge in sorted({edge for span in spans for edge in span[:2]}):
        if not edges or edge - edges[-1] >= _SHORTEST_MS:
            edges.append(edge)
    lasting: dict[int, list[tuple[int, int, Caption]]] = defaultdict(list)
    brief: dict[tuple[int, int], Caption] = {}
    for start_ms, end_ms, track_id, _, caption in spans:
        start_ms, end_ms = (edges[bisect_right(edges, ms) - 1] for ms in (start_ms, end_ms))
        if start_ms < end_ms:
            lasting[track_id].append((start_ms, end_ms, caption))
        else:
            brief[track_id, start_ms] = caption
    for (track_id, at_ms), caption in brief.items():
        if any(start <= at_ms < end for start, end, _ in lasting[track_id]):
            continue
        end_ms = next(iter(edges[bisect_right(edges, at_ms) :]), at_ms + 2 * _SHORTEST_MS)
        if end_ms >= at_ms + 2 * _SHORTEST_MS:
            end_ms = at_ms + _SHORTEST_MS
            insort(edges, end_ms)
        lasting[track_id].append((at_ms, end_ms, caption))
    return _joined(edges, [span for found in lasting.values() for span in found], max_lines)


def _joined(
    edges: Sequence[int], spans: Sequence[tuple[int, int, Caption]], max_lines: int
) -> list[tuple[int, int, list[str]]]:
    """Cues between the edges; neighbours with the same lines are one."""
    starting: dict[int, list[tuple[int, Caption]]] = defaultdict(list)
    for start_ms, end_ms, caption in spans:
        starting[start_ms].append((end_ms, caption))
    found: list[tuple[int, int, list[str]]] = []
    shown: dict[int, tuple[int, Caption]] = {}
    for start_ms, end_ms in itertools.pairwise(edges):
        shown = {track: held for track, held in shown.items() if held[0] > start_ms}
        shown.update({held[1].track_id: held for held in starting[start_ms]})
        lines = [f"#{track} {shown[track][1].text}" for track in sorted(shown)[-max_lines:]]
        if found and found[-1][1:] == (start_ms, lines):
            found[-1] = (found[-1][0], end_ms, lines)
        elif lines:
            found.append((start_ms, end_ms, lines))
    return found
