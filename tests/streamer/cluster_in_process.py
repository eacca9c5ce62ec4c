"""A cluster of threads, so that the hub can be tested fast, and processes die at chosen moments."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from streamer.executors.members import Gone, MachineGone, Mislaid
from streamer.interfaces import Resources

Dies = Callable[[str, str, int], str]
"""(member, method, how many calls it had before) -> "", "before" or "after" the call, or after it
with its "machine"."""

_KILLED = Gone("killed by the test")


class ThreadMember:
    """A thread with a part; what it is given and gives back is copied, as between processes."""

    def __init__(self, cluster: ThreadCluster, name: str, make: Callable[[], Any]) -> None:
        self.cluster = cluster
        self.name = name
        self.gone = False
        self._make = make
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._work, daemon=True).start()

    def ask(
        self,
        method: str,
        *arguments: Any,
        handles: Sequence[Any] = (),
        results: int = 1,
        then: Callable[[Any], None],
    ) -> list[Any]:
        numbers = [next(self.cluster.numbers) for _ in range(results)]
        with self._lock:
            self._calls.put((method, arguments, list(handles), numbers, then))
            if self.gone:
                self._refuse()
        return numbers

    def dismiss(self) -> None:
        with self._lock:
            self.gone = True
            self._refuse()
        self._calls.put(None)

    def _refuse(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            if call is not None:
                call[-1](Gone("killed by the test"))

    def _work(self) -> None:
        part = None
        for count in itertools.count():
            call = self._calls.get()
            if call is None:
                return
            method, arguments, handles, numbers, then = call
            death = self.cluster.dies(self.name, method, count)
            answer: Any = None
            if death == "before":
                return self._die(then)
            try:
                part = part or self._make()
                images = [self.cluster.fetch(handle) for handle in handles]
                answer = getattr(part, method)(*arguments, *images)
            except Exception as error:
                answer = error
            if death == "after":
                return self._die(then)
            if death == "machine":
                return self._die(then, MachineGone("its node has died"))
            if len(numbers) > 1 and not isinstance(answer, Exception):
                self.cluster.store(dict(zip(numbers, answer, strict=True)))
                answer = answer[0]
            if self.cluster.overtaking:  # every other answer takes its time
                threading.Timer(0.02 * (count % 2), then, (answer,)).start()
            else:
                then(answer)

    def _die(self, then: Callable[[Any], None], why: Gone = _KILLED) -> None:
        self.cluster.deaths += 1
        with self._lock:
            self.gone = True
            then(why)
            self._refuse()


class ThreadCluster:
    """Threads as processes, with a store of images."""

    def __init__(
        self,
        dies: Dies = lambda *_: "",
        picture_bytes: int = 1 << 30,
        room_for: int = 1000,
        overtaking: bool = False,
    ) -> None:
        self.overtaking = overtaking
        self.dies = dies
        self.room_for = room_for
        self.picture_bytes = picture_bytes
        self.numbers = itertools.count()
        self.deaths = 0
        self.hired: list[tuple[str, Resources]] = []
        self._images: dict[int, Any] = {}

    def mislay(self) -> None:
        """All images are gone, as with the machine that they lay on."""
        self._images.clear()

    def hire(
        self, name: str, make: Callable[[], Any], resources: Resources, *, again: bool
    ) -> ThreadMember:
        self.hired.append((name, resources))
        return ThreadMember(self, name, make)

    def has_room(self, resources: Resources) -> bool:
        return len(self.hired) < self.room_for

    def store(self, results: dict[int, Any]) -> None:
        for number, image in results.items():
            if isinstance(image, np.ndarray):
                kept = image.copy()
                kept.flags.writeable = False
                self._images[number] = kept

    def fetch(self, handle: Any) -> Any:
        if handle not in self._images:
            raise Mislaid(f"no image {handle}")
        return self._images[handle].view()
