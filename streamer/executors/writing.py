"""A sink at work in its own thread, its records merged and with their pictures."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from streamer.errors import StreamerError
from streamer.executors.freight import Image, Picture, with_pixels
from streamer.executors.members import Mislaid
from streamer.executors.merge import Merge
from streamer.executors.parcel import Aborted, Inbox
from streamer.interfaces import Sink
from streamer.pipeline import Output, takes_events

if TYPE_CHECKING:
    from streamer.executors.hub import Hub

_MOST_LOSSES = 3  # of the same picture


class Writer:
    """Writes what comes into its inbox until all streams have ended."""

    def __init__(self, hub: Hub, output: Output) -> None:
        self.hub = hub
        self.output = output
        self.sink: Sink[Any] = output.make()
        self.inbox = Inbox(hub.queue_size, tells=takes_events(output))
        self.failure: BaseException | None = None
        self.done = False
        self._wanted = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name=f"sink {output.name}")
        self._thread.daemon = True

    def open(self) -> None:
        """Open the sink."""
        self.sink.open(self.hub.tally.streams)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether there is no room; the hub is then woken when there is."""
        if len(self.inbox) < self.inbox.size:
            return False
        self._wanted = True
        return len(self.inbox) >= self.inbox.size

    def close(self) -> None:
        """End the thread and close the sink, whatever has happened."""
        self.inbox.abort()
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.sink.close()

    def _guarded(self) -> None:
        try:
            self._write()
        except Aborted:
            return
        except BaseException as error:
            self.failure = error
        self.done = self.failure is None
        self.hub.post(lambda: None)

    def _write(self) -> None:
        senders = sorted(self.output.inputs, key=self.hub.pipeline.rank)
        merge = Merge(senders) if self.sink.ordered else None
        open_ends = len(senders) * len(self.hub.tally.streams)
        while open_ends:
            _, parcels = self.inbox.get()
            if self._wanted:
                self._wanted = False
                self.hub.post(lambda: None)
            for parcel in parcels:
                open_ends -= parcel.end
                for _, record in (merge.push(parcel) if merge else parcel).records:
                    self.sink.write(with_pixels(record, self._fetch))
                    self.hub.tally.written(self.output.name, record)
        self.sink.flush()

    def _fetch(self, picture: Picture) -> Image:
        reason = ""
        for _ in range(_MOST_LOSSES):
            try:
                return self.hub.cluster.fetch(picture.handle)
            except Mislaid as lost:
                reason = str(lost)
            begun = threading.Event()
            self.hub.post(partial(self._refill, reason, begun))
            while not begun.is_set() or self.hub.refilling:
                if self._closing.wait(0.05):
                    raise Aborted
        raise StreamerError(
            f"sink {self.output.name!r}: a picture that a step had made is lost with its machine "
            f"({reason}); run it again"
        )

    def _refill(self, reason: str, begun: threading.Event) -> None:
        self.hub.refill(reason)
        begun.set()
