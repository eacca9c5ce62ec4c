"""Which steps share a process: neighbours whose hand-over would cost more than it brings."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from streamer.interfaces import Resources
from streamer.pipeline import Pipeline, Step

_LIGHT_CPUS = 0.5


@dataclass(frozen=True)
class Group:
    """A chain of steps in one worker: each reads only the one before it.

    `carried[i]` are the types that step i + 1 takes from step i, `shown[i]` says whether anybody
    outside reads step i.
    """

    steps: tuple[Step, ...]
    carried: tuple[tuple[type, ...], ...]
    shown: tuple[bool, ...]

    @property
    def name(self) -> str:
        return "+".join(step.name for step in self.steps)

    @property
    def first(self) -> Step:
        return self.steps[0]

    @property
    def keyed(self) -> bool:
        return self.first.operator.keyed

    @property
    def resources(self) -> Resources:
        """What one worker needs: the sum over its steps."""
        needs = [step.needs for step in self.steps]
        labels = {key: value for need in needs for key, value in need.labels.items()}
        return Resources(
            cpus=sum(need.cpus for need in needs),
            gpus=sum(need.gpus for need in needs),
            memory_bytes=sum(need.memory_bytes for need in needs),
            labels=labels,
        )


def grouped(pipeline: Pipeline, *, fuse: bool = True) -> list[Group]:
    """The steps in the order of the graph, with neighbours fused.

    A keyed step that takes less than half a core rides with the keyed step that it reads from, if
    that is its only input, both have as many workers, and no accelerator or label is asked for:
    its items then never leave the process.
    """
    chains: list[list[Step]] = []
    for step in pipeline.steps:
        chain = next((c for c in chains if step.inputs == (c[-1].name,)), None)
        if fuse and chain is not None and _rides(step, chain[-1]):
            chain.append(step)
        else:
            chains.append([step])
    return [_group(pipeline, chain) for chain in chains]


def _rides(step: Step, before: Step) -> bool:
    needs = step.needs
    light = needs.cpus < _LIGHT_CPUS and not needs.gpus and not needs.labels
    both_keyed = step.operator.keyed and before.operator.keyed
    return light and both_keyed and step.workers == before.workers


def _group(pipeline: Pipeline, chain: list[Step]) -> Group:
    names = [step.name for step in chain]

    def shown(step: Step) -> bool:
        readers = [node for node in pipeline.readers if step.name in node.inputs]
        return any(node.name not in names for node in readers)

    return Group(
        steps=tuple(chain),
        carried=tuple(
            pipeline.carried(before.name, after) for before, after in itertools.pairwise(chain)
        ),
        shown=tuple(shown(step) for step in chain),
    )
