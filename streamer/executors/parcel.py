"""What travels between the parts of a running graph, and the bounded box it waits in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Condition

from streamer.gaps import Gaps
from streamer.records import CaptionRequest, Frame, Record, StreamInfo

Ordered = tuple[int, Record]
"""A record with the media time (ns) by which it is ordered."""


@dataclass(frozen=True)
class Parcel:
    """Everything that one input of a step gave rise to, often nothing.

    `watermark_ns` promises that no later parcel of this stream from this sender holds a record
    ordered before it. Empty parcels are sent too: a reader that merges several steps has to know
    how far each has come, and since they take a place in the bounded box, no step can run ahead of
    another by more than the boxes hold. One that `begins` a stream goes only to the sinks, before
    all others of that stream.
    """

    sender: str
    stream_id: str
    watermark_ns: int
    records: tuple[Ordered, ...]
    end: bool = False
    begins: StreamInfo | None = None

    @property
    def may_go(self) -> bool:
        """Whether a live run may drop it when there is no room: frames, and questions about them;
        never events, words, or the end."""
        if self.end or self.begins is not None:
            return False
        return all(isinstance(r, Frame | CaptionRequest) for _, r in self.records)

    def holding(self, types: tuple[type, ...]) -> Parcel:
        """The same parcel with only the records of some types."""
        return replace(self, records=tuple(r for r in self.records if isinstance(r[1], types)))


class Aborted(Exception):  # noqa: N818 - not an error: somebody else's is reported
    """Raised out of `put` and `get` when the run has failed elsewhere."""


class Inbox:
    """A bounded queue of parcels, read by one worker or a pool.

    Args:
        size: how many parcels may wait.
        tells: whether the reader takes events: a `gap` event goes before the next frame behind
            dropped ones.
    """

    def __init__(self, size: int, *, tells: bool = False) -> None:
        self.size = size
        self.tells = tells
        self.gaps = Gaps()
        self._parcels: deque[Parcel] = deque()
        self._changed = Condition()  # re-entrant
        self._aborted = False
        self._taken = 0

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: Parcel, *, drop_oldest: bool = False) -> None:
        """Wait for room; or, for live sources, make it by dropping what is oldest and `may_go`."""
        with self._changed:
            if drop_oldest and len(self._parcels) >= self.size:
                self.drop_oldest()
            while len(self._parcels) >= self.size and not self._aborted:
                self._changed.wait()
            if self._aborted:
                raise Aborted
            self._parcels.append(parcel)
            self._changed.notify_all()

    def get(
        self, limit: int = 1, *, over: Callable[[], bool] = lambda: False
    ) -> tuple[int, list[Parcel]]:
        """Wait for a parcel and take what is there, up to `limit` records and the next end.

        Args:
            over: whether nothing can come any more; asked again after `wake`.

        Returns:
            The number of this hand-out, counted from 0, and the parcels; none when it is over.
        """
        with self._changed:
            while not self._parcels and not self._aborted and not over():
                self._changed.wait()
            if self._aborted:
                raise Aborted
            if not self._parcels:
                return self._taken, []
            taken = [self._told(self._parcels.popleft())]
            room = limit - len(taken[0].records)
            while self._parcels and not taken[-1].end and len(self._parcels[0].records) <= room - 1:
                taken.append(self._told(self._parcels.popleft()))
                room -= max(1, len(taken[-1].records))
            number, self._taken = self._taken, self._taken + 1
            self._changed.notify_all()
            return number, taken

    def _told(self, parcel: Parcel) -> Parcel:
        """With what went missing before it."""
        if not self.tells:
            return parcel
        gaps = tuple((gap.order_ns, gap) for gap in self.gaps.take(parcel.stream_id))
        return replace(parcel, records=(*gaps, *parcel.records)) if gaps else parcel

    def abort(self) -> None:
        """Wake everybody who waits here with `Aborted`."""
        with self._changed:
            self._aborted = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Have whoever waits in `get` ask again whether it is over."""
        with self._changed:
            self._changed.notify_all()

    def drop_oldest(self) -> bool:
        """Make room by dropping the oldest frame or question; False when there is none."""
        with self._changed:
            for i, parcel in enumerate(self._parcels):
                if parcel.may_go:
                    del self._parcels[i]
                    for _, record in parcel.records:
                        if isinstance(record, Frame):
                            self.gaps.note(record)
                    return True
        return False
