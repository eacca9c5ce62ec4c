"""What live readers have ready: bounded, the oldest frames of a stream go first."""

from __future__ import annotations

from collections import deque
from threading import Condition

from streamer.gaps import Gaps
from streamer.records import Event, Frame, StreamInfo, StreamLeft

Item = Frame | Event | StreamInfo | StreamLeft


class Ring:
    """Frames and events of several streams, filled by their readers and emptied by one.

    When a stream has `size` frames waiting, its oldest one is dropped; a `gap` event in its place
    says how many went and until when. Nothing else is ever dropped.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.gaps = Gaps()
        self._items: deque[Item] = deque()
        self._frames: dict[str, int] = {}
        self._gone: set[str] = set()
        self._changed = Condition()
        self._closed = False

    def put(self, item: Item) -> None:
        """Add what has come; never waits. Behind its StreamLeft nothing of a stream is taken in."""
        with self._changed:
            if self._closed or item.stream_id in self._gone:
                return
            if isinstance(item, StreamLeft):
                self._gone.add(item.stream_id)
            if isinstance(item, Frame):
                waiting = self._frames.get(item.stream_id, 0)
                if waiting >= self.size:
                    self._drop(item.stream_id)
                else:
                    self._frames[item.stream_id] = waiting + 1
            self._items.append(item)
            self._changed.notify()

    def get(self, wait_s: float) -> list[Item]:
        """The next item, behind the gap before it; nothing when none comes within `wait_s`."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(wait_s)
            if not self._items:
                return []
            item = self._items.popleft()
            if isinstance(item, Frame):
                self._frames[item.stream_id] -= 1
            if isinstance(item, Frame | StreamLeft):
                return [*self.gaps.take(item.stream_id), item]
            return [item]

    def close(self) -> None:
        """Nothing more is taken in, and nobody waits."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _drop(self, stream_id: str) -> None:
        at, frame = next(
            (i, item)
            for i, item in enumerate(self._items)
            if isinstance(item, Frame) and item.stream_id == stream_id
        )
        del self._items[at]
        self.gaps.note(frame)
