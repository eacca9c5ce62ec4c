"""Inputs that lie elsewhere: object storage and web servers, through fsspec."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from streamer.errors import ConfigError, InputError, OutputError
from streamer.passwords import expanded, hidden

_PIECE_BYTES = 1 << 20
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_remote(place: str) -> bool:
    """Whether this is a URL, not a path."""
    return _URL.match(place) is not None


def url_path(place: str) -> str:
    """The path in a URL, or the path that it is."""
    return unquote(urlsplit(place).path) if is_remote(place) else place


def find_remote(pattern: str) -> list[tuple[str, str]]:
    """The files at a URL with wildcards, sorted, each with its path below the wildcard's folder.

    Raises:
        InputError: when the place cannot be listed.
        ConfigError: when what speaks its protocol is not installed.
    """
    with _told(pattern):
        files, path = _opened(pattern)
        if not glob.has_magic(path):
            return [(pattern, PurePosixPath(url_path(pattern)).name)]
        parts = path.split("/")
        fixed = "/".join(parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        found = files.glob(path, detail=True)
        names = sorted(name for name, info in found.items() if info.get("type") == "file")
        return [
            (str(files.unstrip_protocol(name)), name.removeprefix(fixed).lstrip("/"))
            for name in names
        ]


def read_bytes(url: str) -> bytes:
    """A small file.

    Raises:
        InputError: when it cannot be read.
        ConfigError: when what speaks its protocol is not installed.
    """
    with _told(url):
        files, path = _opened(url)
        return bytes(files.cat_file(path))


@contextmanager
def at_hand(place: str, folder: Path) -> Iterator[Path]:
    """A path under which an input can be read while the block lasts.

    What is on this machine is left where it is; what is elsewhere is brought into `folder`,
    appears there when it is whole, and goes at the end of the block: no more lies there than is
    being worked on.

    Raises:
        InputError: when it cannot be fetched.
        OutputError: when the folder has no room for it.
        ConfigError: when what speaks its protocol is not installed.
    """
    if not is_remote(place):
        yield Path(place)
        return
    target = folder / (PurePosixPath(url_path(place)).name or "input")
    try:
        with _told(place):
            files, path = _opened(place)
            local = "file" in files.protocol
            source = None if local else files.open(path, "rb")
        if source is not None:
            with source:
                _fetch(place, source, target)
        yield target if source is not None else Path(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch(place: str, source: Any, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("wb")
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written ({error.strerror})") from None
    with file:
        while True:
            with _told(place):
                piece = source.read(_PIECE_BYTES)
            if not piece:
                break
            try:
                file.write(piece)
            except OSError as error:
                raise OutputError(
                    f"{part} cannot be written ({error.strerror}); free space or choose another "
                    "--out"
                ) from None
    os.replace(part, target)


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError:
        raise ConfigError(
            f"{hidden(url)}: URLs need fsspec; pip install 'osprey-streamer[remote]'"
        ) from None
    files, path = url_to_fs(expanded(url))
    return files, str(path)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What a file system says of a place, as our own error."""
    shown = hidden(url)
    protocol = url.partition("://")[0]
    try:
        yield
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(f"{shown}: {protocol}:// needs one more package ({error})") from None
    except FileNotFoundError:
        raise InputError(f"{shown} is not there; correct the address") from None
    except PermissionError as error:
        raise InputError(f"{shown}: access is refused ({_reason(error, url)})") from None
    except ValueError as error:
        raise InputError(f"{shown}: {_reason(error, url)}") from None
    except Exception as error:  # each file system has errors of its own
        raise InputError(f"{shown} cannot be read: {_reason(error, url)}") from None


def _reason(error: BaseException, url: str) -> str:
    text = hidden(str(error).replace(expanded(url), url).strip() or type(error).__name__)
    return text.splitlines()[0]
