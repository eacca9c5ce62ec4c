"""The graph: what is wrong with it is said when it is built."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.errors import ConfigError
from streamer.pipeline import Output, Pipeline, Step, record_types
from streamer.records import Caption, Event, Frame, TrackedFrame
from streamer.testing import ListSink, ListSource
from tests.streamer.example_parts import Mark, OnlyCaptions, Say


def step(name: str, *inputs: str, operator: type[Any] = Mark, workers: int = 1) -> Step:
    return Step(
        name=name, operator=operator, make=operator, inputs=inputs or ("source",), workers=workers
    )


def build(*steps: Step, sink: type[Any] = ListSink, reads: tuple[str, ...] = ("a",)) -> Pipeline:
    output = Output(name="out", sink=sink, make=sink, inputs=reads)
    return Pipeline(make_source=lambda: ListSource([]), steps=steps, outputs=(output,))


def test_types_come_from_the_annotations() -> None:
    assert record_types(Mark) == ((Frame, Event), (TrackedFrame, Event))
    assert record_types(OnlyCaptions) == ((Caption,),)


def test_an_edge_carries_what_the_reader_takes() -> None:
    graph = build(step("b", "a", operator=Say), step("a"), reads=("a", "b"))
    assert [s.name for s in graph.steps] == ["a", "b"]
    assert graph.carried("a", graph.steps[1]) == (TrackedFrame, Event)
    assert graph.rank("source") < graph.rank("a") < graph.rank("b")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(step("a", "trak")), "'a' reads from 'trak', which is not a step"),
        (lambda: build(step("a", "b"), step("b", "a")), "'a', 'b' read from each other"),
        (lambda: build(step("a", "a")), "circle"),
        (lambda: build(step("a"), step("a")), "given twice"),
        (lambda: build(step("source")), "reserved"),
        (lambda: build(step("a", workers=0)), "at least 1"),
        (lambda: build(step("a"), reads=("a", "a")), "each step once"),
        (lambda: build(step("a"), reads=("c",)), "not a step"),
        (
            lambda: build(step("a"), sink=OnlyCaptions),
            "reads from 'a', which emits TrackedFrame | Event, but takes only Caption",
        ),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_name_brings_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'track'"):
        build(step("track"), step("a", "trck"))
