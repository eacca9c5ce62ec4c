"""Events from rules: who crosses a line, enters a zone, stays, stops, meets, leaves things behind.

Rules look at masks. `Rules` reads the tracking step directly, so that an alert never waits for a
caption; `WordRules` applies those rules of the same file that have conditions on words, and reads
captions too.

    rules:      {use: operators.rules.Rules, from: track, with: {path: gate.yaml}}
    word_rules: {use: operators.rules.WordRules, from: [track, intervals], with: {path: gate.yaml}}
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import replace

from operators.rulebook.book import Book, Entry, read_book
from operators.rulebook.watch import Watch
from streamer.interfaces import Operator, Resources
from streamer.records import Caption, Event, TrackedFrame


class _Watching:
    """The streams under watch, each with its own memory."""

    def __init__(self, path: str, *, with_words: bool) -> None:
        self.book: Book = read_book(path)
        self.entries: list[Entry] = [e for e in self.book.entries if e.needs_words == with_words]
        self.watches: dict[str, Watch] = {}

    def take(self, item: TrackedFrame | Event | Caption) -> list[Event]:
        if not self.entries:
            return []
        watch = self.watches.setdefault(item.stream_id, Watch())
        if isinstance(item, TrackedFrame):
            return watch.frame(self.book, self.entries, item)
        if isinstance(item, Event):
            watch.note(item)
        elif item.end_ns is None:
            watch.captions.append(item)
        return []

    def flush(self, stream_id: str) -> list[Event]:
        watch = self.watches.pop(stream_id, None)
        return [] if watch is None else watch.finish(self.book, self.entries, stream_id)

    def snapshot(self, stream_id: str) -> bytes:
        watch = self.watches.get(stream_id)
        return b"" if watch is None else pickle.dumps(watch)

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self.watches[stream_id] = pickle.loads(state)


class Rules(Operator[TrackedFrame | Event, Event]):
    """The rules of a file that go by masks alone. Emits their events only (data: rule, and what
    its kind says; `known_ns` when it was known later than it happened).

    Args:
        path: a rule file, or the name of one in `configs/rules/`.
    """

    resources = Resources(cpus=0.2)
    keyed = True

    def __init__(self, path: str) -> None:
        self._watching = _Watching(path, with_words=False)

    def process(self, items: Sequence[TrackedFrame | Event]) -> list[Event]:
        return [event for item in items for event in self._watching.take(item)]

    def flush(self, stream_id: str) -> list[Event]:
        return self._watching.flush(stream_id)

    def snapshot(self, stream_id: str) -> bytes:
        return self._watching.snapshot(stream_id)

    def restore(self, stream_id: str, state: bytes) -> None:
        self._watching.restore(stream_id, state)


class WordRules(Operator[TrackedFrame | Event | Caption, Event]):
    """The rules of a file that have conditions on words: `of` the track, `other` for the second
    one. What is found waits for the first words about its tracks; its time stays that of the
    happening, `known_ns` is when the words came.

    Args:
        path: a rule file, or the name of one in `configs/rules/`.
    """

    resources = Resources(cpus=0.2)
    keyed = True

    def __init__(self, path: str) -> None:
        self._watching = _Watching(path, with_words=True)

    def process(self, items: Sequence[TrackedFrame | Event | Caption]) -> list[Event]:
        return [event for item in items for event in self._watching.take(item)]

    def flush(self, stream_id: str) -> list[Event]:
        return self._watching.flush(stream_id)

    def snapshot(self, stream_id: str) -> bytes:
        return self._watching.snapshot(stream_id)

    def restore(self, stream_id: str, state: bytes) -> None:
        self._watching.restore(stream_id, state)


def replay(
    path: str, tracks: Iterable[TrackedFrame], records: Iterable[Caption | Event]
) -> list[Event]:
    """What the rules of a file find in stored records: the events that a sink behind `Rules` and
    `WordRules` would have got from a live run, in the same order.

    Args:
        path: a rule file, or the name of one in `configs/rules/`.
        tracks: the regions of every frame.
        records: captions and events of the run; those that rules found then are left aside.

    Raises:
        ConfigError: when the rule file has a mistake or does not fit the pictures.
    """
    frames: dict[str, list[TrackedFrame]] = {}
    for tracked in tracks:
        frames.setdefault(tracked.stream_id, []).append(tracked)
    events: dict[str, list[Event]] = {stream_id: [] for stream_id in frames}
    captions: dict[str, dict[str, Caption]] = {stream_id: {} for stream_id in frames}
    for record in records:
        if record.stream_id not in frames:
            continue
        if isinstance(record, Caption):
            captions[record.stream_id][record.id] = replace(record, end_ns=None)
        elif "rule" not in record.data:
            events[record.stream_id].append(record)
    found: list[Event] = []
    for stream_id, shown in frames.items():
        marks = sorted(events[stream_id], key=lambda event: event.time_ns)
        end_ns = max(shown[-1].order_ns, *(event.time_ns for event in marks), 0)
        said = sorted(captions[stream_id].values(), key=lambda caption: caption.asked_ns)
        ordered: list[tuple[int, int, Event]] = []
        for rank, with_words in enumerate((False, True)):
            watching = _Watching(path, with_words=with_words)
            items = _merged(shown, marks, said if with_words else [])
            for item in items:
                ordered += [(item.order_ns, rank, event) for event in watching.take(item)]
            ordered += [(end_ns, rank, event) for event in watching.flush(stream_id)]
        found += [event for _, _, event in sorted(ordered, key=lambda entry: entry[:2])]
    return found


def _merged(
    frames: Sequence[TrackedFrame], events: Sequence[Event], captions: Sequence[Caption]
) -> list[TrackedFrame | Event | Caption]:
    """By media time; at one time events come first, then the frame, then captions."""
    items: list[tuple[int, int, TrackedFrame | Event | Caption]] = []
    every: tuple[Sequence[TrackedFrame | Event | Caption], ...] = (events, frames, captions)
    for rank, records in enumerate(every):
        items += [(record.order_ns, rank, record) for record in records]
    return [record for _, _, record in sorted(items, key=lambda item: item[:2])]
