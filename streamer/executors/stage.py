"""One operator at work: parcels in, parcels out. All executors run operators through this."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from streamer.errors import ContractError
from streamer.executors.guard import blaming
from streamer.executors.parcel import BEFORE_ALL_NS, Ordered, Parcel
from streamer.interfaces import Operator
from streamer.pipeline import Step
from streamer.records import Record
from streamer.report import StepReport


class Stage:
    """A worker's operator."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.operator: Operator[Any, Any] = step.make()
        self.items_in = 0
        self.items_out = 0
        self.busy_s = 0.0
        self._part = f"step {step.name!r}"

    def setup(self) -> None:
        """Load what the operator needs.

        Raises:
            StreamerError: as the operator raised it, or naming the step for anything else.
        """
        with blaming(self._part, "setup"):
            self.operator.setup()

    def take(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """Work on merged parcels, in order; only the last one may end its stream.

        Raises:
            StreamerError: as the operator raised it, or naming the step for anything else.
        """
        start_s = time.perf_counter()
        # one parcel a stream, in the order in which the streams came
        made: dict[str, list[Ordered]] = {parcel.stream_id: [] for parcel in parcels}
        items = [(parcel.stream_id, *item) for parcel in parcels for item in parcel.records]
        size = max(1, self.operator.batch_size)
        for i in range(0, len(items), size):
            batch = items[i : i + size]
            with blaming(self._part, "process"):
                records = self.operator.process([record for _, _, record in batch])
            least_ns: dict[str, int] = {}
            for stream_id, order_ns, _ in batch:
                least_ns.setdefault(stream_id, order_ns)
            self._sort_in(records, least_ns, made)
        last = parcels[-1]
        if last.end:
            with blaming(self._part, "flush"):
                records = self.operator.flush(last.stream_id)
            self._sort_in(records, {last.stream_id: last.watermark_ns}, made)
        self.items_in += len(items)
        self.items_out += sum(len(records) for records in made.values())
        self.busy_s += time.perf_counter() - start_s
        latest = {parcel.stream_id: parcel for parcel in parcels}
        return [
            replace(latest[stream_id], sender=self.step.name, records=tuple(records))
            for stream_id, records in made.items()
        ]

    def close(self) -> None:
        """Give back what the operator holds."""
        with blaming(self._part, "close"):
            self.operator.close()

    def _sort_in(
        self,
        records: Sequence[Record],
        least_ns: dict[str, int],
        made: dict[str, list[Ordered]],
    ) -> None:
        """Put records to those of their stream, none ordered before the items that caused it."""
        for record in records:
            least = least_ns.get(record.stream_id)
            if least is None:
                raise ContractError(
                    f"{self._part} made a record of stream {record.stream_id!r}, of which it was "
                    "given nothing; outputs keep the stream_id of their inputs"
                )
            made[record.stream_id].append((max(record.order_ns, least), record))


class Rising:
    """Order times of a step that never fall, so that what comes later in it stays later.

    Applied where the outputs of a pool are in the order of its inputs again: the times do not
    depend on which worker did what.
    """

    def __init__(self) -> None:
        self._floor_ns: dict[str, int] = {}

    def lift(self, parcel: Parcel) -> Parcel:
        """The same parcel, no record ordered before an earlier one of its stream."""
        floor_ns = self._floor_ns.get(parcel.stream_id, BEFORE_ALL_NS)
        records: list[Ordered] = []
        for order_ns, record in parcel.records:
            floor_ns = max(floor_ns, order_ns)
            records.append((floor_ns, record))
        self._floor_ns[parcel.stream_id] = floor_ns
        return replace(parcel, records=tuple(records))


def summed(stages: Sequence[Stage]) -> StepReport:
    """The work of a step's workers."""
    return StepReport(
        items_in=sum(stage.items_in for stage in stages),
        items_out=sum(stage.items_out for stage in stages),
        busy_s=round(sum(stage.busy_s for stage in stages), 3),
    )
