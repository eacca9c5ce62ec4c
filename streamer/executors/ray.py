"""Runs a graph on Ray: every part in an actor. The only module that imports ray.

What is asked of whom is decided in `streamer.executors.hub`; here are the actors, what of a
cluster they may use, and how Ray's errors are to be understood.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from streamer.errors import ConfigError, StreamerError
from streamer.executors.freight import Image
from streamer.executors.fusion import Group, grouped
from streamer.executors.hub import Hub
from streamer.executors.members import Gone, MachineGone, Mislaid
from streamer.executors.placement import check_fits, cpu_share
from streamer.interfaces import Resources
from streamer.pipeline import SOURCE, Pipeline
from streamer.report import RunReport, Tally

# read by ray when it is imported: nothing is reported to its makers, a cluster that is started here
# listens on the loopback interface only, and its workers, which do all the work, do not stand back
# behind every other program as Ray has it (15)
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray import exceptions

AUTO, LOCAL = "auto", "local"

# the number of threads decides the last bits of sums: workers get what this process has
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PICTURE_SHARE = 0.5  # of the object store; the rest is for what is being made and for snapshots
_CONNECT_S = 5.0
_HINT = "no Ray cluster can be reached ({}); check the address (host:port), or use --ray local"
_HINTS = {
    AUTO: "no Ray cluster runs here ({}); start one with `ray start --head`, or use --ray local",
    LOCAL: "Ray cannot be started here ({}); close other programs, or run without --ray",
}


def run_ray(
    pipeline: Pipeline,
    address: str = LOCAL,
    *,
    queue_size: int = 16,
    tally: Tally | None = None,
    stop: threading.Event | None = None,
    fuse: bool = True,
    snapshot_every: int = 32,
    start_timeout_s: float = 300.0,
) -> RunReport:
    """Run a pipeline to the end of its source, with the records that `run_local` gives.

    Sinks write in this process. A worker that dies is replaced and its streams go on from their
    last snapshot.

    Args:
        address: "local" starts Ray on this machine, "auto" takes the cluster that runs, or
            host:port. A connection that this process has already is used as it is.
        queue_size: how many parcels may wait before a part.
        tally: counts to watch from outside while the run goes on.
        stop: when set, reading ends, everything in flight is finished and written.
        fuse: whether neighbouring light steps share an actor.
        snapshot_every: how many parcels (a frame each, mostly) of a keyed worker lie between two
            snapshots.
        start_timeout_s: how long an actor may take to find a node with room and to start.

    Raises:
        StreamerError: from a part, naming the step; ConfigError when the cluster cannot be
            reached or has no node that gives what a step asks for.
    """
    connect(address)
    cluster = RayCluster(grouped(pipeline, fuse=fuse), pipeline.make_source().resources)
    hub = Hub(
        pipeline,
        cluster,
        queue_size=queue_size,
        tally=tally,
        stop=stop,
        fuse=fuse,
        snapshot_every=snapshot_every,
        start_timeout_s=start_timeout_s,
    )
    return hub.run()


def connect(
    address: str = LOCAL,
    *,
    object_store_bytes: int | None = None,
    num_cpus: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Connect this process to Ray, unless it is connected.

    Args:
        address: see `run_ray`.
        object_store_bytes: shared memory of a local start; None: Ray's default.
        num_cpus: how many CPUs a local start says it has; None: those of the machine.
        labels: of the node of a local start.

    Raises:
        ConfigError: when there is no cluster at the address.
    """
    if ray.is_initialized():
        return
    if address not in (LOCAL, AUTO):
        check_address(address)
    options: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": False,
        "configure_logging": False,
    }
    if address == LOCAL:
        options |= {"address": LOCAL, "include_dashboard": False, "num_cpus": num_cpus}
        options |= {"object_store_memory": object_store_bytes, "labels": dict(labels or {})}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises plain ones too
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"--ray {address}: {_HINTS.get(address, _HINT).format(reason)}"
        ) from error


