"""What a cluster has against what steps ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamer.errors import ConfigError
from streamer.executors.fusion import Group
from streamer.executors.placement import check_fits, cpu_share
from streamer.interfaces import Resources
from streamer.pipeline import Step
from tests.streamer.example_parts import Say

NODES = [
    {"Resources": {"CPU": 2.0, "memory": 8 * 2.0**30}, "Labels": {}},
    {"Resources": {"CPU": 2.0, "GPU": 1.0, "memory": 4 * 2.0**30}, "Labels": {"rack": "b"}},
]


def group(workers: int = 1, **needs: object) -> Group:
    step = Step(
        name="words",
        operator=Say,
        make=Say,
        workers=workers,
        resources=Resources(**needs),  # type: ignore[arg-type]
    )
    return Group(steps=(step,), carried=(), shown=(True,))


@pytest.mark.parametrize(
    "needs",
    [{}, {"gpus": 0.5}, {"gpus": 1, "labels": {"rack": "b"}}, {"memory_bytes": 8 << 30}],
)
def test_what_fits(needs: dict[str, object]) -> None:
    check_fits(group(**needs), NODES)


@pytest.mark.parametrize(
    ("needs", "part"),
    [
        ({"gpus": 2}, "no node of the cluster has more than 1 GPU"),
        ({"memory_bytes": 8 << 30, "labels": {"rack": "b"}}, "rack=b of the cluster.* 4 GiB"),
        ({"labels": {"rack": "c"}}, "label rack=c, and the cluster has none"),
    ],
)
def test_what_does_not(needs: dict[str, object], part: str) -> None:
    with pytest.raises(ConfigError, match=part) as caught:
        check_fits(group(**needs), NODES)
    assert "step 'words'" in str(caught.value)


def test_cpus_are_shared_out_when_they_are_too_few() -> None:
    source = Resources(cpus=0.5)
    assert cpu_share([group(workers=3)], source, NODES) == 1.0
    share = cpu_share([group(workers=8)], source, NODES)
    assert share * 8.5 <= 4
    growing = group(workers=1)
    (step,) = growing.steps
    growing = replace(growing, steps=(replace(step, max_workers=16),))
    assert cpu_share([growing], source, NODES) == 1.0  # what it may grow into is not reserved
