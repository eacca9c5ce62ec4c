"""Frames that were dropped, until somebody can be told."""

from __future__ import annotations

from streamer.records import Event, Frame, gap_event


class Gaps:
    """What is missing of each stream since it was last told."""

    def __init__(self) -> None:
        self.dropped = 0
        self._open: dict[str, tuple[int, int, int]] = {}  # frames, from, until

    def note(self, frame: Frame) -> None:
        """This frame was dropped; those of a stream in their order."""
        self.dropped += 1
        frames, from_ns, _ = self._open.get(frame.stream_id, (0, frame.time_ns, 0))
        self._open[frame.stream_id] = frames + 1, from_ns, frame.time_ns

    def take(self, stream_id: str) -> list[Event]:
        """The event of what went missing before the next frame of a stream, if any did."""
        found = self._open.pop(stream_id, None)
        if found is None:
            return []
        frames, from_ns, until_ns = found
        return [gap_event(stream_id, from_ns, until_ns, "overload", frames=frames)]
