"""What the hub needs of a cluster: processes that can be asked, and that may die."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from streamer.executors.freight import Image
from streamer.interfaces import Resources


class Gone(Exception):  # noqa: N818 - not an error: the work is done by another process
    """The process that was asked has died."""


class MachineGone(Gone):
    """It has died with its machine: neither the input nor the step is to blame."""


class Mislaid(Exception):  # noqa: N818 - not an error: the picture is read again
    """A picture that was sent along is lost, because its machine is."""


class Member(Protocol):
    """A process with a part (see `streamer.executors.worker`) in it."""

    name: str

    def ask(
        self,
        method: str,
        *arguments: Any,
        handles: Sequence[Any] = (),
        results: int = 1,
        then: Callable[[Any], None],
    ) -> list[Any]:
        """Call a method of the part; calls are worked on in the order in which they were made.

        Args:
            handles: of pictures, which become the last arguments.
            results: how many the method returns, each lying in shared memory on its own.
            then: gets the first result, or the exception (`Gone` when the process has died,
                `Mislaid` when a picture has), on any thread.

        Returns:
            Handles of all results.
        """

    def dismiss(self) -> None:
        """End the process at once, whatever it does."""


class Cluster(Protocol):
    """Where the processes run."""

    def hire(
        self, name: str, make: Callable[[], Any], resources: Resources, *, again: bool
    ) -> Member:
        """Start a process and in it the part that `make` makes; does not wait for it.

        `again`: in the place of one that died. It shares CPUs with others if need be, because a
        machine may have gone.
        """

    def has_room(self, resources: Resources) -> bool:
        """Whether one more process would find these free, crowding no other out."""

    def fetch(self, handle: Any) -> Image:
        """The image under a handle, in this process.

        Raises:
            Mislaid: when it is lost.
        """

    @property
    def picture_bytes(self) -> int:
        """How much shared memory pictures may take."""
