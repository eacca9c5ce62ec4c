"""Released models fetched: repositories through huggingface_hub, single files over HTTP.

Both go on where an earlier attempt stopped, and both compare checksums.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from model.weights.known import KnownModel

_BLOCK_BYTES = 1 << 20
_TIMEOUT_S = 30.0


def fetch(model: KnownModel, folder: Path, report: Callable[[str], None]) -> None:
    """Download a model into a folder.

    Args:
        report: called with a line about what is going on.

    Raises:
        ConnectionError: when the source cannot be reached, or breaks off.
        ValueError: when what came is not what was published.
        OSError: when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if model.repository:
        _fetch_repository(model, folder, report)
    else:
        fetch_file(model.url, folder / model.url.rpartition("/")[2], model.md5, report)


def _fetch_repository(model: KnownModel, folder: Path, report: Callable[[str], None]) -> None:
    from huggingface_hub import HfApi, snapshot_download

    report(f"{model.source} -> {folder}")
    try:
        info = HfApi().model_info(model.repository, files_metadata=True)
        snapshot_download(
            model.repository,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=list(model.patterns),
        )
    except OSError as error:  # the hub's own errors are OSErrors too, without a number
        if error.errno is not None and error.filename is not None:
            raise
        raise ConnectionError(_line(error)) from None
    except Exception as error:  # of whichever HTTP library the hub's client uses
        raise ConnectionError(_line(error)) from None
    wrong = []
    for entry in info.siblings or []:
        path = folder / entry.rfilename
        if path.is_file() and entry.lfs is not None:
            report(f"checking {path.name}")
            if _digest(path, "sha256") != entry.lfs.sha256:
                path.unlink()
                wrong.append(path.name)
    if wrong:
        raise ValueError(f"{', '.join(wrong)} came with another checksum than published; deleted")


def fetch_file(url: str, path: Path, md5: str, report: Callable[[str], None]) -> None:
    """Download one file; a part that is already there is kept and gone on with.

    Args:
        md5: what the file's MD5 begins with.

    Raises:
        ConnectionError: when the source cannot be reached, or breaks off.
        ValueError: when the whole file has another checksum; it is deleted then.
    """
    part = path.with_name(path.name + ".part")
    if path.is_file() and _digest(path, "md5").startswith(md5):
        report(f"{path} is complete")
        return
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    report(f"{url} -> {path}" + (f" (from {have >> 20} MiB on)" if have else ""))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            append = response.status == 206
            length = response.headers.get("Content-Length")
            wanted = int(length) + (have if append else 0) if length else None
            with part.open("ab" if append else "wb") as file:
                while block := response.read(_BLOCK_BYTES):
                    file.write(block)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the part is the whole file
            raise ConnectionError(f"{url} answers {error.code} {error.reason}") from None
        wanted = have
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as e:
        raise ConnectionError(f"{url}: {_line(e)}") from None
    if wanted is not None and part.stat().st_size < wanted:
        raise ConnectionError(f"{url} broke off after {part.stat().st_size} of {wanted} bytes")
    found = _digest(part, "md5")
    if not found.startswith(md5):
        part.unlink()
        raise ValueError(f"{url} has the MD5 {found}, which does not begin with {md5}; deleted")
    os.replace(part, path)


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.new(kind, usedforsecurity=False)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _line(error: Exception) -> str:
    return textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
