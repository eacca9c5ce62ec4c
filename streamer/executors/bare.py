"""The same parts called in one plain loop: the reference for order, and for what queues cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from streamer.executors.merge import Merge
from streamer.executors.parcel import Parcel
from streamer.executors.stage import Stage
from streamer.interfaces import Sink, Source
from streamer.pipeline import SOURCE, Output, Pipeline
from streamer.records import Frame, StreamInfo, StreamLeft
from streamer.report import RunReport, StepReport, Tally


def run_bare(pipeline: Pipeline) -> RunReport:
    """Run a pipeline in the calling thread, one input at a time.

    Raises:
        StreamerError: from a part; everything is closed first.
    """
    tally = Tally()
    source = pipeline.make_source()
    stages = [Stage(step) for step in pipeline.steps]
    sinks = [(output, output.make()) for output in pipeline.outputs]
    opened: list[Sink[Any]] = []
    started_s = time.perf_counter()
    try:
        tally.streams = tuple(source.open())
        for _, sink in sinks:
            opened.append(sink)
            sink.open(tally.streams)
        for stage in stages:
            stage.setup()
        ready_s = time.perf_counter()
        _loop(pipeline, tally, source, stages, sinks)
        for _, sink in sinks:
            sink.flush()
    finally:
        closers = [stage.close for stage in stages]
        for close in (*closers, source.close, *(sink.close for sink in opened)):
            close()
    return tally.report(
        wall_s=time.perf_counter() - ready_s,
        setup_s=ready_s - started_s,
        stopped=False,
        steps={
            stage.step.name: StepReport(
                items_in=stage.items_in, items_out=stage.items_out, busy_s=round(stage.busy_s, 3)
            )
            for stage in stages
        },
    )


def _loop(
    pipeline: Pipeline,
    tally: Tally,
    source: Source,
    stages: list[Stage],
    sinks: list[tuple[Output, Sink[Any]]],
) -> None:
    merges = {node.name: Merge(sorted(node.inputs, key=pipeline.rank)) for node in pipeline.readers}
    for first in _parcels(source, tally):
        if first.begins is not None:
            for _, sink in sinks:
                sink.join(first.begins)
            continue
        made: dict[str, list[Parcel]] = {SOURCE: [first]}
        for stage in stages:
            made[stage.step.name] = []
            for name in sorted(stage.step.inputs, key=pipeline.rank):
                for parcel in made[name]:
                    mine = parcel.holding(pipeline.carried(name, stage.step))
                    merged = merges[stage.step.name].push(mine)
                    made[stage.step.name] += stage.take([merged])
            for parcel in made[stage.step.name]:
                tally.made([record for _, record in parcel.records])
        for output, sink in sinks:
            for name in sorted(output.inputs, key=pipeline.rank):
                for parcel in made[name]:
                    mine = parcel.holding(pipeline.carried(name, output))
                    for _, record in (
                        merges[output.name].push(mine) if sink.ordered else mine
                    ).records:
                        sink.write(record)


def _parcels(source: Source, tally: Tally) -> Iterator[Parcel]:
    last_ns = {info.stream_id: 0 for info in tally.streams}
    for record in source.read():
        if isinstance(record, StreamInfo):
            tally.joined(record)
            last_ns[record.stream_id] = 0
            yield Parcel(SOURCE, record.stream_id, 0, (), begins=record)
            continue
        if isinstance(record, StreamLeft):
            tally.left(record.stream_id)
            if (order_ns := last_ns.pop(record.stream_id, None)) is not None:
                yield Parcel(SOURCE, record.stream_id, order_ns, (), end=True)
            continue
        if isinstance(record, Frame):
            tally.frame(record.stream_id, record.time_ns)
        order_ns = max(record.order_ns, last_ns[record.stream_id])
        last_ns[record.stream_id] = order_ns
        tally.made([record])
        yield Parcel(SOURCE, record.stream_id, order_ns, ((order_ns, record),))
    for stream_id, order_ns in last_ns.items():
        yield Parcel(SOURCE, stream_id, order_ns, (), end=True)
