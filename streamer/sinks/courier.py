"""Takes records from an outbox to its broker, on a thread of its own."""

from __future__ import annotations

import random
import threading
import time
import traceback
from dataclasses import dataclass, field

from streamer.errors import OutputError
from streamer.sinks.broker import Broker, Message, NotNowError, UnavailableError
from streamer.sinks.notices import log
from streamer.sinks.outbox import Outbox

_FIRST_WAIT_S = 0.25
_LONGEST_ASKED_S = 600.0
_TRIES = 8  # after which a record is held for the cause, if others are taken
_SHARE = 3  # a stream that waits for an answer gets at most a quarter of the time


@dataclass(eq=False)
class _Lane:
    """A stream whose oldest records the broker did not take, though it is there.

    `tries` and `since_s` (of the monotonic clock) are those of its records, by their seq.
    """

    due_s: float = 0.0
    rounds: int = 0
    tries: dict[int, int] = field(default_factory=dict)
    since_s: dict[int, float] = field(default_factory=dict)

    def note(self, message: Message, now_s: float) -> None:
        """It was not taken once more."""
        self.tries[message.seq] = self.tries.get(message.seq, 0) + 1
        self.since_s.setdefault(message.seq, now_s)

    def is_suspect(self, message: Message) -> bool:
        """Whether it was tried so often that the next of its stream is tried too."""
        return self.tries.get(message.seq, 0) >= _TRIES

    def reason(self, message: Message, error: str, now_s: float) -> str:
        """Why it is given up."""
        seconds = now_s - self.since_s[message.seq]
        return f"{error} ({self.tries[message.seq]} attempts in {seconds:.0f} s)"


