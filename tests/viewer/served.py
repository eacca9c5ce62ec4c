"""The viewer served as `streamer view` serves it, in a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamer.commands.view import listen, served_hosts
from streamer.viewer.asking import Asker
from streamer.viewer.run import Run
from streamer.viewer.serving import make_server

TOKEN = "a-token-of-a-test"


@contextmanager
def served(out: Path, make_asker: Callable[[], Asker] | None = None) -> Iterator[str]:
    """The address with its token."""
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = make_server(
        Run(out), token=TOKEN, hosts=served_hosts("127.0.0.1", port, []), make_asker=make_asker
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/?token={TOKEN}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
