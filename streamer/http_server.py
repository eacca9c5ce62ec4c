"""A small HTTP server beside a run: a thread, and an address as it is given on the command line."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TypeVar

from streamer.errors import ConfigError

Server = TypeVar("Server", bound="HttpServer")


class HttpServer:
    """Listens from the moment it is made, answers as long as it is entered.

    Args:
        what: names it in errors and among the threads.
        address: PORT, or HOST:PORT; without a host on this machine only; port 0: any free one.
        handler: answers the requests.

    Raises:
        ConfigError: when the address is none, or taken.
    """

    def __init__(self, what: str, address: str, handler: type[BaseHTTPRequestHandler]) -> None:
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise ConfigError(f"{what}: {address!r} is not PORT or HOST:PORT")
        self.what = what
        self.host = host or "127.0.0.1"
        try:
            self._server = ThreadingHTTPServer((self.host, int(port)), handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"{what}: {address} cannot be served: {error}") from None
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self: Server) -> Server:
        threading.Thread(target=self._server.serve_forever, name=self.what, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
