"""One operator at work: parcels in, parcels out. All executors run operators through this."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from streamer.errors import ContractError, StreamerError
from streamer.executors.parcel import Ordered, Parcel
from streamer.interfaces import Operator
from streamer.pipeline import Step
from streamer.records import Caption, Event, Record

_BEFORE_ALL = -(1 << 62)


class Stage:
    """A worker's operator, and the order of what it makes."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.operator: Operator[Any, Any] = step.make()
        self.items_in = 0
        self.items_out = 0
        self.busy_s = 0.0
        self._counted: Counter[str] = Counter()
        self._floor_ns: dict[str, int] = {}
        self._uncertainty_ns: dict[str, int] = {}

    def setup(self) -> None:
        """Load what the operator needs.

        Raises:
            StreamerError: as the operator raised it, or naming the step for anything else.
        """
        try:
            self.operator.setup()
        except StreamerError:
            raise
        except Exception as error:
            raise _broken(self.step.name, "setup", error) from error

    def take(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Work on merged parcels, in order; only the last one may end its stream.

        Raises:
            StreamerError: as the operator raised it, or naming the step for anything else.
        """
        start_s = time.perf_counter()
        try:
            outputs = self._process([item for parcel in parcels for item in parcel.records])
            last = parcels[-1]
            if last.end:
                flushed = self.operator.flush(last.stream_id)
                outputs += self._ordered(self._stamped(flushed), last.watermark_ns)
        except StreamerError:
            raise
        except Exception as error:
            raise _broken(self.step.name, "process", error) from error
        finally:
            self.busy_s += time.perf_counter() - start_s
        self.items_out += len(outputs)
        return self._packed(parcels, outputs)

    def newly_counted(self) -> dict[str, int]:
        """What the operator has counted since this was last asked."""
        now = Counter(self.operator.counted())
        new, self._counted = now - self._counted, now
        return dict(new)

    def snapshot(self, stream_id: str) -> bytes:
        """The state of a stream, for `restore` in another worker.

        Raises:
            StreamerError: as the operator raised it, or naming the step for anything else.
        """
        try:
            state = self.operator.snapshot(stream_id)
        except StreamerError:
            raise
        except Exception as error:
            raise _broken(self.step.name, "snapshot", error) from error
        return pickle.dumps((self._floor_ns.get(stream_id), state))

    def restore(self, stream_id: str, snapshot: bytes) -> None:
        """Go on with a stream where `snapshot` was taken.

        Raises:
            StreamerError: as the operator raised it, or naming the step for anything else.
        """
        floor_ns, state = pickle.loads(snapshot)
        if floor_ns is not None:
            self._floor_ns[stream_id] = floor_ns
        try:
            self.operator.restore(stream_id, state)
        except StreamerError:
            raise
        except Exception as error:
            raise _broken(self.step.name, "restore", error) from error

    def close(self) -> None:
        """Give back what the operator holds."""
        self.operator.close()

    def _process(self, items: list[Ordered]) -> list[Ordered]:
        outputs: list[Ordered] = []
        for batch in self._batches(items):
            self.items_in += len(batch)
            for _, record in batch:
                self._uncertainty_ns[record.stream_id] = record.uncertainty_ns
            made = self.operator.process([record for _, record in batch])
            outputs += self._ordered(self._stamped(made), batch[0][0])
        return outputs

    def _stamped(self, records: Sequence[Record]) -> list[Record]:
        """What an operator makes is as uncertain in time as what it is made of; operators need not
        care."""
        return [
            replace(record, uncertainty_ns=uncertainty_ns)
            if isinstance(record, Event | Caption)
            and not record.uncertainty_ns
            and (uncertainty_ns := self._uncertainty_ns.get(record.stream_id, 0))
            else record
            for record in records
        ]

    def _batches(self, items: list[Ordered]) -> Iterator[list[Ordered]]:
        """Up to `batch_size` items at once. One that was held back on its way goes alone: what is
        made of it takes its place in the order, not that of another item in the batch."""
        size = max(1, self.operator.batch_size)
        batch: list[Ordered] = []
        for item in items:
            held_back = item[0] > item[1].order_ns
            if batch and (held_back or len(batch) == size):
                yield batch
                batch = []
            if held_back:
                yield [item]
            else:
                batch.append(item)
        if batch:
            yield batch

    def _ordered(self, records: Sequence[Record], least_ns: int) -> list[Ordered]:
        """Order times that never fall, so that what comes later in the step stays later.

        Workers of a pool know only some of the items, and after a death not in their order: there
        each record is ordered by itself.
        """
        if not self.operator.keyed:
            return [(max(record.order_ns, least_ns), record) for record in records]
        if self.operator.delay_ns:  # it may have waited for an item that came much later
            least_ns = _BEFORE_ALL
        ordered = []
        for record in records:
            floor = max(self._floor_ns.get(record.stream_id, least_ns), least_ns)
            self._floor_ns[record.stream_id] = max(floor, record.order_ns)
            ordered.append((self._floor_ns[record.stream_id], record))
        return ordered

    def _packed(self, parcels: Sequence[Parcel], outputs: list[Ordered]) -> list[Parcel]:
        """One parcel a stream, in the order in which the streams came."""
        last = {parcel.stream_id: parcel for parcel in parcels}
        by_stream: dict[str, list[Ordered]] = {stream_id: [] for stream_id in last}
        for item in outputs:
            if item[1].stream_id not in by_stream:
                raise ContractError(
                    f"step {self.step.name!r} made a record of stream {item[1].stream_id!r}, "
                    f"from which it was given nothing"
                )
            by_stream[item[1].stream_id].append(item)
        return [
            Parcel(
                self.step.name,
                stream_id,
                parcel.watermark_ns - self.operator.delay_ns,
                tuple(by_stream[stream_id]),
                parcel.end,
            )
            for stream_id, parcel in last.items()
        ]


def _broken(step: str, method: str, error: Exception) -> ContractError:
    return ContractError(
        f"step {step!r} failed in {method}(): {type(error).__name__}: {error}; "
        "this is a bug in the step, run with --debug to see where"
    )
