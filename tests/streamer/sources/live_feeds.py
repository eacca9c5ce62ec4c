"""Real streams for live sources: bytes of MPEG-TS, a server that never ends, a pipe's writer."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np

FPS = 25
HW = (64, 96)


def transport_stream(
    frames: int,
    first_pts_s: float = 0.0,
    *,
    grey: int = 0,
    codec: str = "mpeg2video",
    options: dict[str, str] | None = None,
) -> bytes:
    """An MPEG-TS of `frames` pictures at 25 a second, each one level of grey brighter."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=FPS, options=options or {})
        stream.height, stream.width = HW
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 5
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = Fraction(1, FPS)
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(
                np.full((*HW, 3), (grey + i) % 256, np.uint8), format="rgb24"
            )
            picture.pts = i
            for packet in stream.encode(picture):
                container.mux(_moved(packet, first_pts_s))
        for packet in stream.encode():
            container.mux(_moved(packet, first_pts_s))
    return file.getvalue()


def _moved(packet: av.Packet, by_s: float) -> av.Packet:
    assert packet.pts is not None
    assert packet.dts is not None
    assert packet.time_base is not None
    packet.pts += round(by_s / packet.time_base)
    packet.dts += round(by_s / packet.time_base)
    return packet


def paced(parts: Sequence[bytes], seconds: float) -> Iterator[bytes]:
    """The bytes of all parts, evenly over so many seconds."""
    whole = b"".join(parts)
    chunks = max(1, round(seconds * 50))
    start = time.monotonic()
    for i in range(chunks):
        yield whole[len(whole) * i // chunks : len(whole) * (i + 1) // chunks]
        time.sleep(max(0.0, start + (i + 1) * seconds / chunks - time.monotonic()))


class Feed(ThreadingHTTPServer):
    """`/live` sends a stream until `cut` is set; `/mute` falls silent after a second; `/text` is no
    video; `/private` wants a password; `/hls.m3u8` is a live HLS playlist of segments of a second;
    anything else is not there."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.cut = threading.Event()
        self.connections = 0
        self.begun_s = time.monotonic()

    def playlist(self) -> str:
        """The last three segments that are whole by now; the list has no end."""
        last = int(time.monotonic() - self.begun_s) + 3
        head = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1"]
        head.append(f"#EXT-X-MEDIA-SEQUENCE:{last - 3}\n")
        return "\n".join(head) + "".join(
            f"#EXTINF:1.0,\nsegment{n}.ts\n" for n in range(last - 3, last)
        )

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: Feed

    def do_GET(self) -> None:
        kind = self.path.strip("/").partition("?")[0]
        if kind == "hls.m3u8":
            self._whole(self.server.playlist().encode(), "application/vnd.apple.mpegurl")
            return
        if kind.startswith("segment"):
            number = int(kind.removeprefix("segment").removesuffix(".ts"))
            self._whole(transport_stream(25, number), "video/mp2t")
            return
        if kind not in ("live", "mute", "text", "private"):
            self.send_error(404)
            return
        if kind == "private":
            self.send_error(401)
            return
        self.server.connections += 1
        self.send_response(200)
        self.end_headers()
        try:
            if kind == "text":
                self.wfile.write(b"this is no video\n" * 1000)
                return
            for chunk in paced([transport_stream(25)], 1.0):
                self._send(chunk)
            second = 1
            while kind == "live":
                for chunk in paced([transport_stream(25, second)], 1.0):
                    self._send(chunk)
                second += 1
            self.server.cut.wait()
        except OSError:
            pass

    def _whole(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, chunk: bytes) -> None:
        if self.server.cut.is_set():
            raise BrokenPipeError
        self.wfile.write(chunk)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def feed(port: int = 0) -> Iterator[Feed]:
    """The server, running."""
    server = Feed(port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.cut.set()
        server.shutdown()
        server.server_close()
