"""Unix time for the frames of a live stream: strictly increasing, whatever its time stamps do."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

_S = 1_000_000_000
JUMP_NS = 2 * _S  # time stamps that run ahead of the clock by more have been set anew
WINDOW_NS = 60 * _S  # arrivals that are compared
CAMERA_OFF_NS = 24 * 3600 * _S  # a camera's clock that is further off has never been set
CAMERA_UNCERTAINTY_NS = 1_000_000  # of RTP time between two sender reports

# the system's clock may be set while we run, the monotonic one may not
_UNIX_AT_START_NS = time.time_ns() - time.monotonic_ns()


def now_ns() -> int:
    """Unix time that never runs backwards within this process."""
    return _UNIX_AT_START_NS + time.monotonic_ns()


@dataclass(frozen=True)
class Stamp:
    """When a frame was taken, as Unix time, and by how much that may be off."""

    time_ns: int
    uncertainty_ns: int


class LiveClock:
    """From time stamps and arrivals to Unix time.

    A stream that tells its camera's clock (RTCP sender reports) is believed, unless that would
    turn time back by more than `JUMP_NS` or the clock was never set. Otherwise the frame of the
    last minute that came quickest tells how time stamps relate to arrival: the others were held
    up on their way, and the spread of the delays is the uncertainty. What camera and network
    always take cannot be seen from here and is not in it.
    """

    def __init__(self) -> None:
        self.camera = False
        self._last_ns: int | None = None
        self._pts_ns: int | None = None
        self._arrival_ns = 0
        self._delays: deque[tuple[int, int]] = deque()  # (arrival, arrival - time stamp)

    @property
    def last_ns(self) -> int | None:
        """The latest time given."""
        return self._last_ns

    def reconnect(self) -> None:
        """Time stamps start anew."""
        self._pts_ns = None
        self._delays.clear()
        self.camera = False

    def stamp(self, pts_ns: int | None, arrival_ns: int, camera_ns: int | None = None) -> Stamp:
        """The time of the next frame.

        Args:
            pts_ns: its time stamp, None where it has none.
            arrival_ns: Unix time at which it came.
            camera_ns: Unix time by the camera's clock, where the stream tells it.
        """
        self.camera = camera_ns is not None and self._believable(camera_ns, arrival_ns)
        if self.camera and camera_ns is not None:
            found = Stamp(camera_ns, CAMERA_UNCERTAINTY_NS)
            self._pts_ns, self._arrival_ns = pts_ns, arrival_ns
        else:
            found = self._by_arrival(pts_ns, arrival_ns)
        if self._last_ns is not None and found.time_ns <= self._last_ns:
            late_ns = self._last_ns + 1 - found.time_ns
            found = Stamp(self._last_ns + 1, found.uncertainty_ns + late_ns)
        self._last_ns = found.time_ns
        return found

    def _believable(self, camera_ns: int, arrival_ns: int) -> bool:
        back = self._last_ns is not None and camera_ns < self._last_ns - JUMP_NS
        return not back and abs(camera_ns - arrival_ns) < CAMERA_OFF_NS

    def _by_arrival(self, pts_ns: int | None, arrival_ns: int) -> Stamp:
        if pts_ns is None:
            spread_ns = max((d for _, d in self._delays), default=0) - self._least()
            return Stamp(arrival_ns, spread_ns)
        if self._pts_ns is not None:
            ahead_ns = (pts_ns - self._pts_ns) - (arrival_ns - self._arrival_ns)
            if pts_ns < self._pts_ns or ahead_ns > JUMP_NS:  # reset, wrapped round, or jumped
                self._delays.clear()
        self._pts_ns, self._arrival_ns = pts_ns, arrival_ns
        self._delays.append((arrival_ns, arrival_ns - pts_ns))
        while self._delays[0][0] < arrival_ns - WINDOW_NS:
            self._delays.popleft()
        least_ns = self._least()
        return Stamp(pts_ns + least_ns, max(d for _, d in self._delays) - least_ns)

    def _least(self) -> int:
        return min((delay for _, delay in self._delays), default=0)
