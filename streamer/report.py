"""What a run did: counted while it runs, summed up at its end."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from streamer.logs import log, log_record
from streamer.records import Caption, Event, Record, StreamInfo

# however long a camera runs, this is kept
_READS_KEPT = 1 << 12  # frames of a stream, to tell how old a record is
_COUNTED_KEPT = 1 << 16  # records, to count each once
_ERRORS_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Work of a step, over all its workers; `counted` is what its operator counts."""

    items_in: int
    items_out: int
    busy_s: float
    counted: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Sums over a run. `wall_s` runs from the first read to the last write, `setup_s` before.

    `restarts` counts worker processes that died and were replaced.
    """

    streams: tuple[StreamInfo, ...]
    frames: int
    media_ns: int
    wall_s: float
    setup_s: float
    peak_memory_bytes: int
    tracks: int
    captions: int
    events: dict[str, int]
    dropped_frames: int
    input_errors: tuple[str, ...]
    stopped: bool
    steps: dict[str, StepReport]
    restarts: int = 0

    @property
    def partial(self) -> bool:
        """Whether an input could not be read to its end."""
        return bool(self.input_errors)

    @property
    def speed(self) -> float:
        """Media seconds per wall second."""
        return self.media_ns / 1e9 / self.wall_s if self.wall_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {**asdict(self), "speed": round(self.speed, 3), "partial": self.partial}


class Tally:
    """Counts while a run is going on; safe to read from any thread.

    `processes` are the process ids that each part has had, the present one last; `restarts` says
    which of them died, and of what; `dropped` how many frames were dropped before each part
    (before "source": left out because the steps fell behind; `frame_stride` 2 is every second one).
    `on_time` is told how long things took: ("step", its name, seconds of a batch), ("sink", its
    name, seconds from the reading of a frame to the writing of what it gave rise to).
    """

    def __init__(self, steps: Sequence[str] = ()) -> None:
        self.frames = 0
        self.on_time: Callable[[str, str, float], None] | None = None
        self.started_s: float | None = None
        self.first_ns: dict[str, int] = {}
        self.last_ns: dict[str, int] = {}
        self.queued: dict[str, int] = dict.fromkeys(steps, 0)
        self.stream_frames: dict[str, int] = {}
        self.seen_s: dict[str, float] = {}  # on the monotonic clock, each stream's last frame
        self.dropped: dict[str, int] = {}
        self.frame_stride = 1
        self.thinned_questions = 0
        self.processes: dict[str, list[int]] = {}
        self.restarts: list[str] = []
        self.input_errors: list[str] = []
        self.streams: tuple[StreamInfo, ...] = ()
        self.captions = 0
        self.counted: Counter[tuple[str, str]] = Counter()  # (step, what)
        self._events: Counter[str] = Counter()
        self._counted: dict[str, None] = {}
        self._reads: dict[str, deque[tuple[int, float]]] = {}
        self._lock = Lock()

    def frame(self, stream_id: str, time_ns: int) -> None:
        """A frame was read."""
        self.started_s = self.started_s or time.perf_counter()
        self.frames += 1
        self.stream_frames[stream_id] = self.stream_frames.get(stream_id, 0) + 1
        self.first_ns.setdefault(stream_id, time_ns)
        self.last_ns[stream_id] = time_ns
        self.seen_s[stream_id] = now_s = time.monotonic()
        if self.on_time is not None:
            with self._lock:
                reads = self._reads.setdefault(stream_id, deque(maxlen=_READS_KEPT))
                reads.append((time_ns, now_s))

    def joined(self, info: StreamInfo) -> None:
        """One more stream is being read."""
        self.streams = (*self.streams, info)
        log.info("joined: %s", info.uri, extra={"stream_id": info.stream_id})

    def left(self, stream_id: str) -> None:
        """A stream has ended; how long it has been silent matters no more."""
        self.seen_s.pop(stream_id, None)
        log.info("ended", extra={"stream_id": stream_id})

    def count(self, step: str, counted: Mapping[str, int]) -> None:
        """A step's operator has counted so much more."""
        with self._lock:
            for what, number in counted.items():
                self.counted[step, what] += number

    def restarted(self, part: str, reason: str) -> None:
        """A worker has died and another takes its place."""
        self.restarts.append(f"{part}: {reason}")
        log.warning("a worker died and is replaced: %s", reason, extra={"step": part})

    def took(self, kind: str, name: str, seconds: float) -> None:
        """Something took so long; see `on_time`."""
        if self.on_time is not None:
            self.on_time(kind, name, seconds)

    def written(self, sink: str, record: Record) -> None:
        """A sink has written a record."""
        if self.on_time is None or not (reads := self._reads.get(record.stream_id)):
            return
        with self._lock:  # the latest frames are at the end, and what is written is young
            read_s = next((s for t, s in reversed(reads) if t <= record.order_ns), None)
        if read_s is not None:
            self.on_time("sink", sink, time.monotonic() - read_s)

    def made(self, records: Sequence[Record]) -> None:
        """Records left a step; each is counted once, however many steps it passes."""
        for record in records:
            if not isinstance(record, Event | Caption):
                continue
            with self._lock:
                if record.id in self._counted:
                    continue
                self._counted[record.id] = None
                if len(self._counted) > _COUNTED_KEPT:
                    del self._counted[next(iter(self._counted))]
                self._add(record)
            log_record(record)

    def _add(self, record: Caption | Event) -> None:
        if isinstance(record, Caption):
            self.captions += 1
            return
        self._events[record.kind] += 1
        if record.kind == "input_error" and len(self.input_errors) < _ERRORS_KEPT:
            self.input_errors.append(str(record.data.get("reason", record.kind)))

    @property
    def events(self) -> dict[str, int]:
        """How many events there were of each kind."""
        with self._lock:
            return dict(sorted(self._events.items()))

    @property
    def media_ns(self) -> int:
        """Media time read so far, each stream's last frame counted with one frame's length."""
        total = 0
        for info in self.streams:
            first, last = self.first_ns.get(info.stream_id), self.last_ns.get(info.stream_id)
            if first is not None and last is not None:
                total += last - first + (round(1e9 / info.fps) if info.fps else 0)
        return total

    def report(
        self, *, wall_s: float, setup_s: float, stopped: bool, steps: dict[str, StepReport]
    ) -> RunReport:
        """The sums."""
        events = self.events
        return RunReport(
            streams=self.streams,
            frames=self.frames,
            media_ns=self.media_ns,
            wall_s=round(wall_s, 3),
            setup_s=round(setup_s, 3),
            peak_memory_bytes=peak_memory_bytes(),
            tracks=events.get("track_start", 0),
            captions=self.captions,
            events=events,
            dropped_frames=sum(self.dropped.values()),
            input_errors=tuple(self.input_errors),
            stopped=stopped,
            steps=steps,
            restarts=len(self.restarts),
        )


def peak_memory_bytes() -> int:
    """The greatest resident memory of this process so far."""
    # what getrusage says holds, on Linux, for the program too that started this one
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
