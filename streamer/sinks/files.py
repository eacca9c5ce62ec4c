"""What all sinks that write a file share."""

from __future__ import annotations

from pathlib import Path

from streamer.errors import OutputError


def prepare(path: Path) -> None:
    """Make the folders above and an empty file, so that a mistake shows before the work.

    Raises:
        OutputError: naming the path, what is wrong and what to do.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the path of a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    except FileExistsError:
        raise OutputError(f"{path.parent} is a file, not a folder; choose another path") from None
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); choose another folder or change its "
            "permissions"
        ) from None
