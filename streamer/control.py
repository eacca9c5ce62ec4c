"""Streams of a run added, removed and listed from outside, by whoever has its token."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import unquote

from streamer.errors import ConfigError, OutputError, StreamerError
from streamer.http_server import HttpServer

FILE_NAME = "control.json"
TOKEN_VARIABLE = "STREAMER_TOKEN"
_MOST_BYTES = 1 << 16
_PATH = "/streams"


class Streams(Protocol):
    """What can be controlled; see `streamer.sources.live.LiveVideo`."""

    def add(self, name: str, address: str, values: Mapping[str, str] | None = None) -> str: ...
    def remove(self, name: str) -> None: ...
    def listed(self) -> list[dict[str, Any]]: ...


class Control(HttpServer):
    """Serves `/streams` while a run goes on: GET lists, POST {"name", "address", "values"} adds,
    DELETE `/streams/NAME` removes. Every request carries `Authorization: Bearer TOKEN`.

    Where it is served stands in `control.json` in the folder, which only its owner may read; so
    does the token, unless it was given.

    Args:
        streams: of the run.
        folder: of the run's results.
        address: PORT, or HOST:PORT; without a host on this machine only; port 0: any free one.
        token: what a caller must know. None: a new one.
        no_more: why no stream can be added to this run; "" when they can.

    Raises:
        ConfigError: when the address is none, or taken, or the token is short.
        OutputError: when the folder cannot be written.
    """

    def __init__(
        self,
        streams: Streams,
        folder: Path,
        *,
        address: str = "0",
        token: str | None = None,
        no_more: str = "",
    ) -> None:
        if token is not None and len(token) < 16:
            raise ConfigError(f"control: the token in ${TOKEN_VARIABLE} is short; 16 letters, say")
        self.token = token or secrets.token_urlsafe(32)
        handler = type(
            "Handler", (_Handler,), {"streams": streams, "token": self.token, "no_more": no_more}
        )
        super().__init__("control", address, handler)
        told = {"url": f"http://{self.host}:{self.port}", "pid": os.getpid()}
        if token is None:
            told["token"] = self.token
        self._path = folder / FILE_NAME
        self._told = json.dumps(told) + "\n"
        try:
            _write_private(self._path, self._told)
        except OSError as error:
            self._server.server_close()
            raise OutputError(
                f"{self._path} cannot be written ({error.strerror}); choose another folder"
            ) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        try:
            if self._path.read_text() == self._told:  # not that of another run since
                self._path.unlink()
        except OSError:
            pass


def _write_private(path: Path, text: str) -> None:
    """A file that nobody else could read at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


class _Handler(BaseHTTPRequestHandler):
    streams: Streams
    token: str
    no_more: str
    timeout = 10.0  # for a caller that says nothing

    def do_GET(self) -> None:
        if self._allowed():
            self._json(200, {"streams": self.streams.listed()})

    def do_POST(self) -> None:
        if not self._allowed():
            return
        try:
            wanted = self._body()
            if self.no_more:
                raise ConfigError(self.no_more)
            problem = self.streams.add(wanted["name"], wanted["address"], wanted["values"])
        except StreamerError as error:
            self._json(400, {"error": str(error)})
        else:
            self._json(201, {"name": wanted["name"], "problem": problem})

    def do_DELETE(self) -> None:
        if not self._allowed():
            return
        try:
            self.streams.remove(unquote(self.path.removeprefix(_PATH).strip("/")))
        except StreamerError as error:
            self._json(404, {"error": str(error)})
        else:
            self._json(200, {})

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        # in a time that tells nothing of the token
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            self._json(401, {"error": "the token is wrong or missing"})
            return False
        if self.path.partition("/")[2].partition("/")[0] != _PATH.strip("/"):
            self._json(404, {"error": f"there is only {_PATH}"})
            return False
        return True

    def _body(self) -> dict[str, Any]:
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > _MOST_BYTES:
            raise ConfigError(f"the request wants a Content-Length of at most {_MOST_BYTES} bytes")
        try:
            data = json.loads(self.rfile.read(int(size)))
            name, address, values = data["name"], data["address"], data.get("values") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError('the request wants JSON: {"name": ..., "address": ...}') from None
        texts = [name, address, *values, *values.values()] if isinstance(values, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("name, address and all values are texts")
        return {"name": name, "address": address, "values": values}

    def _json(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode() + b"\n"
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
