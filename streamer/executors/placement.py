"""Whether a cluster's nodes can hold a graph's workers, judged before anything is started.

A node is what `ray.nodes()` says of it: "Resources" (CPU, GPU, memory) and "Labels".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from streamer.errors import ConfigError
from streamer.executors.fusion import Group
from streamer.executors.lane import describe
from streamer.interfaces import Resources

_LOG = logging.getLogger(__name__)


def check_fits(group: Group, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Whether some node has, when it is empty, what a worker needs. CPUs are shared out."""
    needs = group.resources
    fitting = [
        node
        for node in nodes
        if all(node.get("Labels", {}).get(k) == v for k, v in needs.labels.items())
    ]
    where = "".join(f" with the label {k}={v}" for k, v in sorted(needs.labels.items()))
    if not fitting:
        raise ConfigError(
            f"step {group.name!r} wants a node{where}, and the cluster has none; label one with "
            "`ray start --labels`, or change the step's resources"
        )
    for wanted, resource, unit, what in (
        (needs.gpus, "GPU", 1, "GPU"),
        (needs.memory_bytes, "memory", 2**30, "GiB of memory"),
    ):
        most = max(node["Resources"].get(resource, 0.0) for node in fitting)
        if wanted > most:
            raise ConfigError(
                f"step {group.name!r} asks for {describe(group)}, but no node{where} of the "
                f"cluster has more than {most / unit:.3g} {what}; add such a node, or change the "
                "step's resources"
            )


def cpu_share(
    groups: Sequence[Group], source: Resources, nodes: Sequence[Mapping[str, Any]]
) -> float:
    """By how much CPU shares are cut so that the workers that a run starts with find room: slower,
    not wrong. Pools grow only by what is left."""
    wanted = [source.cpus]
    for group in groups:
        wanted += [group.resources.cpus] * group.first.workers
    have = sum(node["Resources"].get("CPU", 0.0) for node in nodes)
    if sum(wanted) <= have:
        return 1.0
    share: float = 0.9 * have / sum(wanted)
    _LOG.info("the steps ask for %g CPUs and there are %g: shared out", sum(wanted), have)
    return share
