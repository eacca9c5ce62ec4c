"""A local HTTP server with files: plain ones with ranges, and the parts of the Hugging Face hub's
interface that a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "c" * 40


class FileServer(ThreadingHTTPServer):
    """`files` by name; `stop_after` bytes a download breaks off, once; `log` has the requests."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes], repository: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.repository = repository
        self.stop_after: int | None = None
        self.published: dict[str, str] = {}
        self.log: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def sha256(self, name: str) -> str:
        return self.published.get(name, hashlib.sha256(self.files[name]).hexdigest())

    def siblings(self) -> list[dict[str, Any]]:
        return [
            {
                "rfilename": name, "path": name, "type": "file", "size": len(data),
                "blobId": self.sha256(name)[:40], "oid": self.sha256(name)[:40],
                "lfs": {"sha256": self.sha256(name), "oid": self.sha256(name), "size": len(data),
                        "pointerSize": 130},
            }
            for name, data in self.files.items()
        ]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(f"/api/models/{self.server.repository}/tree/"):
            self._json(self.server.siblings())
        elif path.startswith(f"/api/models/{self.server.repository}"):
            repository = self.server.repository
            self._json(
                {"id": repository, "modelId": repository, "sha": COMMIT, "private": False,
                 "tags": [], "downloads": 0, "siblings": self.server.siblings()}
            )  # fmt: skip
        else:
            self._file(body=True)

    def _json(self, data: Any) -> None:
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _file(self, *, body: bool) -> None:
        name = urlsplit(self.path).path.rpartition("/")[2]
        wanted = self.headers.get("Range")
        if body:
            self.server.log.append((name, wanted))
        if name not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[name]
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        if start >= len(data) > 0:
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{self.server.sha256(name)}"')
        self.send_header("X-Linked-ETag", f'"{self.server.sha256(name)}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if body:
            stop, self.server.stop_after = self.server.stop_after, None
            self.wfile.write(data[start : None if stop is None else start + stop])
            self.close_connection = stop is not None

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def file_server(files: dict[str, bytes], repository: str = "") -> Iterator[FileServer]:
    server = FileServer(files, repository)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
