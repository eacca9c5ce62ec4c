"""The graph: one source, named steps, named sinks, and the edges between them.

An edge carries those record types of the upstream that the reader takes; a reader that takes
none of them is an error when the graph is built, before anything runs.
"""

from __future__ import annotations

import difflib
import functools
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union

from streamer.errors import ConfigError
from streamer.interfaces import Operator, Resources, Sink, Source
from streamer.records import Event, Frame

SOURCE = "source"


@dataclass(frozen=True, kw_only=True)
class Step:
    """An operator in the graph; `make` builds a fresh one for each worker.

    Where workers are processes, a pool grows with its queue from `workers` to `max_workers` as far
    as there is room, and each worker gets `resources` (None: those of the operator's class).
    """

    name: str
    operator: type[Operator[Any, Any]]
    make: Callable[[], Operator[Any, Any]]
    inputs: tuple[str, ...] = (SOURCE,)
    workers: int = 1
    max_workers: int | None = None
    resources: Resources | None = None

    @property
    def needs(self) -> Resources:
        """What one worker needs."""
        return self.resources or self.operator.resources


@dataclass(frozen=True, kw_only=True)
class Output:
    """A sink in the graph."""

    name: str
    sink: type[Sink[Any]]
    make: Callable[[], Sink[Any]]
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A checked graph; `steps` are in topological order.

    Raises:
        ConfigError: for doubled names, unknown inputs, cycles and edges that carry nothing.
    """

    make_source: Callable[[], Source]
    steps: tuple[Step, ...]
    outputs: tuple[Output, ...]

    def __post_init__(self) -> None:
        _check_names([SOURCE, *(s.name for s in self.steps), *(o.name for o in self.outputs)])
        known = [SOURCE, *(step.name for step in self.steps)]
        for node in self.readers:
            for name in node.inputs:
                if name not in known:
                    raise ConfigError(_nowhere(node.name, name, known))
            if len(set(node.inputs)) != len(node.inputs) or not node.inputs:
                raise ConfigError(f"{node.name!r} reads {list(node.inputs)}: each step once")
        for step in self.steps:
            if step.workers < 1:
                raise ConfigError(f"step {step.name!r}: workers is {step.workers}; at least 1")
            if step.max_workers is not None and step.max_workers < step.workers:
                raise ConfigError(
                    f"step {step.name!r}: max_workers is {step.max_workers}, less than its "
                    f"{step.workers} workers"
                )
            if step.max_workers is not None and step.operator.keyed:
                raise ConfigError(
                    f"step {step.name!r} keeps a stream's state in one worker, so it cannot grow; "
                    "give workers instead of max_workers"
                )
        object.__setattr__(self, "steps", _sorted(self.steps))
        for node in self.readers:
            for name in node.inputs:
                self._check_edge(name, node)

    @property
    def readers(self) -> list[Step | Output]:
        """Everything that reads a step."""
        return [*self.steps, *self.outputs]

    def emitted(self, name: str) -> tuple[type, ...]:
        """The record types that a step emits."""
        if name == SOURCE:
            return (Frame, Event)
        return record_types(next(s.operator for s in self.steps if s.name == name))[1]

    def carried(self, upstream: str, reader: Step | Output) -> tuple[type, ...]:
        """The record types that travel from a step to a reader."""
        wanted = accepted(reader)
        return tuple(t for t in self.emitted(upstream) if issubclass(t, wanted))

    def rank(self, name: str) -> int:
        """Position of a step in the order of the graph; the source is 0."""
        return 0 if name == SOURCE else 1 + [s.name for s in self.steps].index(name)

    def _check_edge(self, upstream: str, reader: Step | Output) -> None:
        if not self.carried(upstream, reader):
            raise ConfigError(
                f"{reader.name!r} reads from {upstream!r}, which emits "
                f"{_names(self.emitted(upstream))}, but takes only {_names(accepted(reader))}"
            )


def accepted(node: Step | Output) -> tuple[type, ...]:
    """The record types that a step or sink takes."""
    return record_types(node.operator if isinstance(node, Step) else node.sink)[0]


def takes_events(node: Step | Output) -> bool:
    """Whether a step or sink is told of events."""
    return any(issubclass(Event, kind) for kind in accepted(node))


@functools.cache
def record_types(kind: type) -> tuple[tuple[type, ...], ...]:
    """The types in the brackets of `Operator[In, Out]` or `Sink[In]`, unions as tuples.

    Raises:
        ConfigError: when a class does not state them.
    """
    for parent in kind.__mro__:
        for base in getattr(parent, "__orig_bases__", ()):
            origin = typing.get_origin(base)
            if origin in (Operator, Sink):
                types = [_members(argument) for argument in typing.get_args(base)]
                if all(types):
                    return tuple(types)
    raise ConfigError(
        f"{kind.__module__}.{kind.__qualname__} does not say which records it takes; "
        "derive it from Operator[In, Out] or Sink[In] with record types"
    )


def _members(argument: Any) -> tuple[type, ...]:
    if typing.get_origin(argument) in (Union, UnionType):
        return tuple(typing.get_args(argument))
    return (argument,) if isinstance(argument, type) else ()


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            what = "is reserved" if name == SOURCE else "is given twice"
            raise ConfigError(f"the name {name!r} {what}; every step and sink needs its own")


def _nowhere(reader: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    return f"{reader!r} reads from {name!r}, which is not a step{hint}"


def _sorted(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Every step behind its inputs, otherwise in the order given."""
    left, done = list(steps), [SOURCE]
    ordered: list[Step] = []
    while left:
        ready = next((s for s in left if all(name in done for name in s.inputs)), None)
        if ready is None:
            names = ", ".join(repr(s.name) for s in left)
            raise ConfigError(f"the steps {names} read from each other in a circle")
        left.remove(ready)
        ordered.append(ready)
        done.append(ready.name)
    return tuple(ordered)


def _names(types: Iterable[type]) -> str:
    return " | ".join(t.__name__ for t in types)
