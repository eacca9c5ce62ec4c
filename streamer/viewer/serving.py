"""The application in a server that ends when it is told to, also while pages are open."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import uvicorn

from streamer.viewer.app import make_app
from streamer.viewer.asking import Asker
from streamer.viewer.run import Run


def make_server(
    run: Run,
    *,
    token: str,
    hosts: Iterable[str],
    make_asker: Callable[[], Asker] | None = None,
) -> uvicorn.Server:
    """A server for `make_app`; run it with a listening socket."""

    def ending() -> bool:
        return server.should_exit

    app = make_app(run, token=token, hosts=hosts, make_asker=make_asker, ending=ending)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=3,
        server_header=False, h11_max_incomplete_event_size=16 * 1024, limit_concurrency=64,
    )  # fmt: skip
    server = uvicorn.Server(config)
    return server
