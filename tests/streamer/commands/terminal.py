"""A terminal that understands what it is sent: text in colour, kitty's graphics, sixels.

It keeps a grid of cells, as terminals do, so that a test sees what a reader would see. What it
does not know it refuses.
"""

from __future__ import annotations

import base64
import codecs
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PLACEHOLDER = "\U0010eeee"
MOST_CHUNK = 4096
# the first diacritics of kitty's list, which stand for 0, 1, 2, ...
NUMBERS = {
    chr(code): n
    for n, code in enumerate(
        [0x305, 0x30D, 0x30E, 0x310, 0x312, 0x33D, 0x33E, 0x33F, 0x346, 0x34A, 0x34B, 0x34C, 0x350,
         0x351, 0x352, 0x357, 0x35B, 0x363, 0x364, 0x365]
    )
}  # fmt: skip
_TOKEN = re.compile(
    r"\x1b_(?P<apc>[^\x1b]*)\x1b\\|\x1bP(?P<dcs>[^\x1b]*)\x1b\\"
    r"|\x1b\[(?P<csi>[0-9;?]*)(?P<final>[A-Za-z])|\x1b(?P<esc>[78])|(?P<char>[^\x1b])",
    re.DOTALL,
)
Rgb = tuple[int, int, int]


def run_in_pty(
    arguments: Sequence[object],
    size: tuple[int, int, int, int],
    take: Callable[[bytes, Callable[[str], object]], object],
) -> None:
    """Run a command in a pseudo-terminal to its end; it has to succeed.

    Args:
        size: rows, columns, width and height in pixels.
        take: gets what the command writes as it comes, and a function that types an answer.
    """
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("4H", *size))
    process = subprocess.Popen(
        list(map(str, arguments)), stdin=side, stdout=side, stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )  # fmt: skip
    os.close(side)
    while True:
        ready, _, _ = select.select([main], [], [], 60.0)
        try:
            more = os.read(main, 1 << 16) if ready else b""
        except OSError:  # the other end is closed
            more = b""
        if not more:
            break
        take(more, lambda text: os.write(main, text.encode()))
    os.close(main)
    assert process.wait(60) == 0, process.stderr.read() if process.stderr else ""


@dataclass
class Cell:
    char: str = " "
    marks: str = ""
    front: Rgb | None = None
    back: Rgb | None = None


