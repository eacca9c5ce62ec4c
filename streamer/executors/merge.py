"""Several steps into one reader, in an order that is the same in every run."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from streamer.executors.parcel import BEFORE_ALL_NS, Ordered, Parcel


class _Stream:
    def __init__(self, inputs: int) -> None:
        self.watermarks_ns = [BEFORE_ALL_NS] * inputs
        self.ended = [False] * inputs
        self.heap: list[tuple[int, int, int, Ordered]] = []
        self.arrived = 0

    def may_leave(self, order_ns: int, rank: int) -> bool:
        """Whether no sender can still send what comes before (order, rank)."""
        return all(
            ended or watermark_ns > order_ns or (watermark_ns == order_ns and other >= rank)
            for other, (watermark_ns, ended) in enumerate(
                zip(self.watermarks_ns, self.ended, strict=True)
            )
        )

    def low_ns(self) -> int:
        """The common watermark: nothing ordered before it can still come."""
        pairs = zip(self.watermarks_ns, self.ended, strict=True)
        going_ns = [watermark_ns for watermark_ns, ended in pairs if not ended]
        # where all have ended, who ended last is chance; who came furthest is not
        return min(going_ns) if going_ns else max(self.watermarks_ns)


class Merge:
    """Orders the records of each stream by (media time, rank of the sender, arrival).

    A record leaves when no sender can still come before it, judged by the senders' watermarks.
    What waits for the slowest sender waits here, without a bound of its own: the reader's box is
    always emptied, so that no ring of full boxes can form, and the boxes on the way of the slow
    sender bound how far the others are ahead.
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
        stream.watermarks_ns[rank] = parcel.watermark_ns
        stream.ended[rank] = parcel.end
        released: list[Ordered] = []
        while stream.heap and stream.may_leave(*stream.heap[0][:2]):
            released.append(heapq.heappop(stream.heap)[3])
        end = all(stream.ended)
        if end:
            del self._streams[parcel.stream_id]
        return Parcel("", parcel.stream_id, stream.low_ns(), tuple(released), end)
