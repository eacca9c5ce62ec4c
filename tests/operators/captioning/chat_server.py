"""A real HTTP server on the local machine that speaks the OpenAI chat interface.

It looks at the picture it is sent (the colour in its middle decides the words), and misbehaves
when told to.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (40, 70, 200), "grey": (90,) * 3}


def middle_colour(body: dict[str, Any]) -> str:
    """The name of the colour in the middle of the picture in a request."""
    (picture,) = [c for c in body["messages"][0]["content"] if c["type"] == "image_url"]
    encoded = base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    rgb = bgr[bgr.shape[0] // 2, bgr.shape[1] // 2, ::-1].astype(int)
    return min(COLOURS, key=lambda name: int(np.abs(rgb - COLOURS[name]).sum()))


class ChatServer(ThreadingHTTPServer):
    """`faults` are taken one a request: a status code, "hang", "cut", "html" or "empty"; then
    everything is answered. `requests` are the bodies that came, `most` how many at a time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: list[int | str] = []
        self.always: int | str | None = None
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.headers: dict[str, str] = {}
        self.delay_s = 0.0
        self.under_way = self.most = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, {"data": []})

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(body)
            server.keys.append(self.headers.get("Authorization"))
            server.under_way += 1
            server.most = max(server.most, server.under_way)
            fault = server.faults.pop(0) if server.faults else server.always
        server.over.wait(server.delay_s)
        self._answer(body, fault)
        with server.lock:
            server.under_way -= 1

    def _answer(self, body: dict[str, Any], fault: int | str | None) -> None:
        if fault == "hang":
            self.server.over.wait(20)
            self.close_connection = True
        elif fault == "cut":
            self.connection.close()
            self.close_connection = True
        elif fault == "html":
            self._send(200, "<html>welcome</html>")
        elif isinstance(fault, int):
            self._send(fault, {"error": {"message": f"told to say\n{fault}"}})
        else:
            said = "" if fault == "empty" else f"a {middle_colour(body)} thing"
            choice: dict[str, Any] = {"message": {"role": "assistant", "content": said}}
            if body.get("logprobs"):
                tokens = [{"token": word, "logprob": -0.25} for word in said.split()]
                choice["logprobs"] = {"content": tokens}
            self._send(200, {"choices": [choice]})

    def _send(self, status: int, said: Any) -> None:
        text = (said if isinstance(said, str) else json.dumps(said)).encode()
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
