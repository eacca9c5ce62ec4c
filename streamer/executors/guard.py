"""Failures of parts, with the name of the part: what is not meant for the user becomes so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from streamer.errors import ContractError, InputError, OutputError, StreamerError
from streamer.executors.parcel import Aborted


@contextmanager
def blaming(part: str, method: str) -> Iterator[None]:
    """Turn any failure of a part's method into one line that names both.

    Raises:
        StreamerError: as the part raised it, or a ContractError with the failure as its cause.
    """
    try:
        yield
    except (StreamerError, Aborted):
        raise
    except Exception as error:
        raise ContractError(
            f"{part} failed in {method}(): {type(error).__name__}: {_one_line(error)}; "
            "this is a bug in it, run with --debug to see where"
        ) from error


@contextmanager
def blaming_disk(
    part: str, method: str, kind: type[InputError] | type[OutputError]
) -> Iterator[None]:
    """The same for the two ends of a graph, where the system's own errors (a full disk, a file
    that went away) are nobody's bug."""
    with blaming(part, method):
        try:
            yield
        except OSError as error:
            does = "be read" if kind is InputError else "be written"
            raise kind(
                f"{part} can no longer {does}: {_one_line(error)}; what was done before is kept, "
                "mend this and run again"
            ) from error


def close_all(closers: Iterable[Callable[[], None]]) -> StreamerError | None:
    """Close everything, also when closing one fails; the first failure is given back."""
    first: StreamerError | None = None
    for close in closers:
        try:
            close()
        except StreamerError as error:
            first = first or error
    return first


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
