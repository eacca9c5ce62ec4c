"""The live view of a run: what is read, how fast, what was found, what waits where."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from streamer.clock import format_ns
from streamer.report import Tally

_LINE_EVERY_S = 5.0


class Progress:
    """Shows a tally while it changes: live in a terminal, a line every few seconds elsewhere.

    Args:
        tally: what to show.
        console: where; usually standard error.
        quiet: show nothing.
    """

    def __init__(self, tally: Tally, console: Console, *, quiet: bool = False) -> None:
        self.tally = tally
        self.console = console
        self.quiet = quiet
        self._done = threading.Event()
        self._live: Live | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self.quiet:
            return self
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._view,
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._lines, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def line(self) -> str:
        """One line of what has been done so far."""
        tally = self.tally
        elapsed_s = self._elapsed_s()
        if not tally.frames:
            return "starting: opening the input, loading models"
        media_ns, total_ns = tally.media_ns, self._total_ns()
        speed = media_ns / 1e9 / elapsed_s if elapsed_s else 0.0
        parts = [f"{tally.frames} frames", format_ns(media_ns)]
        if total_ns:
            parts[-1] += f" of {format_ns(total_ns)} ({min(1.0, media_ns / total_ns):.0%})"
        parts.append(f"{speed:.2f}x real time")
        events = tally.events
        parts.append(f"{events.get('track_start', 0)} tracks, {tally.captions} captions")
        if total_ns and speed:
            parts.append(f"{max(0.0, (total_ns - media_ns) / 1e9 / speed):.0f} s left")
        return "  ".join(parts)

    def _elapsed_s(self) -> float:
        # counted from the first frame on: loading is not speed
        started_s = self.tally.started_s
        return 0.0 if started_s is None else time.perf_counter() - started_s

    def _total_ns(self) -> int:
        return sum(info.duration_ns or 0 for info in self.tally.streams)

    def _view(self) -> Group:
        total_ns = self._total_ns()
        waiting = "  ".join(f"{name} {depth}" for name, depth in self.tally.queued.items())
        rows: list[Text | ProgressBar] = [Text(self.line())]
        if total_ns:
            rows.append(ProgressBar(total=total_ns, completed=self.tally.media_ns, width=60))
        if waiting:
            rows.append(Text(f"waiting: {waiting}", style="dim"))
        return Group(*rows)

    def _lines(self) -> None:
        while not self._done.wait(_LINE_EVERY_S):
            self.console.print(self.line(), highlight=False, soft_wrap=True)
