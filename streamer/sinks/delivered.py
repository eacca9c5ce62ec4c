"""The sink behind all brokers: records go into an outbox, and from there to the broker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from streamer.errors import ContractError, OutputError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo
from streamer.sinks.broker import Broker, Message
from streamer.sinks.courier import Courier
from streamer.sinks.notices import log
from streamer.sinks.outbox import ENDING, Outbox

_REMEMBERED = 1 << 16


class Delivered(Sink[Caption | Event]):
    """Captions and events to a broker, at least once, in order per stream; a consumer that keeps
    the ids it has seen sees each once.

    Records wait in an outbox on disk until the broker has taken them, so that a broker that is
    slow, away or refusing never stalls the run, and neither its end nor that of this process
    loses any. What still waits at the end of a run is delivered by the next one with the same
    outbox, or by `streamer deliver`. Records that the broker refuses for themselves (too large,
    not to its schema) go to OUTBOX.dead.jsonl with the reason.

    A webhook may answer a record with an error, or not at all, and take others. Then the record's
    stream waits and the others go on; after eight attempts the next of the stream is tried too,
    and when that is taken and the first once more is not, it goes to the dead letters; taken then,
    it comes behind the other, the one case in which order is not kept. So a receiver that is away
    for a while costs nothing, and a record that it never takes holds nothing up.

    Args:
        outbox: the file; ends in .outbox. Each sink has its own.
        partial: also send captions whose end is not known yet (`end_ns` null); the same id follows
            again with its end.
        max_waiting: how many records may wait; then the oldest are dropped, which is said.
        retry_s: the longest pause before another attempt, in seconds.
        give_up_s: how long a record is tried that is answered with an error, in seconds; then it
            goes to the dead letters, whatever becomes of others.
        ordered: merge what several steps send into the order of media time, the same in every run;
            alerts then wait for captions of the same moment. Without, each goes at once.
        drain_s: how long the end of a run waits for what is still to be delivered, in seconds;
            no longer than until the broker fails.
        settings: those of the broker.
    """

    broker: ClassVar[type[Broker]]

    @classmethod
    def settings_class(cls, arguments: dict[str, Any]) -> type[Broker]:
        """Whose constructor tells the other settings."""
        return cls.broker

    def __init__(
        self,
        outbox: str,
        partial: bool = False,
        max_waiting: int = 100_000,
        retry_s: float = 30.0,
        give_up_s: float = 86_400.0,
        drain_s: float = 10.0,
        ordered: bool = False,
        **settings: Any,
    ) -> None:
        self.path = Path(outbox)
        if self.path.suffix != ENDING:
            raise ValueError(f"outbox is {outbox!r}; it ends in {ENDING}")
        if max_waiting < 1:
            raise ValueError(f"max_waiting is {max_waiting}; at least 1")
        for name, value in (
            ("retry_s", retry_s),
            ("give_up_s", give_up_s),
            ("drain_s", drain_s),
        ):
            if value <= 0:
                raise ValueError(f"{name} is {value}; wanted more than 0")
        self.ordered = ordered
        self.partial = partial
        self.max_waiting = max_waiting
        self.retry_s = retry_s
        self.give_up_s = give_up_s
        self.drain_s = drain_s
        self._settings = settings
        self._broker = self.broker(**settings)
        self._live: set[str] = set()
        self._outbox: Outbox | None = None
        self._courier: Courier | None = None
        self._seen: dict[str, None] = {}

    @property
    def waiting(self) -> int:
        """How many records are still to be delivered, while it is open."""
        return 0 if self._outbox is None else self._outbox.waiting

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._broker.ready()
        self._live = {info.stream_id for info in streams if info.begin_ns}
        self._outbox = Outbox(self.path, self.max_waiting)
        kind = type(self._broker)
        self._outbox.about = {
            "broker": f"{kind.__module__}.{kind.__qualname__}",
            "settings": self._settings,
        }
        self._courier = Courier(
            self._outbox, self._broker, retry_s=self.retry_s, give_up_s=self.give_up_s
        )
        self._courier.start()

    def write(self, record: Caption | Event) -> None:
        outbox, courier = self._outbox, self._courier
        if outbox is None or courier is None:
            raise RuntimeError("open() comes before write()")
        if courier.failure is not None:
            raise courier.failure
        key = record.id
        if isinstance(record, Caption) and record.end_ns is None:
            if not self.partial:
                return
            key += "-open"
        if key in self._seen:
            return
        before = outbox.dropped
        if outbox.put([self._message(record, key)]) and not before:
            log.warning(
                "%s is full (%d records); the oldest are dropped until %s takes some",
                outbox.path, self.max_waiting, self._broker.shown,
            )  # fmt: skip
        courier.wake()
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def flush(self) -> None:
        if self._outbox is not None:
            self._outbox.flush()

    def close(self) -> None:
        outbox, self._outbox = self._outbox, None
        courier, self._courier = self._courier, None
        if outbox is None or courier is None:
            return
        courier.stop(self.drain_s)
        waiting = outbox.waiting
        outbox.close()
        if outbox.dropped:
            log.warning("%s was full: %d records were dropped", outbox.path, outbox.dropped)
        if outbox.buried:
            log.warning(
                "%s refused %d records for themselves; `streamer deliver --dead %s` tries again",
                self._broker.shown, outbox.buried, outbox.path,
            )  # fmt: skip
        if waiting:
            log.warning(
                "%s: %d records wait in %s; `streamer deliver %s` sends them",
                self._broker.shown, waiting, outbox.path, outbox.path,
            )  # fmt: skip
        if courier.failure is not None:
            raise courier.failure

    def _message(self, record: Caption | Event, key: str) -> Message:
        data = record.to_json()
        try:
            body = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise ContractError(f"{data['record']} {data['id']} is not JSON: {error}") from None
        live = record.stream_id in self._live
        return Message(
            seq=0,
            key=key,
            stream_id=record.stream_id,
            record=data["record"],
            kind=record.kind if isinstance(record, Event) else "caption",
            unix_ns=_at_ns(record) if live else None,
            body=body,
        )


def _at_ns(record: Caption | Event) -> int:
    return record.time_ns if isinstance(record, Event) else record.asked_ns


def broker_of(about: dict[str, Any], path: Path) -> Broker:
    """The broker that an outbox is for.

    Raises:
        OutputError: when it does not say, or what it says is none.
    """
    module_name, _, name = str(about.get("broker", "")).rpartition(".")
    try:
        kind = getattr(__import__(module_name, fromlist=[name]), name)
        if not (isinstance(kind, type) and issubclass(kind, Broker)):
            raise TypeError(f"{name} is no broker")
        return kind(**about["settings"])
    except (ImportError, AttributeError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{path} does not say for which broker it is ({error}); run its pipeline again"
        ) from None
