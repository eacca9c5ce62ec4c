"""One suite over all executors: order, equality, errors, closing."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from streamer.errors import ContractError, InputError
from streamer.executors.bare import run_bare
from streamer.executors.local import run_local
from streamer.executors.ray import connect, run_ray
from streamer.interfaces import Source
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Caption, Event, Frame, TrackedFrame
from streamer.report import RunReport
from streamer.testing import (
    ListSink,
    ListSource,
    LiveListSource,
    describe,
    frames_of,
    renamed,
)
from tests.streamer.example_parts import Ahead, Fail, Mark, Say

Run = Callable[[Pipeline], RunReport]


def on_ray(pipeline: Pipeline, **options: Any) -> RunReport:
    """Ray is started by the first test that needs it and ends with the session."""
    connect("local", object_store_bytes=200 << 20, num_cpus=8)
    return run_ray(pipeline, **options)


RUNS = [
    pytest.param(run_bare, id="bare"),
    pytest.param(run_local, id="local"),
    pytest.param(lambda p: run_local(p, queue_size=1), id="local, queues of one"),
    pytest.param(on_ray, id="ray"),
]


def pictures(n: int) -> list[np.ndarray]:
    return [np.full((4, 6, 3), i % 256, np.uint8) for i in range(n)]


def two_streams(n: int) -> list[Frame | Event]:
    mixed: list[Frame | Event] = []
    for frame in frames_of(pictures(n)):
        mixed += [renamed(frame, "a"), renamed(frame, "b")]
    return mixed


def graph(
    records: Sequence[Frame | Event],
    sink: ListSink,
    *,
    workers: int = 1,
    seconds: float = 0.0,
    source: type[ListSource] = ListSource,
    step: type[Any] = Say,
) -> Pipeline:
    say: Callable[[], Any] = (lambda: Say(seconds=seconds)) if step is Say else step
    return Pipeline(
        make_source=lambda: source(records),
        steps=(
            Step(name="mark", operator=Mark, make=Mark, workers=min(workers, 2)),
            Step(name="say", operator=step, make=say, inputs=("mark",), workers=workers),
        ),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("say", "mark")),),
    )


def results(run: Run, records: Sequence[Frame | Event], **options: Any) -> list[Any]:
    sink = ListSink()
    run(graph(records, sink, **options))
    return [describe(r) for r in sink.records]


@pytest.mark.parametrize("run", RUNS)
def test_a_sink_gets_everything_in_the_order_of_time(run: Run) -> None:
    sink = ListSink()
    report = run(graph(frames_of(pictures(13)), sink))
    # mark comes before say in the graph: at one time its records come first
    for a, b in zip(sink.records, sink.records[1:], strict=False):
        assert a.order_ns <= b.order_ns
        if a.order_ns == b.order_ns and isinstance(b, TrackedFrame):
            assert not isinstance(a, Caption)
    assert sum(isinstance(r, TrackedFrame) for r in sink.records) == 13
    assert sum(isinstance(r, Caption) for r in sink.records) == 4
    assert (sink.flushed, sink.closed) == (1, 1)
    assert report.frames == 13
    assert report.captions == 4
    assert report.events["mark"] == 5
    assert report.steps["mark"].items_in == 13
    assert not report.partial
    assert not report.stopped


@pytest.mark.parametrize("run", RUNS)
def test_a_step_that_looks_ahead_is_waited_for(run: Run) -> None:
    sink = ListSink()
    frames = frames_of(pictures(13))
    pipeline = Pipeline(
        make_source=lambda: ListSource(frames),
        steps=(
            Step(name="mark", operator=Mark, make=Mark),
            Step(name="ahead", operator=Ahead, make=Ahead, inputs=("mark",)),
            Step(name="say", operator=Say, make=Say, inputs=("mark",)),
        ),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("ahead", "say")),),
    )
    run(pipeline)
    shown = [r for r in sink.records if not isinstance(r, Event)]
    assert sum(isinstance(r, TrackedFrame) for r in shown) == 13
    assert sum(isinstance(r, Caption) for r in shown) == 4
    assert [r.order_ns for r in shown] == sorted(r.order_ns for r in shown)
    for a, b in itertools.pairwise(shown):
        assert not (isinstance(a, Caption) and a.order_ns == b.order_ns)  # its frame came first


@pytest.mark.parametrize("run", RUNS)
def test_flush_comes_once_a_stream_and_travels_through_the_graph(run: Run) -> None:
    sink = ListSink()
    run(graph(two_streams(5), sink))
    last = [r for r in sink.records if isinstance(r, Event) and r.kind == "last"]
    # once from mark itself and once passed on by say, for each stream
    assert sorted(r.stream_id for r in last) == ["a", "a", "b", "b"]
    assert all(r.data == {"n": 4} for r in last)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("queue_size", [1, 2, 16])
def test_local_gives_what_the_bare_loop_gives(workers: int, queue_size: int) -> None:
    records = two_streams(25)
    expected = results(run_bare, records)

    def local(pipeline: Pipeline) -> RunReport:
        return run_local(pipeline, queue_size=queue_size)

    got = results(local, records, workers=workers, seconds=0.002)
    for stream_id in ("a", "b"):
        assert of_stream(got, stream_id) == of_stream(expected, stream_id)


@pytest.mark.parametrize(("workers", "queue_size", "fuse"), [(3, 16, True), (1, 1, False)])
def test_ray_gives_what_the_bare_loop_gives(workers: int, queue_size: int, fuse: bool) -> None:
    records = two_streams(25)
    expected = results(run_bare, records)

    def ray(pipeline: Pipeline) -> RunReport:
        return on_ray(pipeline, queue_size=queue_size, fuse=fuse)

    got = results(ray, records, workers=workers, seconds=0.002)
    for stream_id in ("a", "b"):
        assert of_stream(got, stream_id) == of_stream(expected, stream_id)


def of_stream(described: list[Any], stream_id: str) -> list[Any]:
    def stream(item: Any) -> str:
        return str(item["stream_id"] if isinstance(item, dict) else item[1][1])

    return [item for item in described if stream(item) == stream_id]


def test_a_slow_branch_does_not_block_a_diamond() -> None:
    sink = ListSink()
    done = threading.Event()

    def work() -> None:
        run_local(graph(frames_of(pictures(40)), sink, seconds=0.01), queue_size=1)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(20), "the run does not come to its end"
    assert sum(isinstance(r, TrackedFrame) for r in sink.records) == 40


@pytest.mark.parametrize("run", RUNS)
def test_a_broken_step_is_named_and_what_was_done_is_kept(run: Run) -> None:
    sink = ListSink()
    with pytest.raises(ContractError, match=r"'say' failed in process.*the pump is broken"):
        run(graph(frames_of(pictures(30)), sink, step=Fail))
    assert sink.closed == 1


@pytest.mark.parametrize("run", RUNS)
def test_an_input_that_cannot_be_opened_ends_the_run_before_anything_is_loaded(run: Run) -> None:
    class Missing(ListSource):
        def open(self) -> list[Any]:
            raise InputError("film.mp4: no such file")

    loaded = []

    class Heavy(Mark):
        def setup(self) -> None:
            loaded.append(1)

    sink = ListSink()
    pipeline = Pipeline(
        make_source=lambda: Missing([]),
        steps=(Step(name="heavy", operator=Heavy, make=Heavy),),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("heavy",)),),
    )
    with pytest.raises(InputError, match="no such file"):
        run(pipeline)
    assert not loaded
    assert sink.closed == 0


def test_a_failed_setup_ends_the_run() -> None:
    class Broken(Mark):
        def setup(self) -> None:
            raise OSError("no disk")

    source = ListSource(frames_of(pictures(3)))
    pipeline = Pipeline(
        make_source=lambda: source,
        steps=(Step(name="broken", operator=Broken, make=Broken),),
        outputs=(Output(name="list", sink=ListSink, make=ListSink, inputs=("broken",)),),
    )
    with pytest.raises(ContractError, match="'broken' failed in setup"):
        run_local(pipeline)
    assert source.closed == 1


def test_stopping_finishes_what_was_read() -> None:
    stop = threading.Event()

    class Endless(Source):
        def open(self) -> list[Any]:
            return ListSource(frames_of(pictures(1))).open()

        def read(self) -> Any:
            for n in range(10**6):
                if n == 50:
                    stop.set()
                yield from frames_of(pictures(1), first_ns=n * 1000)

    sink = ListSink()
    pipeline = Pipeline(
        make_source=Endless,
        steps=(Step(name="mark", operator=Mark, make=Mark),),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("mark",)),),
    )
    report = run_local(pipeline, stop=stop)
    assert report.stopped
    assert sum(isinstance(r, TrackedFrame) for r in sink.records) == report.frames == 50
    assert isinstance(sink.records[-1], Event)
    assert sink.records[-1].kind == "last"


def test_a_live_source_loses_frames_instead_of_waiting() -> None:
    sink = ListSink()
    records = frames_of(pictures(60))
    report = run_local(graph(records, sink, seconds=0.02, source=LiveListSource), queue_size=2)
    seen = sum(isinstance(r, TrackedFrame) for r in sink.records)
    assert report.frames == 60
    assert report.dropped_frames > 0
    assert seen + report.dropped_frames >= 60


@pytest.mark.parametrize("run", RUNS)
def test_input_errors_make_a_run_partial(run: Run) -> None:
    broken = Event(
        stream_id="test", time_ns=10**9, kind="input_error", data={"reason": "cut off at 1 s"}
    )
    report = run(graph([*frames_of(pictures(4)), broken], ListSink()))
    assert report.partial
    assert report.input_errors == ("cut off at 1 s",)
