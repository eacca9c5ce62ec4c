"""Small pictures in the terminal: sixels, kitty's graphics, or half blocks in colour."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec

from rich.console import ConsoleRenderable
from rich.table import Table

from streamer.commands.running import out
from streamer.errors import ConfigError

_WIDE, _HIGH = 14, 5  # cells
Show = Callable[[bytes | None, str], None]


def shower(wanted: bool | None) -> Show | None:
    """What prints a JPEG with lines of markup beside it; None where only text is to be shown.

    Args:
        wanted: None for pictures where a terminal in colour and the package are at hand.

    Raises:
        ConfigError: when they are wanted and cannot be shown.
    """
    colour = out.color_system is not None and not out.no_color and _has_size()
    package = find_spec("textual_image") is not None
    if wanted is False or (wanted is None and not (colour and package)):
        return None
    if not package:
        raise ConfigError("--pictures needs textual-image; pip install 'osprey-streamer[terminal]'")
    if not colour:
        raise ConfigError("--pictures: the output is no terminal in colour; leave it out")
    logging.getLogger("textual_image").setLevel(logging.ERROR)  # it guesses the size of a cell
    return _show


def _has_size() -> bool:
    """Whether the output is a terminal that knows how large it is."""
    try:
        return min(os.get_terminal_size(sys.__stdout__.fileno())) > 0 if sys.__stdout__ else False
    except (OSError, ValueError):
        return False


def _show(jpeg: bytes | None, text: str) -> None:
    from textual_image.renderable import Image  # asks the terminal what it can show

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_WIDE)
    grid.add_column()
    grid.add_row("" if jpeg is None else _fitting(Image, jpeg), text)
    out.print(grid)


def _fitting(kind: Callable[..., ConsoleRenderable], jpeg: bytes) -> ConsoleRenderable:
    from PIL import Image as Picture

    picture = Picture.open(io.BytesIO(jpeg)).convert("RGB")
    width, height = picture.size
    wide = width * _HIGH * 2 > height * _WIDE  # a cell is twice as high as wide
    return (
        kind(picture, width=_WIDE, height="auto")
        if wide
        else kind(picture, width="auto", height=_HIGH)
    )
