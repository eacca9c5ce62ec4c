"""Events from rules: who crosses a line, enters a zone, stays, stops, meets, leaves things behind.

Rules look at masks. `Rules` reads the tracking step directly, so that an alert never waits for a
caption; `WordRules` applies those rules of the same file that have conditions on words, and reads
captions too.

    rules:      {use: operators.rules.Rules, from: track, with: {path: gate.yaml}}
    word_rules: {use: operators.rules.WordRules, from: [track, intervals], with: {path: gate.yaml}}
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

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
