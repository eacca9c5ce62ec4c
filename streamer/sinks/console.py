"""Words and events in the terminal, as they come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from rich.console import Console as Terminal
from rich.text import Text

from streamer.clock import format_ns
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo

_COLOURS = {"input_error": "red", "gap": "yellow", "caption_error": "red", "tracks_full": "yellow"}


class Console(Sink[Caption | Event]):
    """One line each, at once: when, which stream, which track, what. Live streams are shown in the
    local time of this machine. A caption is shown when it is made, not again when it ends.

    Args:
        track_events: also say when tracks start and end.
    """

    def __init__(self, track_events: bool = False) -> None:
        self.hidden = set() if track_events else {"track_start", "track_end"}
        # beside the progress, which is on stderr
        self._terminal = Terminal(highlight=False, emoji=False)
        self._live: set[str] = set()

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._live = {info.stream_id for info in streams if info.begin_ns}

    def join(self, info: StreamInfo) -> None:
        if info.begin_ns:
            self._live.add(info.stream_id)

    def write(self, record: Caption | Event) -> None:
        if isinstance(record, Caption):
            if record.end_ns is None:
                self._say(record.asked_ns, record, record.detail or record.text, "")
        elif record.kind not in self.hidden:
            said = f"{record.kind}: {self._about(record)}".rstrip(": ")
            self._say(record.time_ns, record, said, _COLOURS.get(record.kind, "cyan"))

    def _say(self, time_ns: int, record: Caption | Event, said: str, style: str) -> None:
        track = f"#{record.track_id}" if record.track_id is not None else ""
        when = self._when(record.stream_id, time_ns)
        line = Text.assemble((when, "dim"), f"  {record.stream_id}  {track:>5}  ", (said, style))
        self._terminal.print(line, soft_wrap=True)

    def _about(self, event: Event) -> str:
        if event.kind == "gap":
            seconds = (event.data["until_ns"] - event.time_ns) / 1e9
            frames = event.data["frames"]
            lost = "" if frames is None else f", {frames} frames"
            return f"{seconds:.1f} s{lost} ({event.data['reason']})"
        return str(event.data.get("rule") or event.data.get("reason") or "")

    def _when(self, stream_id: str, time_ns: int) -> str:
        if stream_id not in self._live:
            return format_ns(time_ns)
        moment = datetime.fromtimestamp(time_ns // 10**9, timezone.utc).astimezone()
        return f"{moment:%H:%M:%S}.{time_ns // 10**6 % 1000:03}"
