"""Keeps one live stream coming: connects, decodes, notices silence, connects again."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av

from streamer.clock import pts_to_ns
from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.records import Event, Frame, StreamInfo, gap_event
from streamer.sources.decoding import RgbConverter, scaled_hw
from streamer.sources.live_clock import LiveClock, now_ns
from streamer.sources.live_input import open_live, reason, shown
from streamer.sources.live_ring import Ring

_FIRST_PAUSE_S = 0.2
_PRFT_BYTES = 8  # its wall clock: microseconds since 1970, as the machine stores integers
_GRACE_S = 2.0  # that a library gets beyond its time-out before its thread is given up


@dataclass(frozen=True, kw_only=True)
class LiveSettings:
    """See `streamer.sources.live.LiveVideo`."""

    open_s: float
    stall_s: float
    retry_s: float
    sample_fps: Fraction | None
    max_height: int | None
    transport: str


class LiveReader:
    """One stream. Its threads are daemons: one that hangs in a library is left behind and holds
    nobody up."""

    def __init__(
        self,
        stream_id: str,
        address: str,
        settings: LiveSettings,
        ring: Ring,
        *,
        values: Mapping[str, str] | None = None,
        joins: bool = False,
    ) -> None:
        self.stream_id = stream_id
        self.address = address
        self.values = values or {}
        self.settings = settings
        self.ring = ring
        self.clock = LiveClock()
        self.info: StreamInfo | None = None
        self.problem = ""
        self.frames = 0
        self._joins = joins  # and has not yet
        self._slot = -1
        self._lost_ns: int | None = None
        self._lost_why = ""
        self._stop = threading.Event()
        self._known = threading.Event()
        self._session: _Session | None = None
        self._random = random.Random(stream_id)

    def start(self) -> None:
        """Begin to connect; see `wait`."""
        threading.Thread(target=self._run, name=f"live {self.stream_id}", daemon=True).start()

    @property
    def known(self) -> StreamInfo:
        """What is known of the stream so far."""
        return self.info or StreamInfo(
            stream_id=self.stream_id,
            uri=shown(self.address),
            width_px=0,
            height_px=0,
            begin_ns=now_ns(),
        )

    @property
    def last_ns(self) -> int | None:
        """Unix time of the last frame."""
        return self.clock.last_ns

    def wait(self, deadline_s: float) -> None:
        """Until the stream is known, or the first attempt has failed."""
        self._known.wait(max(0.0, deadline_s - time.monotonic()))

    def stop(self) -> None:
        """End all threads that still listen."""
        self._stop.set()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            session = self._session = _Session(self)
            session.start()
            why = self._watch(session)
            self._session = None
            if self._stop.is_set():
                return
            self._lost(why)
            if session.came:
                pause_s = _FIRST_PAUSE_S
            self._known.set()
            self._stop.wait(pause_s * self._random.uniform(0.75, 1.25))
            pause_s = min(2 * pause_s, self.settings.retry_s)

    def _watch(self, session: _Session) -> str:
        """Wait until a session has ended, or hangs; why."""
        while not session.done.wait(0.1):
            if self._stop.is_set():
                return "stopped"
            allowed_s = self.settings.stall_s if session.came else self.settings.open_s
            silent_s = (time.monotonic_ns() - session.heard_ns) / 1e9
            if silent_s > allowed_s + _GRACE_S:
                return f"silent for {silent_s:.0f} s"
        return session.why

    def heard(self, session: _Session) -> bool:
        """Whether this session is the one that counts."""
        return session is self._session and not self._stop.is_set()

    def opened(self, width_px: int, height_px: int, fps: float | None) -> None:
        """The first picture of a connection is there."""
        if self.info is None:
            self.info = StreamInfo(
                stream_id=self.stream_id,
                uri=shown(self.address),
                width_px=width_px,
                height_px=height_px,
                fps=fps,
                begin_ns=now_ns(),
            )
            self._join()
            self._known.set()
        if self._lost_ns is not None:
            self._back()

    def take(self, picture: av.VideoFrame, converter: RgbConverter, camera_ns: int | None) -> None:
        """A decoded picture."""
        pts_ns = None
        if picture.pts is not None and picture.time_base is not None:
            pts_ns = pts_to_ns(picture.pts, picture.time_base)
        stamp = self.clock.stamp(pts_ns, now_ns(), camera_ns)
        if self.settings.sample_fps is not None:
            slot = int(stamp.time_ns * self.settings.sample_fps / 10**9)
            if slot == self._slot:
                return
            self._slot = slot
        image = converter.convert(picture, scaled_hw(picture, self.settings.max_height))
        self.ring.put(
            Frame(
                stream_id=self.stream_id,
                index=self.frames,
                time_ns=stamp.time_ns,
                image=image,
                viewport=Viewport.whole(*image.shape[:2]),
                uncertainty_ns=stamp.uncertainty_ns,
            )
        )
        self.frames += 1

    def _lost(self, why: str) -> None:
        self.problem = f"{shown(self.address)}: {why}"
        self._join()
        if self._lost_ns is None:
            self._lost_ns = self.clock.last_ns or now_ns()
            self._lost_why = why
            self.ring.put(
                Event(
                    stream_id=self.stream_id,
                    time_ns=self._lost_ns,
                    kind="input_error",
                    data={"reason": self.problem, "known_ns": max(self._lost_ns, now_ns())},
                )
            )
        self.clock.reconnect()

    def _join(self) -> None:
        """Tell of a stream that came while others were read, when something is known of it."""
        if self._joins:
            self._joins = False
            self.ring.put(self.known)

    def _back(self) -> None:
        assert self._lost_ns is not None
        if self.frames:
            self.ring.put(
                gap_event(self.stream_id, self._lost_ns, now_ns(), self._lost_why, frames=None)
            )
        self._lost_ns, self.problem = None, ""


class _Session:
    """One connection, in a thread of its own."""

    def __init__(self, reader: LiveReader) -> None:
        self.reader = reader
        self.done = threading.Event()
        self.why = ""
        self.came = False
        self.heard_ns = time.monotonic_ns()

    def start(self) -> None:
        name = f"live {self.reader.stream_id} connection"
        threading.Thread(target=self._guarded, name=name, daemon=True).start()

    def _guarded(self) -> None:
        try:
            self._read()
            self.why = "the stream ended"
        except InputError as error:
            self.why = str(error).partition(": ")[2]
        except (av.FFmpegError, OSError) as error:
            self.why = reason(error)
        except Exception as error:  # a bug must not silence the camera for good
            self.why = f"{type(error).__name__}: {error}"
        finally:
            self.done.set()

    def _read(self) -> None:
        settings = self.reader.settings
        container, stream = open_live(
            self.reader.address,
            open_s=settings.open_s,
            stall_s=settings.stall_s,
            transport=settings.transport,
            values=self.reader.values,
        )
        try:
            fps = float(stream.average_rate) if stream.average_rate else None
            converter = RgbConverter()
            for picture, camera_ns in self._pictures(container, stream):
                if not self.reader.heard(self):
                    return
                if not self.came:
                    self.came = True
                    height, width = scaled_hw(picture, settings.max_height)
                    self.reader.opened(width, height, fps)
                self.reader.take(picture, converter, camera_ns)
        finally:
            container.close()

    def _pictures(
        self, container: av.container.InputContainer, stream: av.video.stream.VideoStream
    ) -> Iterator[tuple[av.VideoFrame, int | None]]:
        """Pictures with the camera's Unix time where it is known. Damaged packets are passed
        over: the next whole picture goes on."""
        told: dict[int, int] = {}
        for packet in container.demux(stream):
            self.heard_ns = time.monotonic_ns()
            if packet.pts is not None and packet.has_sidedata("prft"):
                told[packet.pts] = _wall_clock_ns(bytes(packet.get_sidedata("prft")))
            try:
                pictures = packet.decode()
            except av.InvalidDataError:
                continue
            for picture in pictures:
                yield picture, told.pop(picture.pts, None) if picture.pts is not None else None
            while len(told) > 64:  # of packets that gave no picture
                del told[next(iter(told))]


def _wall_clock_ns(prft: bytes) -> int:
    """AVProducerReferenceTime: wallclock in microseconds since 1970, then flags."""
    return 1000 * int.from_bytes(prft[:_PRFT_BYTES], sys.byteorder, signed=True)