@dataclass(eq=False)
class Terminal:
    """`kitty` and `sixels` say what it can show; it answers the questions about that."""

    kitty: bool = False
    sixels: bool = False
    columns: int = 100
    rows: int = 40
    cell_wh: tuple[int, int] = (10, 20)
    cells: dict[tuple[int, int], Cell] = field(default_factory=dict)
    pictures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)  # kitty's, by id
    placed: dict[int, tuple[int, int]] = field(default_factory=dict)  # columns and rows of each
    chunks: list[int] = field(default_factory=list)  # characters of each part that was sent
    drawn: list[tuple[int, int, NDArray[np.uint8]]] = field(default_factory=list)  # sixels
    _sent: dict[int, str] = field(default_factory=dict)
    _at: tuple[int, int] = (0, 0)
    _kept: tuple[int, int] = (0, 0)
    _front: Rgb | None = None
    _back: Rgb | None = None
    _rest: str = ""

    def run(self, arguments: Sequence[object]) -> None:
        """Let a command write into it to its end."""
        width, height = self.cell_wh
        size = (self.rows, self.columns, self.columns * width, self.rows * height)
        decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character
        run_in_pty(arguments, size, lambda more, answer: self.take(decoder.decode(more), answer))
        assert self._rest == "", "it ended within a sequence"
        assert not self._sent, "the last part of a picture is missing"

    def take(self, text: str, answer: Callable[[str], object]) -> None:
        text, self._rest, at = self._rest + text, "", 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:  # the rest of it is still to come
                self._rest = text[at:]
                return
            at = match.end()
            if match["apc"] is not None:
                assert match["apc"].startswith("G"), match["apc"][:20]
                self._graphics(match["apc"][1:], answer)
            elif match["dcs"] is not None:
                self.drawn.append((*self._at, sixel_picture(match["dcs"])))
            elif match["final"] is not None:
                self._control(match["csi"], match["final"], answer)
            elif match["esc"] is not None:
                self._kept, self._at = (
                    (self._at, self._at) if match["esc"] == "7" else (self._kept, self._kept)
                )
            else:
                self._put(match["char"])

    def line(self, row: int) -> str:
        """A line as text."""
        return "".join(
            self.cells[row, c].char if (row, c) in self.cells else " " for c in range(self.columns)
        )

    def image_at(self, row: int, column: int) -> tuple[int, int, int] | None:
        """Of kitty's placeholder in a cell: the picture's id, and the row and column of it."""
        cell = self.cells.get((row, column))
        if cell is None or cell.char != PLACEHOLDER:
            return None
        assert cell.front is not None
        r, c, high = (NUMBERS.get(m, -1) for m in cell.marks.ljust(3, "\0"))
        red, green, blue = cell.front
        low = red << 16 | green << 8 | blue
        wanted = [i for i in self.pictures if i & 0xFFFFFF == low and (high < 0 or i >> 24 == high)]
        assert len(wanted) == 1, f"no picture {low:06x}"
        return wanted[0], r, c

    def _graphics(self, text: str, answer: Callable[[str], object]) -> None:
        control, _, payload = text.partition(";")
        keys = dict(pair.split("=", 1) for pair in control.split(","))
        number, action = int(keys["i"]), keys.get("a", "t")
        assert 0 < number < 1 << 32
        if action == "q":
            if self.kitty:
                answer(f"\x1b_Gi={number};OK\x1b\\")
            return
        assert self.kitty, "it cannot show this"
        assert keys.get("q") == "2", "an answer would be taken for what somebody types"
        if action == "p":
            assert keys["U"] == "1"
            assert number in self.pictures, "placed before it was sent"
            self.placed[number] = int(keys["c"]), int(keys["r"])
            return
        assert (action, keys["f"]) == ("t", "100")
        assert len(payload) <= MOST_CHUNK
        self.chunks.append(len(payload))
        more = keys["m"] == "1"
        assert not more or len(payload) % 4 == 0
        self._sent[number] = self._sent.get(number, "") + payload
        if not more:
            png = base64.b64decode(self._sent.pop(number), validate=True)
            with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
                self.pictures[number] = np.asarray(picture.convert("RGB"))

    def _control(self, text: str, final: str, answer: Callable[[str], object]) -> None:
        numbers = [int(n) if n else 0 for n in text.lstrip("?").split(";")]
        row, column = self._at
        by = max(1, numbers[0])
        if final == "c":
            answer("\x1b[?62;4c" if self.sixels else "\x1b[?62c")
        elif final == "m":
            self._style(numbers)
        elif final in "ABCD":
            down, right = {"A": (-by, 0), "B": (by, 0), "C": (0, by), "D": (0, -by)}[final]
            self._at = max(0, row + down), max(0, column + right)
        else:
            raise AssertionError(f"CSI {text}{final}")

    def _style(self, numbers: list[int]) -> None:
        while numbers:
            first = numbers.pop(0)
            if first == 0:
                self._front = self._back = None
            elif first in (38, 48):
                assert numbers.pop(0) == 2, "a colour of a palette"
                colour = (numbers.pop(0), numbers.pop(0), numbers.pop(0))
                if first == 38:
                    self._front = colour
                else:
                    self._back = colour

    def _put(self, char: str) -> None:
        row, column = self._at
        if char == "\r":
            self._at = row, 0
        elif char == "\n":
            self._at = row + 1, column  # the line discipline sends \r before it
        elif unicodedata.combining(char):
            self.cells[row, column - 1].marks += char
        else:
            assert char.isprintable() or char == PLACEHOLDER, repr(char)
            self.cells[row, column] = Cell(char, "", self._front, self._back)
            self._at = row, column + 1


def sixel_picture(text: str) -> NDArray[np.uint8]:
    """HxWx3 uint8 of a sixel sequence, between DCS and ST."""
    head, _, body = text.partition("q")
    assert re.fullmatch(r"[\d;]*", head)
    colours: dict[int, Rgb] = {}
    pixels: dict[tuple[int, int], Rgb] = {}
    x, band, colour = 0, 0, (0, 0, 0)
    for match in re.finditer(r'"([\d;]+)|#([\d;]+)|!(\d+)([?-~])|([?-~])|([$-])|(.)', body, re.S):
        _, chosen, times, again, one, motion, other = match.groups()
        assert other is None or other.isspace(), repr(other)
        if chosen is not None:
            number, *rest = map(int, chosen.split(";"))
            if rest:
                assert rest[0] == 2, "a colour that is not RGB"
                colours[number] = tuple(round(v * 255 / 100) for v in rest[1:4])  # type: ignore[assignment]
            colour = colours[number]
        elif motion is not None:
            x, band = 0, band + 6 * (motion == "-")
        elif (sixel := again or one) is not None:
            end = x + int(times or 1)
            bits = [bit for bit in range(6) if ord(sixel) - 63 >> bit & 1]
            pixels |= {(band + bit, column): colour for bit in bits for column in range(x, end)}
            x = end
    height, width = (max(place[k] for place in pixels) + 1 for k in (0, 1))
    image = np.zeros((height, width, 3), np.uint8)
    for (row, column), rgb in pixels.items():
        image[row, column] = rgb
    return image
