"""Prefilled prefixes that are kept for later questions."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence

from model.osprey.attention import PrefixKV


class PrefixCache:
    """Prefixes by image and token ids, at most `limit_bytes` of them; the least recently used go.

    A prefix is good for every text that begins alike: the head before the image serves all images
    (its image is None), the part up to the last common word serves all prompts of an image. The
    prefixes of an image go with it.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.nbytes = 0
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], PrefixKV] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def longest(self, image: object | None, ids: Sequence[int]) -> tuple[PrefixKV | None, int]:
        """The prefix that shares most ids with `ids`, and how many: it may go on differently."""
        best, most = None, 0
        for key in list(self._kept):
            if key[0] == _name(image):
                common = _common(key[1], ids)
                if common > most:
                    best, most = key, common
        if best is None:
            return None, 0
        self._kept.move_to_end(best)
        return self._kept[best], most

    def keep(self, image: object | None, ids: Sequence[int], prefix: PrefixKV) -> None:
        """Keep a prefix as long as there is room, and its image lives."""
        key = (_name(image), tuple(ids))
        if prefix.nbytes > self.limit_bytes or key in self._kept:
            return
        if image is not None and not any(name == key[0] for name, _ in list(self._kept)):
            weakref.finalize(image, self._forget, key[0]).atexit = False
        self._kept[key] = prefix
        self.nbytes += prefix.nbytes
        while self.nbytes > self.limit_bytes:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Drop everything."""
        for key in list(self._kept):
            self._drop(key)

    def _forget(self, name: int) -> None:
        for key in list(self._kept):
            if key[0] == name:
                self._drop(key)

    def _drop(self, key: tuple[int, tuple[int, ...]]) -> None:
        self.nbytes -= self._kept.pop(key).nbytes


def _name(image: object | None) -> int:
    return 0 if image is None else id(image)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
