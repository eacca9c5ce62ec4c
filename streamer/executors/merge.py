"""Several steps into one reader, in an order that is the same in every run."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from streamer.executors.parcel import Ordered, Parcel

_BEFORE_ALL = -(1 << 62)
_AFTER_ALL = 1 << 62


class _Stream:
    def __init__(self, inputs: int) -> None:
        self.watermarks = [_BEFORE_ALL] * inputs
        self.heap: list[tuple[int, int, int, Ordered]] = []
        self.arrived = 0


class Merge:
    """Orders the records of each stream by (media time, rank of the sender, arrival).

    A record leaves when no sender can still come before it, judged by the senders' watermarks.
    With one sender everything passes as it is.

    Args:
        senders: names in the order of their rank in the graph.
    """

    def __init__(self, senders: Sequence[str]) -> None:
        self._rank = {name: rank for rank, name in enumerate(senders)}
        self._streams: dict[str, _Stream] = {}

    def push(self, parcel: Parcel) -> Parcel:
        """Take a parcel in; what may leave now, with the common watermark."""
        if len(self._rank) == 1:
            return parcel
        stream = self._streams.setdefault(parcel.stream_id, _Stream(len(self._rank)))
        rank = self._rank[parcel.sender]
        for item in parcel.records:
            heapq.heappush(stream.heap, (item[0], rank, stream.arrived, item))
            stream.arrived += 1
        stream.watermarks[rank] = _AFTER_ALL if parcel.end else parcel.watermark_ns
        released: list[Ordered] = []
        while stream.heap and self._may_leave(stream, *stream.heap[0][:2]):
            released.append(heapq.heappop(stream.heap)[3])
        low = min(stream.watermarks)
        end = low == _AFTER_ALL
        if end:
            del self._streams[parcel.stream_id]
            low = parcel.watermark_ns
        return Parcel("", parcel.stream_id, low, tuple(released), end)

    @staticmethod
    def _may_leave(stream: _Stream, order_ns: int, rank: int) -> bool:
        return all(
            watermark > order_ns or (watermark == order_ns and other >= rank)
            for other, watermark in enumerate(stream.watermarks)
        )
