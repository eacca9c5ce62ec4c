"""Streams that join and leave a run that goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from streamer.executors.bare import run_bare
from streamer.executors.local import run_local
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Event, Frame, StreamInfo, StreamLeft
from streamer.report import RunReport, Tally
from streamer.testing import ListSink, ListSource, describe
from tests.streamer.example_parts import Count, Mark, Say
from tests.streamer.test_executors import of_stream, two_streams

FRAMES = 30


class Coming(ListSource):
    """`a` is there from the start, `b` joins, `a` leaves, `c` joins and leaves without a frame."""

    def open(self) -> list[StreamInfo]:
        return [info for info in super().open() if info.stream_id == "a"]

    def read(self) -> Iterator[Frame | Event | StreamInfo | StreamLeft]:
        for number, record in enumerate(self.records):
            if number == 10:
                yield StreamInfo(stream_id="b", uri="b", width_px=6, height_px=4)
            if number >= 10 or record.stream_id == "a":
                yield record
        yield StreamLeft(stream_id="a")
        yield StreamInfo(stream_id="c", uri="c", width_px=6, height_px=4)
        yield StreamLeft(stream_id="c")
        yield StreamLeft(stream_id="never there")


class Told(ListSink):
    """Remembers who joined, in the order of what was written."""

    def join(self, info: StreamInfo) -> None:
        self.records.append(Event(stream_id=info.stream_id, time_ns=0, kind="joined"))


def ran(run: Any, source: ListSource, workers: int, **options: Any) -> tuple[list[Any], RunReport]:
    sink = Told()
    pipeline = Pipeline(
        make_source=lambda: source,
        steps=(
            Step(name="track", operator=Mark, make=Mark, workers=workers),
            Step(name="caption", operator=Say, make=Say, inputs=("track",), workers=workers),
            Step(name="count", operator=Count, make=Count, inputs=("caption", "track")),
        ),
        outputs=(Output(name="list", sink=Told, make=lambda: sink, inputs=("track", "count")),),
    )
    report = run(pipeline, **options)
    return [describe(r) for r in sink.records], report


@pytest.mark.parametrize(("workers", "queue_size"), [(1, 1), (2, 2), (3, 16)])
def test_streams_join_and_leave(workers: int, queue_size: int) -> None:
    records = two_streams(FRAMES)
    tally = Tally()
    got, report = ran(run_local, Coming(records), workers, queue_size=queue_size, tally=tally)
    wanted, _ = ran(run_bare, Coming(records), 1)
    for stream_id in ("a", "b", "c"):
        assert of_stream(got, stream_id) == of_stream(wanted, stream_id)
    assert of_stream(got, "b")[0]["kind"] == of_stream(got, "c")[0]["kind"] == "joined"
    alone, _ = ran(run_bare, ListSource([r for r in records if r.stream_id == "a"]), 1)
    assert of_stream(got, "a") == alone  # not disturbed
    assert [info.stream_id for info in report.streams] == ["a", "b", "c"]
    assert tally.seen_s == {}  # whoever has left is not silent


def test_what_only_comes_after_all_have_left() -> None:
    class Late(ListSource):
        def read(self) -> Iterator[Frame | Event | StreamInfo | StreamLeft]:
            first, second = (self._of(name) for name in ("a", "b"))
            yield from first
            yield StreamLeft(stream_id="a")
            yield StreamInfo(stream_id="b", uri="b", width_px=6, height_px=4)
            yield from second

        def open(self) -> list[StreamInfo]:
            return super().open()[:1]

        def _of(self, name: str) -> Sequence[Frame | Event]:
            return [r for r in self.records if r.stream_id == name]

    got, report = ran(run_local, Late(two_streams(9)), 2)
    assert report.frames == 18
    assert of_stream(got, "b")[-1]["kind"] == "last"
