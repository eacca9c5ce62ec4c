"""Parcels between processes: the records are pickled, their pictures stay where they are.

A picture is put into shared memory once, by whoever made it. What travels is its number; the
process that works on it gets the pixels without a copy.
"""

from __future__ import annotations

import io
import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamer.records import CaptionRequest, Frame, Record, TrackedFrame

Image = NDArray[np.uint8]


class Picture:
    """Stands in a Frame for an image that lies elsewhere: HxWx3 uint8 RGB under `handle`.

    When what lies there is lost, the picture gets another handle.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, number: int, shape: tuple[int, ...], handle: Any) -> None:
        self.number = number
        self.shape = shape
        self.handle = handle
        self.pixels: Image | None = None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape))


class Shelf:
    """The pictures that are on their way; one that nobody holds any more is gone, and its place
    in shared memory with it."""

    def __init__(self) -> None:
        self._pictures: weakref.WeakValueDictionary[int, Picture] = weakref.WeakValueDictionary()
        self._next = 0

    def add(self, shape: tuple[int, ...], handle: Any) -> Picture:
        """A new picture, numbered."""
        picture = Picture(self._next, shape, handle)
        self._pictures[self._next] = picture
        self._next += 1
        return picture

    def get(self, number: int) -> Picture:
        return self._pictures[number]

    @property
    def nbytes(self) -> int:
        """Bytes of shared memory that the pictures on their way take."""
        return sum(picture.nbytes for picture in list(self._pictures.values()))


class Known:
    """In a worker: the numbers of the images that it was given and that are still in use."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[int, weakref.ref[Image]]] = {}

    def add(self, number: int, image: Image) -> None:
        at = id(image)
        self._numbers[at] = (number, weakref.ref(image, lambda _: self._numbers.pop(at, None)))

    def number(self, image: Image) -> int | None:
        found = self._numbers.get(id(image))
        return None if found is None else found[0]

    def in_use(self) -> list[int]:
        return [number for number, _ in list(self._numbers.values())]


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, label: Callable[[Any], Any]) -> None:
        super().__init__(file, protocol=5)
        self._label = label

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Picture):
            return self._label(obj)
        if isinstance(obj, np.ndarray) and obj.ndim == 3 and obj.dtype == np.uint8:
            return self._label(obj)
        return None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Callable[[Any], Any]) -> None:
        super().__init__(file)
        self._find = find

    def persistent_load(self, pid: Any) -> Any:
        return self._find(pid)


def pack(thing: Any, label: Callable[[Any], Any]) -> bytes:
    """Bytes in which every image or Picture is replaced by what `label` says of it."""
    file = io.BytesIO()
    _Packer(file, label).dump(thing)
    return file.getvalue()


def unpack(data: bytes, find: Callable[[Any], Any]) -> Any:
    """The inverse of `pack`; `find` gives the image or Picture for a label."""
    return _Unpacker(io.BytesIO(data), find).load()


def with_pixels(record: Record, fetch: Callable[[Picture], Image]) -> Record:
    """The record as its makers know it, with its image, fetched once, instead of a Picture."""
    if isinstance(record, Frame):
        picture = cast(Any, record.image)
        if isinstance(picture, Picture):
            picture.pixels = fetch(picture) if picture.pixels is None else picture.pixels
            return replace(record, image=picture.pixels)
        return record
    if isinstance(record, (TrackedFrame, CaptionRequest)):
        return replace(record, frame=cast(Frame, with_pixels(record.frame, fetch)))
    return record
