"""Keeps a decoding batch full: rows wait, join when there is room, and come out when they end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from model.osprey.decoding import DecodingBatch, Row
from model.osprey.memory import MOST_ROWS, free_cached, is_out_of_memory, row_bytes

IDLE_S = 0.001


class Engine:
    """Answers rows in one decoding batch, as large as `budget_bytes` allows.

    Running out of memory halves the batch: its rows wait again and start anew, which changes
    nothing about their answers. A single row that does not fit ends the run. For one thread.
    """

    def __init__(self, batch: DecodingBatch, *, budget_bytes: int) -> None:
        self.batch = batch
        self.runner = batch.runner
        self.budget_bytes = budget_bytes
        self.most_rows = MOST_ROWS
        self.halvings = 0

    def answers(self, arrivals: Iterable[Sequence[Row]]) -> Iterator[Row]:
        """Rows as they end, in no particular order.

        Args:
            arrivals: rows as they come. It is asked for more after every step while there is room;
                an empty group says that nothing has come yet.
        """
        source = iter(arrivals)
        waiting: deque[Row] = deque()
        more = True
        try:
            while more or waiting or self.batch.rows:
                while more and len(waiting) < self.most_rows - len(self.batch.rows):
                    group = next(source, None)
                    more = group is not None
                    if not group:
                        break
                    waiting.extend(group)
                if waiting or self.batch.rows:
                    yield from self._advance(waiting)
                elif more:
                    time.sleep(IDLE_S)
        finally:
            self.batch.clear()

    def _advance(self, waiting: deque[Row]) -> list[Row]:
        """Let rows join, if they may, and take a step."""
        joining = self._joining(waiting)
        ended: list[Row] = []
        try:
            if joining:
                ended += self.batch.settle()
                ended += self.batch.join(joining)
            ended += self.batch.step()
            return ended
        except (RuntimeError, MemoryError) as error:
            live = {id(row): row for row in (*joining, *self.batch.rows)}
            unfinished = [row for key, row in live.items() if key not in map(id, ended)]
            if not is_out_of_memory(error) or len(unfinished) <= 1:
                raise
        for row in unfinished:
            row.restart()
        waiting.extendleft(reversed(unfinished))
        self.most_rows = len(unfinished) // 2
        self.halvings += 1
        self.batch.clear(buffers=True)
        free_cached(self.runner.device)
        return ended

    def _joining(self, waiting: deque[Row]) -> list[Row]:
        """Who joins now. A pass for newcomers costs about a step of everybody, so that in a full
        batch they are let in when an eighth of it is free."""
        if not waiting:
            return []
        new, positions = (
            max(f(row) for row in (*self.batch.rows, *waiting))
            for f in (lambda row: len(row.embeds_SD), lambda row: row.positions)
        )
        capacity = self.budget_bytes // row_bytes(self.runner, new, self.batch.padded(positions))
        capacity = max(1, min(capacity, self.most_rows))
        room = capacity - len(self.batch.rows)
        if room < min(len(waiting), max(1, capacity // 8)):
            return []
        return [waiting.popleft() for _ in range(min(room, len(waiting)))]
