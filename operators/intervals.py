"""Captions as intervals: words hold until other words replace them or their track ends."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

from streamer.interfaces import Operator, Resources
from streamer.records import Caption, Event


class Intervals(Operator[Caption | Event, Caption]):
    """Passes open captions on at once and emits them again, closed, when their end is known.

    A caption that repeats the words its track already has changes nothing. `track_end` events
    close the captions of their track at `data["end_ns"]`; the end of the stream closes the rest
    at the last media time seen.
    """

    resources = Resources(cpus=0.1)
    keyed = True
    forgets_at_cuts = True

    def __init__(self) -> None:
        self._open: dict[str, dict[int, Caption]] = {}
        self._last_ns: dict[str, int] = {}

    def process(self, items: Sequence[Caption | Event]) -> list[Caption]:
        outputs: list[Caption] = []
        for item in items:
            held = self._open.setdefault(item.stream_id, {})
            last_ns = self._last_ns.get(item.stream_id, item.order_ns)
            self._last_ns[item.stream_id] = max(last_ns, item.order_ns)
            if isinstance(item, Caption):
                before = held.get(item.track_id)
                if before is not None and (before.text, before.detail) == (item.text, item.detail):
                    continue
                if before is not None:
                    outputs.append(_closed(before, item.start_ns))
                held[item.track_id] = item
                outputs.append(item)
            elif item.kind == "track_end" and item.track_id in held:
                end_ns = int(item.data.get("end_ns", item.time_ns))
                outputs.append(_closed(held.pop(item.track_id), end_ns))
        return outputs

    def flush(self, stream_id: str) -> list[Caption]:
        last_ns = self._last_ns.pop(stream_id, 0)
        held = self._open.pop(stream_id, {})
        return [_closed(held[track_id], last_ns) for track_id in sorted(held)]

    def snapshot(self, stream_id: str) -> bytes:
        if stream_id not in self._last_ns:
            return b""
        return pickle.dumps((self._open[stream_id], self._last_ns[stream_id]))

    def restore(self, stream_id: str, state: bytes) -> None:
        if state:
            self._open[stream_id], self._last_ns[stream_id] = pickle.loads(state)


def _closed(caption: Caption, end_ns: int) -> Caption:
    return replace(caption, end_ns=max(end_ns, caption.start_ns))
