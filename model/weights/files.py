"""Weight files as they lie on disk: which belong to a folder, what they hold, tensor by tensor.

Files are mapped, never read whole, and pickles are read with `weights_only`. Every mistake is a
ValueError of one line that names the file and what to do.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# indices first: they say which files belong together
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")
_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<end>\.\w+)")
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
# mappings are let go after so many bytes, so that pages already copied do not count twice
_MAPPED_BYTES = 16 << 20


@dataclass(frozen=True)
class TensorInfo:
    """What a file's header says of a tensor."""

    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.numel * self.dtype.itemsize


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a model folder: safetensors where there are any, else `.bin` pickles.

    Raises:
        ValueError: when there are none, or some of those that belong together are missing.
    """
    for suffix in (".safetensors", ".bin"):
        for name in (n for n in _INDICES if suffix in n):
            if (folder / name).is_file():
                return _complete(folder, sorted(set(shard_list(folder / name).values())), name)
        for name in (n for n in _SINGLE if n.endswith(suffix)):
            if (folder / name).is_file():
                return [folder / name]
        numbered = [m for p in folder.glob(f"*{suffix}") if (m := _NUMBERED.fullmatch(p.name))]
        if numbered:
            first = numbered[0]
            total = int(first["total"])
            names = [f"{first['stem']}-{i:05}-of-{total:05}{suffix}" for i in range(1, total + 1)]
            return _complete(folder, names, "the names of its files")
    raise ValueError(
        f"{folder} has no weights: neither model*.safetensors nor pytorch_model*.bin; "
        "download the whole folder"
    )


def shard_list(index: Path) -> dict[str, str]:
    """Tensor name -> file name, from an index file.

    Raises:
        ValueError: when it is not such an index.
    """
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{index} is no list of shards ({type(error).__name__}: {error}); download it again"
        ) from None
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{index} lists no tensor; download it again")
    for file in entries.values():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{index} names a file outside its folder: {file!r}")
    return entries


def read_headers(path: Path) -> dict[str, TensorInfo]:
    """What a weight file holds, without reading its tensors.

    Raises:
        ValueError: when it is cut off, holds anything but tensors, or is no weight file.
    """
    if path.suffix == ".safetensors":
        with _safetensors(path) as file:
            return {
                name: TensorInfo(path, tuple(part.get_shape()), _dtype(path, part.get_dtype()))
                for name in file.keys()  # noqa: SIM118 - the handle is no mapping
                for part in (file.get_slice(name),)
            }
    return {
        name: TensorInfo(path, tuple(tensor.shape), tensor.dtype)
        for name, tensor in _pickle(path).items()
    }


def folder_headers(folder: Path) -> dict[str, TensorInfo]:
    """The headers of all weight files of a folder, checked against its index.

    Raises:
        ValueError: for missing, unreadable, contradicting files.
    """
    found: dict[str, TensorInfo] = {}
    files = weight_files(folder)
    for path in files:
        headers = read_headers(path)
        doubled = sorted(found.keys() & headers.keys())
        if doubled:
            raise ValueError(f"{path} repeats tensors of another file: {_few(doubled)}")
        found |= headers
    for name in _INDICES:
        if (folder / name).is_file() and files[0].suffix in name:
            listed = shard_list(folder / name)
            wrong = sorted(
                f"{tensor} is not in {file}"
                for tensor, file in listed.items()
                if tensor not in found or found[tensor].path.name != file
            )
            if wrong:
                raise ValueError(f"{folder / name} is not the list of these files: {_few(wrong)}")
    return found


def read_tensors(path: Path, headers: Mapping[str, TensorInfo]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file one after the other. Each lies in the mapped file and is valid until
    the next is asked for, so copy what is to stay.

    Args:
        headers: of the wanted tensors of this file.
    """
    group: list[str] = []
    size = 0
    for name, info in headers.items():
        group.append(name)
        size += info.size_bytes
        if size >= _MAPPED_BYTES:
            yield from _read_group(path, group)
            group, size = [], 0
    yield from _read_group(path, group)


def file_hash(paths: Iterable[Path]) -> str:
    """12 hex digits over the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:12]


def _read_group(path: Path, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    if not names:
        return
    if path.suffix == ".safetensors":
        with _safetensors(path) as file:
            for name in names:
                yield name, file.get_tensor(name)
    else:
        state = _pickle(path)
        for name in names:
            yield name, state[name]


def _complete(folder: Path, names: list[str], source: str) -> list[Path]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} is downloaded in part: {len(missing)} of {len(names)} files that {source} "
            f"lists are missing ({_few(missing)}); download them (a new download goes on "
            "where the last one stopped)"
        )
    return [folder / name for name in names]


def _safetensors(path: Path) -> Any:
    _check_present(path)
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is cut off or no safetensors file "
            f"({error}); download it again"
        ) from None


def _pickle(path: Path) -> dict[str, Tensor]:
    _check_present(path)
    try:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            state = torch.load(path, map_location="cpu", weights_only=True)  # before torch 1.6
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{path} is no file of plain tensors, or holds code that is not run: {reason}"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:120] or type(error).__name__
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is cut off or no weight file ({reason}); "
            "download it again"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{path} holds a {type(state).__name__}, not named tensors")
    strange = sorted(str(n) for n, t in state.items() if not isinstance(t, Tensor))
    if strange:
        raise ValueError(f"{path} holds more than tensors: {_few(strange)}")
    return state


def _check_present(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(24)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if start == b"version https://git-lfs.":
        raise ValueError(f"{path} is a Git LFS pointer, not the file; run `git lfs pull` there")
    if not start:
        raise ValueError(f"{path} is empty; download it again")


def _dtype(path: Path, name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise ValueError(f"{path} holds tensors of type {name}, which is not supported")
    return _DTYPES[name]


def _few(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
