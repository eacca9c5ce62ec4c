"""What a sink has to tell while a run goes on: a warning on stderr, or in the logs where somebody
listens to them."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("streamer.sinks")


class _Terminal(logging.Handler):
    """One line on stderr, unless a logger above has a handler of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        above = (*logging.getLogger("streamer").handlers, *logging.getLogger().handlers)
        if all(isinstance(handler, logging.NullHandler) for handler in above):
            print(self.format(record), file=sys.stderr, flush=True)


log.addHandler(_Terminal(logging.WARNING))