class Courier:
    """Delivers the records of an outbox, in order per stream, for as long as it runs.

    A broker that takes nothing is tried again after pauses that double up to `retry_s`, each
    between half and the whole of that, so that many senders do not come back at once. What is
    wrong is said once, and again when the reason changes or the broker is back.

    A broker that is there and does not take one record keeps only that record's stream waiting,
    with pauses of its own. After eight attempts the next record of the stream is tried behind it:
    when that is taken, and the first is not once more, the cause lay in the first, which goes to
    the dead letters (taken now, it comes behind the other: the broker was back just in between);
    when the next is not taken either, both wait. What was not taken for `give_up_s` goes there in
    any case.

    Args:
        outbox: what to deliver; the owner closes it, after `stop`.
        broker: where to.
        retry_s: the longest pause before another attempt, in seconds.
        give_up_s: how long a record is tried that the broker does not take though it is there.
    """

    def __init__(
        self, outbox: Outbox, broker: Broker, *, retry_s: float, give_up_s: float = 86_400.0
    ) -> None:
        self.outbox = outbox
        self.broker = broker
        self.retry_s = retry_s
        self.give_up_s = give_up_s
        self.delivered = 0
        self.trouble = ""
        self.failure: OutputError | None = None
        self._since_s = 0.0
        self._tries = 0
        self._lanes: dict[str, _Lane] = {}
        self._connected = False
        self._told_refusal = False
        self._stop = threading.Event()
        self._more = threading.Event()
        self._hurry = threading.Event()  # ends a pause
        self._idle = threading.Event()  # nothing to do before the next pause is over
        self._thread = threading.Thread(target=self._guarded, daemon=True, name=broker.shown)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There is more in the outbox."""
        self._idle.clear()
        self._more.set()

    def stop(self, patience_s: float) -> None:
        """End, when everything is delivered or after `patience_s` seconds. A broker that is away,
        and a stream that it does not take, is tried once more and no longer waited for when that
        fails."""
        end_s, tries = time.monotonic() + patience_s, self._tries
        self._idle.clear()
        self._hurry.set()
        self._more.set()
        while self._thread.is_alive() and time.monotonic() < end_s:
            tried = self._idle.wait(0.02) and not self._hurry.is_set()
            if tried or self._tries > tries:
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
            if self._hurry.is_set():
                self._idle.clear()
                self._hurry.clear()
                for lane in self._lanes.values():
                    lane.due_s = 0.0
            now_s = time.monotonic()
            due = [name for name, lane in self._lanes.items() if lane.due_s <= now_s]
            if due and not self._again(min(due, key=lambda name: self._lanes[name].due_s)):
                continue
            batch = self.outbox.oldest(self.broker.batch_size, apart_from=self._lanes)
            if batch:
                self._send_new(batch)
            elif not due:
                self._idle.set()
                next_s = min((lane.due_s for lane in self._lanes.values()), default=None)
                self._more.wait(None if next_s is None else max(0.0, next_s - time.monotonic()))

    def _send_new(self, batch: list[Message]) -> None:
        """Records of streams that are well."""
        begun_s = time.monotonic()
        try:
            refused = self._send(batch)
        except NotNowError as error:
            lane = self._lanes[batch[0].stream_id] = _Lane()
            lane.note(batch[0], begun_s)
            self._set_aside(lane, error, begun_s)
        except Exception as error:
            self._failed(error)
        else:
            self.outbox.settle(batch, refused)
            self._succeeded(len(batch) - len(refused), list(refused.values()))

    def _again(self, stream_id: str) -> bool:
        """Try a stream that was set aside; False when the broker is away."""
        lane = self._lanes[stream_id]
        begun_s = time.monotonic()
        failed: list[tuple[Message, NotNowError]] = []
        for message in self.outbox.oldest(len(lane.tries) + 1, of=stream_id):
            if self._stop.is_set():
                return True
            try:
                refused = self._send([message])
            except NotNowError as error:
                lane.note(message, begun_s)
                failed.append((message, error))
                if not lane.is_suspect(message):
                    break
            except Exception as error:
                self._failed(error)
                return False
            else:  # then those before it fail for themselves, unless it was back only now
                self.outbox.settle([message], refused)
                self._succeeded(1 - len(refused), list(refused.values()))
                if not self._last_try(lane, failed):
                    return False
                del self._lanes[stream_id]
                return True
        now_s = time.monotonic()
        self._give_up(lane, [f for f in failed if now_s - lane.since_s[f[0].seq] > self.give_up_s])
        if failed:
            self._set_aside(lane, failed[-1][1], begun_s)
        else:  # dropped in the meantime
            del self._lanes[stream_id]
        return True

    def _last_try(self, lane: _Lane, failed: list[tuple[Message, NotNowError]]) -> bool:
        """Records that were not taken while the one behind them was: once more, then they are
        given up; False when the broker is away."""
        for message, _ in failed:
            try:
                refused = self._send([message])
            except NotNowError as error:
                lane.note(message, time.monotonic())
                self._give_up(lane, [(message, error)])
            except Exception as error:
                self._failed(error)
                return False
            else:
                self.outbox.settle([message], refused)
                self._succeeded(1 - len(refused), list(refused.values()))
        return True

    def _send(self, batch: list[Message]) -> dict[int, str]:
        if not self._connected:
            self.broker.connect()
            self._connected = True
        return self.broker.send(batch)

    def _give_up(self, lane: _Lane, failed: list[tuple[Message, NotNowError]]) -> None:
        now_s = time.monotonic()
        reasons = {m.seq: lane.reason(m, str(error), now_s) for m, error in failed}
        self.outbox.settle([message for message, _ in failed], reasons)
        self._tell_refusal(list(reasons.values()))
        for seq in reasons:
            lane.tries.pop(seq)
            lane.since_s.pop(seq)

    def _set_aside(self, lane: _Lane, error: NotNowError, begun_s: float) -> None:
        self._tell_trouble(str(error))
        now_s = time.monotonic()
        pause_s = max(self._pause_s(lane.rounds, error), _SHARE * (now_s - begun_s))
        lane.rounds += 1
        lane.due_s = now_s + pause_s

    def _failed(self, error: Exception) -> None:
        self._connected = False
        self.broker.close()
        if isinstance(error, UnavailableError | OutputError):
            reason = str(error)
        else:  # an adapter's own mistake must not stop the other sinks; its text may hold a secret
            reason = f"{type(error).__name__} in {type(self.broker).__name__}"
            log.debug("%s", "".join(traceback.format_tb(error.__traceback__)))
        self._tell_trouble(reason)
        pause_s = self._pause_s(self._tries, error)
        self._tries += 1
        self._hurry.wait(pause_s)

    def _pause_s(self, tries: int, error: Exception) -> float:
        pause_s = min(self.retry_s, _FIRST_WAIT_S * 2.0 ** min(tries, 30))
        pause_s *= random.uniform(0.5, 1.0)
        asked_s = error.wait_s if isinstance(error, UnavailableError) else 0.0
        return max(pause_s, min(asked_s, _LONGEST_ASKED_S))

    def _tell_trouble(self, reason: str) -> None:
        if not self.trouble:
            self._since_s = time.monotonic()
        if reason != self.trouble:
            self.trouble = reason
            log.warning(
                "%s: %s; records wait in %s until it is back",
                self.broker.shown, reason, self.outbox.path,
            )  # fmt: skip

    def _tell_refusal(self, reasons: list[str]) -> None:
        if reasons and not self._told_refusal:  # how many there were is said at the end
            self._told_refusal = True
            log.warning(
                "%s refuses a record for itself (%s); such are kept in %s",
                self.broker.shown, reasons[0], self.outbox.dead_path,
            )  # fmt: skip

    def _succeeded(self, count: int, refused: list[str]) -> None:
        self.delivered += count
        self._tell_refusal(refused)
        self._tries = 0
        if self._lanes:
            return
        if self.trouble:
            seconds = time.monotonic() - self._since_s
            log.warning("%s is back after %.1f s", self.broker.shown, seconds)
        self.trouble = ""
