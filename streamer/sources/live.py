"""Cameras and other streams that never end."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from streamer.errors import ConfigError, InputError
from streamer.interfaces import Source
from streamer.passwords import expanded
from streamer.records import StreamInfo, StreamLeft
from streamer.sources.live_clock import now_ns
from streamer.sources.live_input import is_live, shown
from streamer.sources.live_reader import LiveReader, LiveSettings
from streamer.sources.live_ring import Item, Ring

_LOOK_S = 0.2


class LiveVideo(Source):
    """Frames of live streams: RTSP, HTTP, HLS, RTMP, SRT, capture devices, named pipes.

    `time_ns` is Unix time and strictly increasing, through time stamps that jump, repeat or are
    missing, and through connections that break: by the camera's clock where the stream tells it,
    else by arrival; `uncertainty_ns` says by how much it may be off. See `LiveClock`.

    A stream that breaks, or is silent for `stall_s`, gives an `input_error` event at once and is
    connected to again, for ever, with pauses that grow to `retry_s`; when it is back, a `gap`
    event says what was missed. Each stream has threads of its own: one that hangs stops no other.
    A stream that is absent at the start is waited for, unless all are. Streams can be added and
    removed while others are read; a name is used once in a run.

    When the pipeline is slower than the cameras, the oldest waiting frames are dropped and counted
    in a `gap` event with the reason "overload".

    Args:
        urls: the address of each stream by its name: rtsp://USER:PASSWORD@HOST/PATH,
            http://.../x.m3u8, /dev/video0, or the path of a named pipe. $NAME in it is taken from
            the environment.
        sample_fps: at most this many frames a second of each stream. None: all.
        max_height: larger pictures are scaled down to this height in pixels. None: never.
        connect_s: how long a connection may take.
        stall_s: after how many seconds of silence a connection counts as broken.
        retry_s: the longest pause before another attempt, in seconds.
        buffer_frames: how many frames of a stream may wait before the oldest are dropped.
        transport: tcp or udp, for RTSP.
        for_s: end after so many seconds. None: never.
    """

    live = True

    def __init__(
        self,
        urls: dict[str, str],
        sample_fps: float | None = None,
        max_height: int | None = None,
        connect_s: float = 10.0,
        stall_s: float = 5.0,
        retry_s: float = 2.0,
        buffer_frames: int = 32,
        transport: str = "tcp",
        for_s: float | None = None,
    ) -> None:
        if not urls:
            raise ValueError("urls is empty; give each stream a name and an address")
        for setting, value in (
            ("connect_s", connect_s), ("stall_s", stall_s), ("retry_s", retry_s),
            ("sample_fps", sample_fps), ("for_s", for_s), ("buffer_frames", buffer_frames),
        ):  # fmt: skip
            if value is not None and value <= 0:
                raise ValueError(f"{setting} is {value}; wanted more than 0")
        if max_height is not None and max_height < 16:
            raise ValueError(f"max_height is {max_height}; wanted at least 16")
        if transport not in ("tcp", "udp"):
            raise ValueError(f"transport is {transport!r}; wanted tcp or udp")
        self.urls: Mapping[str, str] = urls
        self.settings = LiveSettings(
            open_s=connect_s,
            stall_s=stall_s,
            retry_s=retry_s,
            sample_fps=None if sample_fps is None else Fraction(str(sample_fps)),
            max_height=max_height,
            transport=transport,
        )
        self.for_s = for_s
        self._ring = Ring(buffer_frames)
        self._readers: dict[str, LiveReader] = {}
        self._names: set[str] = set()  # those of streams that have left, too
        self._changing = threading.Lock()
        self._stopped = False

    def open(self) -> list[StreamInfo]:
        for name, address in self.urls.items():
            _check(name, address, None)
        readers = [
            LiveReader(name, address, self.settings, self._ring)
            for name, address in self.urls.items()
        ]
        self._readers = {reader.stream_id: reader for reader in readers}
        self._names = set(self._readers)
        for reader in readers:
            reader.start()
        deadline_s = time.monotonic() + self.settings.open_s + 2.0
        for reader in readers:
            reader.wait(deadline_s)
        if not any(reader.info for reader in readers):
            first = readers[0]
            raise InputError(first.problem or f"{shown(first.address)}: no picture in time")
        return [reader.known for reader in readers]

    def add(self, name: str, address: str, values: Mapping[str, str] | None = None) -> str:
        """Take in one more stream, from any thread; waits until it is there or an attempt failed.

        Args:
            name: letters, digits, `_.-`; none that this run has had.
            address: as in `urls`.
            values: of `$NAME`s in it; those not given are taken from the environment.

        Returns:
            Why it is not there yet, "" when it is. It is connected to again, for ever.

        Raises:
            ConfigError: when the name cannot be used.
            InputError: when the address is no live stream.
        """
        if not re.fullmatch(r"[\w.-]+", name):
            raise ConfigError(f"{name!r} is no name of a stream; letters, digits and _ . - are")
        _check(name, address, values)
        with self._changing:
            if self._stopped:
                raise ConfigError("the run is ending; no stream can be added")
            if name in self._readers:
                raise ConfigError(f"there is a stream {name!r} already; choose another name")
            if name in self._names:
                raise ConfigError(
                    f"this run has had a stream {name!r}; choose another name, so that its records "
                    "stay apart"
                )
            reader = LiveReader(name, address, self.settings, self._ring, values=values, joins=True)
            self._readers[name] = reader
            self._names.add(name)
        reader.start()
        reader.wait(time.monotonic() + self.settings.open_s + 2.0)
        return "" if reader.info else reader.problem or f"{shown(address)}: no picture in time"

    def remove(self, name: str) -> None:
        """Let a stream go, from any thread: its tracks end, the others go on.

        Raises:
            ConfigError: when there is none of that name.
        """
        with self._changing:
            reader = self._readers.pop(name, None)
            if reader is None:
                there = ", ".join(self._readers) or "none"
                raise ConfigError(f"there is no stream {name!r}; there are: {there}")
        reader.stop()
        self._ring.put(StreamLeft(stream_id=name))

    def listed(self) -> list[dict[str, Any]]:
        """The streams that are read: name, address without password, state ("live" or "away"),
        frames, seconds since the last one or None, and what is wrong or ""."""
        with self._changing:
            readers = list(self._readers.values())
        now = now_ns()
        return [
            {
                "name": reader.stream_id,
                "address": shown(reader.address),
                "state": "live" if reader.info and not reader.problem else "away",
                "frames": reader.frames,
                "seconds_since_frame": (
                    None if reader.last_ns is None else round((now - reader.last_ns) / 1e9, 1)
                ),
                "problem": reader.problem,
            }
            for reader in readers
        ]

    def read(self) -> Iterator[Item]:
        end_s = None if self.for_s is None else time.monotonic() + self.for_s
        while not self._stopped and (end_s is None or time.monotonic() < end_s):
            yield from self._ring.get(_LOOK_S)

    def interrupt(self) -> None:
        self._stopped = True

    def close(self) -> None:
        with self._changing:
            self._stopped = True
            readers = list(self._readers.values())
        for reader in readers:
            reader.stop()
        self._ring.close()


def _check(name: str, address: str, values: Mapping[str, str] | None) -> None:
    if not is_live(expanded(address, values)):
        raise InputError(
            f"{name}: {shown(address)!r} is neither a network address, a capture device "
            "nor a named pipe; films are for `streamer caption`"
        )
