"""Passwords in addresses: taken from the environment, shown nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_USER = re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s/@:]*):[^\s/]*@", re.IGNORECASE)
_QUERY = re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s?]*\?)\S+", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def hidden(text: str) -> str:
    """A text with the passwords of all addresses in it replaced, and what follows their `?`, where
    keys stand."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1:***@", text))


def expanded(address: str, values: Mapping[str, str] | None = None) -> str:
    """An address with `$NAME` and `${NAME}` replaced: from `values`, else from the environment;
    what stands in neither stays."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return (values or {}).get(name, os.environ.get(name, match[0]))

    return _VARIABLE.sub(value, address)


def named_values(address: str) -> dict[str, str]:
    """What this process's environment has for the `$NAME`s of an address."""
    names = {match[1] or match[2] for match in _VARIABLE.finditer(address)}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


def hide_arguments(arguments: list[str]) -> None:
    """Keep passwords on the command line out of the list of processes."""
    title = " ".join(arguments)
    if hidden(title) != title:
        from setproctitle import setproctitle

        setproctitle(hidden(title))
