"""What a live run that falls behind does without: questions first, then every other frame."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from streamer.executors.parcel import Parcel
from streamer.gaps import Gaps
from streamer.records import CaptionRequest, Event, Frame

_UP_S = 0.5  # what was given up has to show before more is
_DOWN_S = 5.0
_TELL_NS = 10_000_000_000


@dataclass(frozen=True)
class Level:
    """Of the questions for words and of the frames, every n-th goes on."""

    questions: int
    frames: int


LADDER = (Level(1, 1), Level(2, 1), Level(4, 1), Level(8, 2), Level(8, 3), Level(8, 4))


class Thinning:
    """Goes up the ladder while frames pile up before the first step, down when none wait.

    Evenly thinned frames serve a tracker better than those that happen to find room, and a queue
    that is kept short keeps alerts early. What is left out of a stream's frames is told in a `gap`
    event when that changes, at least every ten seconds.

    Args:
        size: how many frames may wait before the first step; from a quarter on they pile up.
        now_s: the time in seconds.
    """

    def __init__(self, size: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self.step = 0
        self.frames = 0  # left out
        self.questions = 0
        self._many = max(4, size // 4)
        self._now_s = now_s
        self._moved_s = self._looked_s = now_s()
        self._waiting = 0
        self._busy_s = now_s()
        self._seen: Counter[str] = Counter()
        self._asked: Counter[tuple[str, str]] = Counter()
        self._gaps: dict[str, tuple[Gaps, int, int]] = {}

    @property
    def level(self) -> Level:
        """The present one."""
        return LADDER[self.step]

    def look(self, waiting: int) -> None:
        """So many frames wait before the first step."""
        now_s = self._now_s()
        if waiting > 1:
            self._busy_s = now_s
        if now_s - self._looked_s >= _UP_S:
            before, self._waiting, self._looked_s = self._waiting, waiting, now_s
            if waiting >= max(self._many, before):  # piling up still
                self._move(min(self.step + 1, len(LADDER) - 1), now_s)
                return
        if self.step and now_s - max(self._busy_s, self._moved_s) >= _DOWN_S:
            self._move(self.step - 1, now_s)

    def frame(self, frame: Frame) -> tuple[list[Event], bool]:
        """Whether a frame goes on, and what is to be told before it."""
        stream_id, every = frame.stream_id, self.level.frames
        self._seen[stream_id] += 1
        if self._seen[stream_id] % every:
            gaps, since_ns, _ = self._gaps.get(stream_id, (Gaps(), frame.time_ns, every))
            gaps.note(frame)
            self._gaps[stream_id] = gaps, since_ns, every
            self.frames += 1
            return [], False
        gaps, since_ns, before = self._gaps.get(stream_id, (Gaps(), frame.time_ns, every))
        if before == every and frame.time_ns - since_ns < _TELL_NS:
            return [], True
        return self.end(stream_id), True

    def end(self, stream_id: str) -> list[Event]:
        """What has not been told of a stream yet."""
        gaps, _, every = self._gaps.pop(stream_id, (Gaps(), 0, 1))
        reason = (
            f"overload: only every {every}{'nd' if every == 2 else 'rd' if every == 3 else 'th'}"
        )
        return [
            replace(event, data={**event.data, "reason": f"{reason} frame"})
            for event in gaps.take(stream_id)
        ]

    def parcel(self, parcel: Parcel, reader: str) -> Parcel:
        """What a reader gets of a parcel: questions only in their turn."""
        every = self.level.questions
        asking = sum(isinstance(record, CaptionRequest) for _, record in parcel.records)
        if every == 1 or not asking:
            return parcel
        self._asked[reader, parcel.stream_id] += 1
        if self._asked[reader, parcel.stream_id] % every == 0:
            return parcel
        self.questions += asking
        kept = tuple(item for item in parcel.records if not isinstance(item[1], CaptionRequest))
        return replace(parcel, records=kept)

    def _move(self, step: int, now_s: float) -> None:
        self.step, self._moved_s = step, now_s
