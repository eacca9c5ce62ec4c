"""What live readers have ready: bounded, the oldest frames of a stream go first."""

from __future__ import annotations

from collections import deque
from threading import Condition

from streamer.gaps import Gaps
from streamer.records import Event, Frame


class Ring:
    """Frames and events of several streams, filled by their readers and emptied by one.

    When a stream has `size` frames waiting, its oldest one is dropped; a `gap` event in its place
    says how many went and until when. Events are never dropped.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.gaps = Gaps()
        self._items: deque[Frame | Event] = deque()
        self._frames: dict[str, int] = {}
        self._changed = Condition()
        self._closed = False

    def put(self, item: Frame | Event) -> None:
        """Add what has come; never waits."""
        with self._changed:
            if self._closed:
                return
            if isinstance(item, Frame):
                waiting = self._frames.get(item.stream_id, 0)
                if waiting >= self.size:
                    self._drop(item.stream_id)
                else:
                    self._frames[item.stream_id] = waiting + 1
            self._items.append(item)
            self._changed.notify()

    def get(self, wait_s: float) -> list[Frame | Event]:
        """The next item, behind the gap before it; nothing when none comes within `wait_s`."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(wait_s)
            if not self._items:
                return []
            item = self._items.popleft()
            if isinstance(item, Event):
                return [item]
            self._frames[item.stream_id] -= 1
            return [*self.gaps.take(item.stream_id), item]

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
