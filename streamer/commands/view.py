"""`streamer view`: a run in the browser."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

from streamer.commands.running import OK, notice, out
from streamer.errors import ConfigError, InputError
from streamer.viewer.asking import Asker


def view_run(
    folder: Path,
    *,
    host: str,
    port: int,
    names: list[str],
    source: bool | None,
    ask: bool,
    weights: str,
    sam: str,
    sam_type: str,
    device: str,
    browser: bool,
) -> int:
    """Serve the folder of a run until Ctrl-C.

    Raises:
        ConfigError: when the address cannot be taken, or the packages are not installed.
        InputError: when there is nothing to see in the folder.
    """
    try:
        from streamer.viewer.run import Run
        from streamer.viewer.serving import make_server
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette"):
            raise
        raise ConfigError(
            f"the viewer needs {error.name}; pip install 'osprey-streamer[view]'"
        ) from None
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; give the one that a run wrote with -o")
    here = is_loopback(host)
    run = Run(folder, source=here if source is None else source)
    listening = listen(host, port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    server = make_server(
        run,
        token=token,
        hosts=served_hosts(host, port, names),
        make_asker=_asker(weights, sam, sam_type, device) if ask else None,
    )
    address = f"http://{_reached(host, names)}:{port}/?token={token}"
    out.print(f"open {address}", markup=False, soft_wrap=True)
    if not here:
        notice("note", "yellow", "other machines can reach it, without encryption; who has the "
               "token sees the run")  # fmt: skip
    out.print("Ctrl-C ends it", markup=False)
    if browser:
        webbrowser.open(address)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    return OK


def served_hosts(host: str, port: int, names: list[str]) -> list[str]:
    """What may stand in the Host header of a request."""
    reached = {host, *names}
    if is_loopback(host) or host in ("0.0.0.0", "::"):
        reached |= {"localhost", "127.0.0.1", "::1"}
    if host in ("0.0.0.0", "::"):
        reached.add(socket.gethostname())
    bracketed = {f"[{name}]" if ":" in name else name for name in reached}
    return sorted(f"{name}:{port}" for name in bracketed) + sorted(bracketed if port == 80 else [])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reached(host: str, names: list[str]) -> str:
    if names:
        return names[0]
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 is any that is free.

    Raises:
        ConfigError: when it cannot be had.
    """
    try:
        family, kind, proto, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(128)  # who opens the address at once waits, and is not refused
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be served ({error.strerror or error}); choose another --port, 0 "
            "for any"
        ) from None
    return listening


def _asker(weights: str, sam: str, sam_type: str, device: str) -> Callable[[], Asker]:
    def make() -> Asker:
        from operators.asking import OspreyAsker

        return OspreyAsker.load(weights, sam, sam_type, device)

    return make
