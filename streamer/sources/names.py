"""How streams are called when nobody gave them a name."""

from __future__ import annotations

import os
from pathlib import Path


def readable(name: str) -> str:
    """A file's name as text that can be written: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def stream_name(given: str, path: Path) -> str:
    """The given name, or the name of the file or folder without its ending."""
    return given or readable(path.stem or path.resolve().stem) or "stream"
