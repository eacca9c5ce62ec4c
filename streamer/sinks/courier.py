"""Takes records from an outbox to its broker, on a thread of its own."""

from __future__ import annotations

import random
import threading
import time
import traceback

from streamer.errors import OutputError
from streamer.sinks.broker import Broker, UnavailableError
from streamer.sinks.notices import log
from streamer.sinks.outbox import Outbox

_FIRST_WAIT_S = 0.25
_LONGEST_ASKED_S = 600.0


class Courier:
    """Delivers the records of an outbox in order, for as long as it runs.

    A broker that takes nothing is tried again after pauses that double up to `retry_s`, each
    between half and the whole of that, so that many senders do not come back at once. What is
    wrong is said once, and again when the reason changes or the broker is back.

    Args:
        outbox: what to deliver; the owner closes it, after `stop`.
        broker: where to.
        retry_s: the longest pause before another attempt, in seconds.
    """

    def __init__(self, outbox: Outbox, broker: Broker, *, retry_s: float) -> None:
        self.outbox = outbox
        self.broker = broker
        self.retry_s = retry_s
        self.delivered = 0
        self.trouble = ""
        self.failure: OutputError | None = None
        self._since_s = 0.0
        self._tries = 0
        self._connected = False
        self._told_refusal = False
        self._stop = threading.Event()
        self._more = threading.Event()
        self._hurry = threading.Event()  # ends a pause
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True, name=broker.shown)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is more in the outbox."""
        self._idle.clear()
        self._more.set()

    def stop(self, patience_s: float) -> None:
        """End, when everything is delivered or after `patience_s` seconds. A broker that is away
        is tried once more, and no longer waited for when that fails."""
        end_s, tries = time.monotonic() + patience_s, self._tries
        self._hurry.set()
        while self._thread.is_alive() and time.monotonic() < end_s:
            if (self._idle.wait(0.02) and not self.outbox.waiting) or self._tries > tries:
                break
        self._stop.set()
        self._more.set()
        self._hurry.set()
        if self._thread.ident is not None:
            self._thread.join(30.0)  # a broker's calls end within seconds; a resolver's may not

    @property
    def running(self) -> bool:
        """Whether it still tries."""
        return self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run()
        except OutputError as error:  # the disk
            self.failure = error
        finally:
            self.broker.close()
            self._idle.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._more.clear()
            batch = self.outbox.oldest(self.broker.batch_size)
            if not batch:
                self._idle.set()
                self._more.wait()
                continue
            try:
                if not self._connected:
                    self.broker.connect()
                    self._connected = True
                refused = self.broker.send(batch)
            except Exception as error:
                self._failed(error)
                continue
            self.outbox.settle(batch, refused)
            self._succeeded(len(batch) - len(refused), list(refused.values()))

    def _failed(self, error: Exception) -> None:
        self._connected = False
        self.broker.close()
        if isinstance(error, UnavailableError | OutputError):
            reason = str(error)
        else:  # an adapter's own mistake must not stop the other sinks; its text may hold a secret
            reason = f"{type(error).__name__} in {type(self.broker).__name__}"
            log.debug("%s", "".join(traceback.format_tb(error.__traceback__)))
        if not self.trouble:
            self._since_s = time.monotonic()
        if reason != self.trouble:
            self.trouble = reason
            log.warning(
                "%s: %s; records wait in %s until it is back",
                self.broker.shown, reason, self.outbox.path,
            )  # fmt: skip
        pause_s = min(self.retry_s, _FIRST_WAIT_S * 2.0 ** min(self._tries, 30))
        self._tries += 1
        pause_s *= random.uniform(0.5, 1.0)
        if isinstance(error, UnavailableError):
            pause_s = max(pause_s, min(error.wait_s, _LONGEST_ASKED_S))
        if self._hurry.wait(pause_s):
            self._hurry.clear()

    def _succeeded(self, count: int, refused: list[str]) -> None:
        self.delivered += count
        if refused and not self._told_refusal:  # how many there were is said at the end
            self._told_refusal = True
            log.warning(
                "%s refuses a record for itself (%s); such are kept in %s",
                self.broker.shown, refused[0], self.outbox.dead_path,
            )  # fmt: skip
        if self.trouble:
            seconds = time.monotonic() - self._since_s
            log.warning("%s is back after %.1f s", self.broker.shown, seconds)
        self.trouble = ""
        self._tries = 0
