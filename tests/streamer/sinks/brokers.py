"""Real brokers for tests: processes on loopback with free ports, which can be killed and started
again with what they had kept."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def program(*names: str) -> str:
    """The path of a program; the test is skipped where there is none."""
    for name in names:
        if (
            found := shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
        ) is not None:
            return found
    pytest.skip(f"no {names[0]} on this machine")


class Service:
    """A process that listens; `kill` is SIGKILL."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: listens(self.port))

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            wait_until(lambda: not listens(self.port))


class Mosquitto(Service):
    """Keeps sessions and messages when it is killed: it saves them at every change."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        super().__init__(folder)
        self.url = f"mqtt://127.0.0.1:{self.port}"
        user = "user root\n" if os.getuid() == 0 else ""
        (folder / "conf").write_text(
            f"listener {self.port} 127.0.0.1\n{settings}\n{user}persistence true\n"
            f"persistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\n"
            "max_queued_messages 0\nmax_inflight_messages 0\n"
        )

    def command(self) -> list[str]:
        return [program("mosquitto"), "-c", str(self.folder / "conf")]


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for a host that vouches for itself, and its key."""
    cert, key = folder / f"{host}.pem", folder / f"{host}.key"
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={host}", "-addext",
         f"subjectAltName=DNS:{host}", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


class RedisServer(Service):
    """Writes every change to its file before it answers."""

    def __init__(self, folder: Path, password: str = "") -> None:
        super().__init__(folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.settings = ["--requirepass", password] if password else []

    def command(self) -> list[str]:
        return [
            program("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
            str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
            *self.settings,
        ]  # fmt: skip


class PostgresServer(Service):
    """A cluster of its own, with a password for its user."""

    def __init__(self, folder: Path, password: str = "right") -> None:
        super().__init__(folder)
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        path = ":".join([*map(str, reversed(binaries)), os.environ.get("PATH", "")])
        found = [shutil.which(name, path=path) for name in ("initdb", "postgres")]
        if None in found:
            pytest.skip("no PostgreSQL server on this machine")
        initdb, self._postgres = map(str, found)
        self.data = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # others may enter /tmp
        self._as = unprivileged()
        if self._as:
            os.chown(self.data, self._as["user"], self._as["group"])
        words = self.data / "password"
        words.write_text(password)
        words.chmod(0o644)
        subprocess.run(
            [initdb, "-D", str(self.data / "db"), "-U", "me", "-A", "scram-sha-256", "--pwfile",
             str(words), "--no-sync", "-E", "UTF8", "--locale", "C"],
            check=True, capture_output=True, cwd="/tmp", **self._as,
        )  # fmt: skip
        self.url = f"postgresql://me:$PG_PASSWORD@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        return [
            self._postgres, "-D", str(self.data / "db"), "-p", str(self.port), "-k",
            str(self.data), "-c", "listen_addresses=127.0.0.1",
        ]  # fmt: skip

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True, cwd="/tmp",
                **self._as,
            )  # fmt: skip
        wait_until(self.takes_connections, 60.0)

    def takes_connections(self) -> bool:
        """It listens before it does."""
        import psycopg

        try:
            psycopg.connect(host="127.0.0.1", port=self.port, user="me", password="no").close()
        except psycopg.OperationalError as error:
            return "authentication failed" in str(error)
        return True

    def kill(self) -> None:
        super().kill()
        (self.data / "db" / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)


_KAFKA = """
import sys, time
from confluent_kafka import Producer
producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
brokers = producer.list_topics(timeout=10).brokers.values()
print(",".join(f"{b.host}:{b.port}" for b in brokers), flush=True)
time.sleep(10**6)
"""


class KafkaCluster(Service):
    """librdkafka's mock cluster in a process of its own. It keeps nothing, so an outage is a
    process that is stopped and goes on, and its end is `kill`."""

    def start(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGCONT)
            return
        self._process = subprocess.Popen(
            [sys.executable, "-c", _KAFKA], stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        self.servers = self._process.stdout.readline().decode().strip()
        self.port = int(self.servers.rpartition(":")[2])

    def freeze(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)


class MqttConsumer:
    """Subscribes in a session that the broker keeps; collects the JSON of what comes."""

    def __init__(self, port: int, topic: str = "streamer/#", client_id: str = "consumer") -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.received: list[dict[str, Any]] = []
        self.topics: list[str] = []
        self._client = Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False)
        subscribed = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = self._came
        self._client.reconnect_delay_set(0.1, 0.3)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(10)

    def _came(self, client: Any, data: Any, message: Any) -> None:
        self.received.append(json.loads(message.payload))
        self.topics.append(message.topic)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Receiver:
    """A web server that takes webhooks; `answers` is asked what to say to each.

    It keeps what it has said yes to, across `kill` and `start`.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.port = free_port()
        self.tls = tls
        self.names: list[str | None] = []  # that clients asked for (SNI)
        self.url = f"http://127.0.0.1:{self.port}/hook"
        if tls is not None:
            self.url = f"https://localhost:{self.port}/hook"
        self.received: list[dict[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: Callable[[str, bytes], tuple[int, dict[str, str]]] = lambda *_: (204, {})
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._open.add(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {k.lower(): v for k, v in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                status, more = receiver.answers(self.path, body)
                if 200 <= status < 300:
                    receiver.received.append(json.loads(body))
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.tls)
            context.sni_callback = lambda _, name, __: self.names.append(name)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        """Stop to listen and break every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()


def valid_signature(key: bytes, headers: dict[str, str], body: bytes) -> bool:
    """What the receiver of a Standard Webhook checks, written from its text."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return f"v1,{wanted}" in headers["webhook-signature"].split(" ")


def unprivileged() -> dict[str, Any]:
    """Arguments for subprocess that make root somebody else: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def running(service: Any) -> Iterator[Any]:
    service.start()
    try:
        yield service
    finally:
        service.kill()
