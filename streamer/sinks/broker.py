"""What an outbox needs of a broker: connect, send, close. Each broker is one adapter of these."""

from __future__ import annotations

import importlib
import os
import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

from streamer.errors import OutputError

_NAME = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, kw_only=True)
class Message:
    """A record on its way.

    `key` is the record's id (with "-open" behind it for a caption that still holds): the same
    whenever the record is sent. `kind` is "caption" or that of the event. `unix_ns` is None for
    media time. `body` is the record's published form as JSON.
    """

    seq: int
    key: str
    stream_id: str
    record: str
    kind: str
    unix_ns: int | None
    body: str


class UnavailableError(Exception):
    """The broker takes nothing now: it cannot be reached, refuses the credentials, is full. The
    reason is shown, so it holds no secret.

    `wait_s`: how long it asked to be left alone.
    """

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class NotNowError(UnavailableError):
    """The broker is there, but did not take the first of these records, and may take others: an
    error while it dealt with this one, or no answer to it."""


class Broker(ABC):
    """A way to one broker. Its constructor is cheap and raises ValueError for settings that are
    wrong in themselves; `$NAME` in addresses and secrets is taken from the environment when
    `ready` and `connect` need it, and nothing else may keep or show it.
    """

    batch_size: ClassVar[int] = 200
    shown: str = ""
    """The address as people may see it."""

    @abstractmethod
    def ready(self) -> None:
        """What can be known without the network.

        Raises:
            OutputError: for a package or a variable of the environment that is missing.
        """

    @abstractmethod
    def connect(self) -> None:
        """Connect, within seconds.

        Raises:
            UnavailableError: when that fails.
        """

    @abstractmethod
    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        """Send in this order, and come back when the broker has taken them for good.

        What it refuses is the answer: the reason by the message's `seq`. A broker that has taken
        a message has taken all before it in the batch that it did not refuse.

        Raises:
            UnavailableError: when not all were taken; all of them are then sent again.
            NotNowError: when that may be due to the one record that was sent.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the connection back; also after a failed `connect`, and more than once."""


def from_environment(text: str, sink: str) -> str:
    """The text with `$NAME` and `${NAME}` replaced.

    Raises:
        OutputError: when there is no such variable, naming it and the sink.
    """

    def one(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in os.environ:
            raise OutputError(f"{sink}: the environment has no {name}; set it: export {name}=...")
        return os.environ[name]

    return _NAME.sub(one, text)


def checked_url(url: str, schemes: Sequence[str], setting: str = "url") -> None:
    """See that a setting can be an address, as far as it stands there.

    Raises:
        ValueError: for another scheme, no host, or a password in plain sight.
    """
    if url.startswith("$"):
        return  # the whole of it is in the environment
    parts = split_url(url)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        wanted = " or ".join(f"{s}://" for s in schemes)
        raise ValueError(f"{setting} is no address that begins with {wanted}HOST")
    if parts.password and not _NAME.fullmatch(parts.password):
        raise ValueError(
            f"{setting} has a password in it; write $NAME there and set NAME in the environment"
        )


def checked_secret(secret: str, setting: str) -> None:
    """See that a secret is not in the file but in the environment.

    Raises:
        ValueError: otherwise.
    """
    if secret and not _NAME.search(secret):
        raise ValueError(
            f"{setting} stands in the file; write $NAME there and set NAME in the environment"
        )


def split_url(url: str) -> SplitResult | None:
    """The parts of an address; None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def shown_url(url: str) -> str:
    """Scheme, host and port: paths and what follows may be secrets, as user and password are."""
    parts = split_url(url)
    if parts is None or not parts.hostname:
        return url if _NAME.fullmatch(url) else "?"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address in its parts, with what the environment says; not for people's eyes."""

    scheme: str
    host: str
    port: int | None
    user: str | None
    password: str | None = field(repr=False)
    path: str = field(repr=False)


def address_of(url: str, schemes: Sequence[str], sink: str) -> Address:
    """An address with the names of the environment replaced.

    Raises:
        OutputError: when a variable is missing, or holds no address.
    """
    whole = _NAME.fullmatch(url) is not None
    parts = split_url(from_environment(url, sink) if whole else url)
    if parts is None or parts.scheme not in schemes or not parts.hostname:
        wanted = " or ".join(f"{s}://" for s in schemes)
        raise OutputError(f"{sink}: what {url} holds is no address that begins with {wanted}HOST")

    def secret(text: str | None) -> str | None:
        # a password of the environment stands as it is, one in an address is percent-encoded
        return text and (unquote(text) if whole else from_environment(text, sink))

    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=parts.port,
        user=secret(parts.username),
        password=secret(parts.password),
        path=path if whole else from_environment(path, sink),
    )


def trusted(ca: str, sink: str) -> ssl.SSLContext:
    """Whom to believe: the authorities in a PEM file, or those of the system.

    Raises:
        OutputError: when the file cannot be read as one.
    """
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "no certificates in it"
        raise OutputError(f"{sink}: {ca} cannot be read ({reason}); give a PEM file") from None


def needs(module: str, extra: str, sink: str) -> ModuleType:
    """An optional package.

    Raises:
        OutputError: when it is missing, naming the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise OutputError(
            f"{sink} needs the package {package}; pip install 'osprey-streamer[{extra}]'"
        ) from None


def filled(pattern: str, message: Message, illegal: str) -> str:
    """A topic or key of a pattern with {stream}, {record} and {kind}; characters that match the
    expression `illegal`, because they mean something to the broker, become "_" in them."""
    names = {"stream": message.stream_id, "record": message.record, "kind": message.kind}
    return pattern.format_map({key: re.sub(illegal, "_", text) for key, text in names.items()})


def checked_pattern(pattern: str, setting: str, illegal: str) -> None:
    """See that a pattern has no other placeholders than {stream}, {record} and {kind}, and nothing
    illegal beside them.

    Raises:
        ValueError: otherwise.
    """
    names: Mapping[str, Any] = dict.fromkeys(("stream", "record", "kind"), "x")
    try:
        made = pattern.format_map(names)
    except (KeyError, ValueError, IndexError, AttributeError):
        made = ""
    if not made:
        raise ValueError(f"{setting} is {pattern!r}; it may hold {{stream}}, {{record}}, {{kind}}")
    if found := re.search(illegal, made):
        raise ValueError(f"{setting} is {pattern!r}; {found.group()!r} may not stand in it")
