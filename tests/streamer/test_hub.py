"""The hub on threads: the records of the bare loop, whoever dies when."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.errors import StreamerError
from streamer.executors.bare import run_bare
from streamer.executors.fusion import grouped
from streamer.executors.hub import Hub
from streamer.interfaces import Operator, Resources
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import Event, Frame, TrackedFrame
from streamer.report import Tally
from streamer.testing import ListSink, ListSource, LiveListSource, describe, frames_of
from tests.streamer.cluster_in_process import ThreadCluster
from tests.streamer.example_parts import Count, Late, Mark, Say
from tests.streamer.test_executors import of_stream, pictures, two_streams


def graph(records: Sequence[Frame | Event], sink: ListSink, *, workers: int = 2) -> Pipeline:
    """Two keyed steps that can be fused, a pool, a keyed step behind it; frames held back."""
    return Pipeline(
        make_source=lambda: ListSource(records),
        steps=(
            Step(name="mark", operator=Mark, make=Mark),
            Step(name="late", operator=Late, make=Late, inputs=("mark",)),
            Step(name="say", operator=Say, make=Say, inputs=("late",), workers=workers),
            Step(name="count", operator=Count, make=Count, inputs=("say", "mark")),
        ),
        outputs=(
            Output(name="list", sink=ListSink, make=lambda: sink, inputs=("mark", "late", "count")),
        ),
    )


def run_hub(
    records: Sequence[Frame | Event],
    cluster: ThreadCluster,
    make: Callable[..., Pipeline] = graph,
    **options: Any,
) -> list[Any]:
    sink = ListSink()
    done = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            Hub(make(records, sink), cluster, **options).run()
        except BaseException as error:
            failures.append(error)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(30), "the run does not come to its end"
    if failures:
        raise failures[0]
    return [describe(r) for r in sink.records]


def expected(records: Sequence[Frame | Event], make: Callable[..., Pipeline] = graph) -> list[Any]:
    sink = ListSink()
    run_bare(make(records, sink))
    return [describe(r) for r in sink.records]


def assert_same(got: list[Any], wanted: list[Any]) -> None:
    for stream_id in ("a", "b"):
        assert of_stream(got, stream_id) == of_stream(wanted, stream_id)


def plain(records: Sequence[Frame | Event], sink: ListSink) -> Pipeline:
    """Without a step that makes pictures."""
    return Pipeline(
        make_source=lambda: ListSource(records),
        steps=(
            Step(name="mark", operator=Mark, make=Mark),
            Step(name="say", operator=Say, make=Say, workers=2, inputs=("mark",)),
            Step(name="count", operator=Count, make=Count, inputs=("say", "mark")),
        ),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("mark", "count")),),
    )


RECORDS = two_streams(30)
WANTED = expected(RECORDS)
WANTED_PLAIN = expected(RECORDS, plain)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("queue_size", [1, 16])
def test_the_hub_gives_what_the_bare_loop_gives(fuse: bool, queue_size: int) -> None:
    assert_same(run_hub(RECORDS, ThreadCluster(), fuse=fuse, queue_size=queue_size), WANTED)


@settings(max_examples=25, deadline=None)
@given(
    deaths=st.lists(
        st.tuples(
            st.sampled_from(["source", "mark+late-0", "mark-0", "late-0", "say", "count-0"]),
            st.sampled_from(["before", "after"]),
            st.integers(2, 40),
        ),
        max_size=6,
        unique_by=lambda death: death[:2],
    ),
    fuse=st.booleans(),
    snapshot_every=st.sampled_from([1, 4, 32]),
)
def test_whoever_dies_nothing_is_lost_and_nothing_twice(
    deaths: list[tuple[str, str, int]], fuse: bool, snapshot_every: int
) -> None:
    left = list(deaths)

    def dies(name: str, method: str, count: int) -> str:
        for death in left:
            if death[0] == name and count >= death[2]:
                left.remove(death)
                return death[1]
        return ""

    cluster = ThreadCluster(dies)
    got = run_hub(RECORDS, cluster, fuse=fuse, snapshot_every=snapshot_every)
    assert_same(got, WANTED)
    assert cluster.deaths == len(deaths) - len(left)


@settings(max_examples=10, deadline=None)
@given(
    where=st.sampled_from(["source", "mark-0", "say", "count-0"]),
    count=st.integers(3, 20),
    killed=st.booleans(),
)
def test_pictures_that_are_lost_with_their_machine_are_read_again(
    where: str, count: int, killed: bool
) -> None:
    once = [True]

    def dies(name: str, method: str, called: int) -> str:
        if once and name == where and called >= count:
            once.clear()
            cluster.mislay()
            return "after" if killed else ""
        return ""

    cluster = ThreadCluster(dies)
    # Late makes pictures of its own, which only it could make again: without it here
    assert_same(run_hub(RECORDS, cluster, make=plain, snapshot_every=4), WANTED_PLAIN)


def test_little_shared_memory_slows_but_does_not_stop() -> None:
    frames = pictures(1)[0].nbytes
    got = run_hub(RECORDS, ThreadCluster(picture_bytes=3 * frames), snapshot_every=1000)
    assert_same(got, WANTED)


@pytest.mark.parametrize("method", ["setup", "take"])
def test_a_worker_that_always_dies_ends_the_run(method: str) -> None:
    def dies(name: str, called: str, count: int) -> str:
        return "before" if name == "say" and called == method else ""

    with pytest.raises(StreamerError, match=r"'say'.*(died|inputs?)"):
        run_hub(RECORDS, ThreadCluster(dies))


def test_answers_that_overtake_each_other_change_nothing() -> None:
    assert_same(run_hub(RECORDS, ThreadCluster(overtaking=True)), WANTED)


@pytest.mark.parametrize("where", [("say", "setup"), ("say", "take"), ("source", "read")])
def test_machines_that_go_one_after_the_other_blame_nobody(where: tuple[str, str]) -> None:
    left = [None] * 6

    def dies(name: str, called: str, count: int) -> str:
        if (name, called) != where or not left:
            return ""
        left.pop()
        return "machine"

    assert_same(run_hub(RECORDS, ThreadCluster(dies)), WANTED)
    assert not left


def test_a_reader_that_always_dies_ends_the_run() -> None:
    def dies(name: str, called: str, count: int) -> str:
        return "before" if called == "read" else ""

    with pytest.raises(StreamerError, match="reader of the source died"):
        run_hub(RECORDS, ThreadCluster(dies))


class Slow(Say):
    def process(self, items: Sequence[TrackedFrame | Event]) -> list[Any]:
        threading.Event().wait(0.02)
        return super().process(items)


class SlowMark(Mark):
    def process(self, items: Sequence[Frame | Event]) -> list[Any]:
        threading.Event().wait(0.01)
        return super().process(items)


@pytest.mark.parametrize("room", [True, False])
def test_a_pool_grows_with_its_queue_where_there_is_room(room: bool) -> None:
    cluster = ThreadCluster(room_for=1000 if room else 3)  # the source, and one for each step
    sink = ListSink()
    pipeline = Pipeline(
        make_source=lambda: ListSource(two_streams(60)),
        steps=(
            Step(name="mark", operator=Mark, make=Mark),
            Step(name="say", operator=Slow, make=Slow, inputs=("mark",), max_workers=4),
        ),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("say",)),),
    )
    Hub(pipeline, cluster).run()
    names = [name for name, _ in cluster.hired]
    assert names.count("mark-0") == 1
    assert names.count("say") in ((2, 3, 4) if room else (1,))


@pytest.mark.parametrize("reader_dies", [False, True])
def test_a_live_source_loses_frames_instead_of_waiting(reader_dies: bool) -> None:
    def dies(name: str, method: str, count: int) -> str:
        return "after" if reader_dies and name == "source" and count == 20 else ""

    cluster, sink = ThreadCluster(dies), ListSink()
    pipeline = Pipeline(
        make_source=lambda: LiveListSource(frames_of(pictures(60))),
        steps=(Step(name="slow", operator=SlowMark, make=SlowMark),),
        outputs=(Output(name="list", sink=ListSink, make=lambda: sink, inputs=("slow",)),),
    )
    report = Hub(pipeline, cluster, queue_size=2).run()
    frames = [r.frame for r in sink.records if isinstance(r, TrackedFrame)]
    assert report.dropped_frames > 0
    assert len(frames) + report.dropped_frames == report.frames
    for a, b in itertools.pairwise(frames):
        assert a.index < b.index
        assert a.time_ns < b.time_ns


def test_fusion_takes_light_keyed_neighbours_only() -> None:
    class Heavy(Late):
        resources = Resources(cpus=1)

    class OnGpu(Late):
        resources = Resources(cpus=0.1, gpus=0.5)

    def names(late: type[Operator[Any, Any]], **options: Any) -> list[str]:
        made = graph([], ListSink())
        steps = [
            Step(name=s.name, operator=late, make=late, inputs=s.inputs, **options)
            if s.name == "late"
            else s
            for s in made.steps
        ]
        pipeline = Pipeline(make_source=made.make_source, steps=tuple(steps), outputs=made.outputs)
        return [group.name for group in grouped(pipeline)]

    assert names(Late) == ["mark+late", "say", "count"]
    assert (
        names(Heavy) == names(OnGpu) == names(Late, workers=2) == ["mark", "late", "say", "count"]
    )
    assert names(Late, resources=Resources(labels={"disk": "fast"}))[0] == "mark"
    assert len(grouped(graph([], ListSink()), fuse=False)) == 4


def test_pictures_are_given_back() -> None:
    tally = Tally()
    sink = ListSink()
    hub = Hub(graph(RECORDS, sink), ThreadCluster(), tally=tally)
    hub.run()
    sink.records.clear()
    assert hub.shelf.nbytes == 0
    assert tally.frames == 60
    assert np.all([r > 0 for r in tally.processes["source"]])
