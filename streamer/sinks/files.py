"""What all sinks that write a file share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from streamer.errors import OutputError


def prepare(path: Path) -> None:
    """Make the folders above and see that the file can be written, so that a mistake shows before
    the work. What an earlier run left in it stays until there is something new to write.

    Raises:
        OutputError: naming the path, what is wrong and what to do.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the path of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{path.parent} is a file, not a folder; choose another path") from None
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); choose another folder or change its "
            "permissions"
        ) from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure of the disk into an OutputError that names the file."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); free space or choose another folder"
        ) from None