def check_address(address: str) -> None:
    """Whether something listens there; Ray itself would try for minutes.

    Raises:
        ConfigError: when nothing does, or it is not an address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"--ray {address}: write auto, local, or host:port of a cluster")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray {address}: {_HINT.format(error)}") from None


class RayCluster:
    """Actors on the connected cluster, for the hub.

    Raises:
        ConfigError: when no node could ever run a worker of a step, naming both.
    """

    def __init__(self, groups: Sequence[Group], source: Resources) -> None:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        for group in groups:
            check_fits(group, nodes)
        self._cpu_share = cpu_share(groups, source, nodes)
        stores = [node["Resources"].get("object_store_memory", 0) for node in nodes]
        self._picture_bytes = int(_PICTURE_SHARE * min(s for s in stores if s))

    @property
    def picture_bytes(self) -> int:
        """How much of the smallest node's object store pictures may take."""
        return self._picture_bytes

    def hire(
        self, name: str, make: Callable[[], Any], resources: Resources, *, again: bool
    ) -> RayMember:
        """Start an actor; see `members.Cluster`."""
        actor = _Actor.options(  # type: ignore[attr-defined]
            num_cpus=0 if again else resources.cpus * self._cpu_share,
            num_gpus=resources.gpus,
            memory=resources.memory_bytes or None,
            label_selector=dict(resources.labels),
            max_restarts=0,
            max_task_retries=0,
        ).remote(_threads(), ray.cloudpickle.dumps(make))
        return RayMember(name, actor)

    def has_room(self, resources: Resources) -> bool:
        """What the whole cluster has free now; see `members.Cluster`."""
        free = ray.available_resources()
        wanted = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory_bytes}
        return all(amount <= free.get(name, 0.0) for name, amount in wanted.items())

    def fetch(self, handle: Any) -> Image:
        """The image under a handle, from the node's shared memory."""
        try:
            image: Image = ray.get(handle)
        except exceptions.ObjectLostError as error:
            raise Mislaid(_first_line(error)) from None
        return image


class RayMember:
    """An actor."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self._actor = actor

    def ask(
        self,
        method: str,
        *arguments: Any,
        handles: Sequence[Any] = (),
        results: int = 1,
        then: Callable[[Any], None],
    ) -> list[Any]:
        """Call a method of the actor's part; see `members.Member`."""
        call = self._actor.call.options(num_returns=results)
        answer = call.remote(method, len(arguments), *arguments, *handles)
        refs = answer if results > 1 else [answer]

        def answered(future: Any) -> None:
            error = future.exception()
            then(future.result() if error is None else _meant(self.name, error))

        refs[0].future().add_done_callback(answered)
        return list(refs)

    def dismiss(self) -> None:
        """Kill the actor."""
        ray.kill(self._actor)


@ray.remote
class _Actor:
    """A part in a process of its own."""

    def __init__(self, threads: dict[str, str | None], make: bytes) -> None:
        # before anything that reads these is imported
        for name, value in threads.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.part = ray.cloudpickle.loads(make)()

    def call(self, method: str, _: int, *arguments: Any) -> Any:
        return getattr(self.part, method)(*arguments)


def _threads() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in _THREADS}


def _meant(name: str, error: BaseException) -> BaseException:
    """What an error of Ray's says about a part."""
    if isinstance(error, exceptions.RayActorError):
        reason = _first_line(error)
        return MachineGone(reason) if "node has died" in reason else Gone(reason)
    cause = getattr(error, "cause", None)
    for found in (error, cause):
        if isinstance(found, (exceptions.ObjectLostError, exceptions.ObjectFetchTimedOutError)):
            return Mislaid(_first_line(found))
    if isinstance(cause, StreamerError):
        return type(cause)(_with_step(name, str(cause)))
    return cause if isinstance(cause, Exception) else error


def _with_step(name: str, message: str) -> str:
    """A step's own message with its name, unless it has it; a source's names its input."""
    group = name.rstrip("0123456789").removesuffix("-")
    if name == SOURCE or any(f"step {step!r}" in message for step in group.split("+")):
        return message
    return f"step {group!r}: {message}"


def _first_line(error: BaseException) -> str:
    """Ray's errors are long; what they say comes behind "because" or first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "because" in line), lines[0] if lines else "")
    return told.partition(". Some common causes")[0] or type(error).__name__
