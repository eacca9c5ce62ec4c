"""Opening what is live: network streams, capture devices, named pipes."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import av

from streamer.errors import InputError
from streamer.passwords import expanded, hidden

_NETWORK = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp")
_DEVICES = {"/dev/video": "v4l2"}
_HINTS: dict[type[Exception], str] = {
    av.error.HTTPUnauthorizedError: "it refuses user name or password; write them into the "
    "address: rtsp://USER:PASSWORD@HOST/...",
    av.error.HTTPForbiddenError: "it forbids access; ask whoever runs it",
    av.error.HTTPNotFoundError: "the server has no such stream; check the path",
    av.error.ConnectionRefusedError: "nobody answers at that host and port; is it running?",
    av.error.TimeoutError: "no answer in time; is the host reachable, the port open?",
    av.error.ExitError: "no answer in time; is the host reachable, the port open?",
    av.error.InvalidDataError: "what comes is no video that FFmpeg knows",
    av.error.ProtocolNotFoundError: "FFmpeg does not know this kind of address",
}


def is_live(address: str) -> bool:
    """Whether an address is a network stream, a capture device or a named pipe."""
    if urlsplit(address).scheme in _NETWORK or any(map(address.startswith, _DEVICES)):
        return True
    try:
        return stat.S_ISFIFO(os.stat(address).st_mode)
    except (OSError, ValueError):
        return False


def shown(address: str) -> str:
    """The address without its password (and without what follows a `?`, where keys stand)."""
    return hidden(address)


def open_live(
    address: str,
    *,
    open_s: float,
    stall_s: float,
    transport: str,
    values: Mapping[str, str] | None = None,
) -> tuple[av.container.InputContainer, av.video.stream.VideoStream]:
    """Connect and find the first video stream.

    Args:
        address: `$NAME` and `${NAME}` in it are taken from the environment, so that passwords
            need not stand in files and command lines.
        values: of names that stand before those of the environment.

    Raises:
        InputError: in one line, with the address but not its password.
    """
    named, address = address, expanded(address, values)
    scheme = urlsplit(address).scheme
    # what is looked at to learn the format is old when it is known: it is not given
    options: dict[str, str] = {"fflags": "nobuffer", "analyzeduration": "1000000"}
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_transport"] = transport
    kind = next((f for start, f in _DEVICES.items() if address.startswith(start)), None)
    file: Any = address
    if scheme not in _NETWORK and kind is None:
        file = Pipe(address, open_s=open_s, stall_s=stall_s)
    try:
        container = av.open(
            file, format=kind, options=options, timeout=(open_s, stall_s), metadata_errors="replace"
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(file, Pipe):
            file.close()
        raise InputError(f"{shown(named)}: {reason(error)}") from None
    try:
        if not container.streams.video:
            raise InputError(f"{shown(named)}: there is no video in it; give a stream with video")
        stream = container.streams.video[0]
        if not stream.codec_context:
            raise InputError(f"{shown(named)}: its video is in no format that FFmpeg knows")
        # threads by frame would hold every picture back by as many pictures, and those by slice
        # lose slices that come in packets of their own (FFmpeg 8, H.264)
        stream.thread_type = "NONE"
        return container, stream
    except BaseException:
        container.close()
        raise


def reason(error: Exception) -> str:
    """Why a connection failed or broke; never the address, which may hold a password."""
    for kind, hint in _HINTS.items():
        if isinstance(error, kind):
            return hint
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return "it broke off, or what comes is no video that FFmpeg knows"
    if isinstance(error, av.FFmpegError):
        return str(error.strerror)
    return str(getattr(error, "strerror", None) or error)


class Pipe:
    """A named pipe as a file for PyAV: no call waits longer than it may.

    The plain way would hang in `open` until somebody writes, and could not be called back.
    """

    def __init__(self, path: str, *, open_s: float, stall_s: float) -> None:
        self.name = path
        self.stall_s = stall_s
        self._patience_s = open_s
        self._begun = False
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none when the writer has closed.

        Raises:
            TimeoutError: when nothing comes.
        """
        deadline = time.monotonic() + self._patience_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                data = os.read(self._fd, size)
            except BlockingIOError:
                select.select([self._fd], [], [], left_s)
                continue
            if data or self._begun:
                self._begun, self._patience_s = True, self.stall_s
                return data
            time.sleep(0.02)  # nobody writes yet
        raise TimeoutError("nobody writes into the pipe")

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
