"""One decoding batch for regions of many images: rows join as they arrive, leave as they end.

Shapes: B rows, S own tokens of the longest joining row, T own positions, P prefix positions,
H heads, K key and value heads, E channels of a head, D channels of the model, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.osprey.attention import PrefixKV, Shared, attend, fuses, join, kernels
from model.osprey.language import LanguageRunner


@dataclass(eq=False)
class Row:
    """An answer in the making: behind a prefix, `embeds_SD` are its own tokens.

    `tokens` are the answer's ids without the end token; `logprobs` have the end token's, too.
    `limit` is the most tokens it may get.
    """

    prefix: PrefixKV
    embeds_SD: Tensor
    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def positions(self) -> int:
        """The most own positions it may fill; the last token is never read again."""
        return len(self.embeds_SD) + self.limit - 1

    @property
    def filled(self) -> int:
        """Own positions with keys and values, once it has joined."""
        return len(self.embeds_SD) + len(self.logprobs) - 1

    def restart(self) -> None:
        """Forget the answer so far."""
        self.tokens.clear()
        self.logprobs.clear()


@dataclass(frozen=True, eq=False)
class Step:
    """Inputs of a decoding step: the last word of each row, own positions before it, its place
    in the text, what is shared, and how many own positions are read."""

    tokens_B: Tensor
    filled_B: Tensor
    at_B: Tensor
    shared: Shared
    reach: int


@dataclass(frozen=True, eq=False)
class Flight:
    """A step under way: the rows it was started with, their next words where the next step finds
    them, and those words and their log-probabilities on the way to the host."""

    rows: tuple[Row, ...]
    chosen_B: Tensor
    words: tuple[Tensor, Tensor]
    landed: torch.cuda.Event | None


class DecodingBatch:
    """Greedy decoding.

    Own keys and values live in one static buffer; the live rows are its first ones. When a row
    ends, the last one takes its place. Its positions are a multiple of `grain`.

    With `ahead` a step is started before the words of the one before it are known, so that a GPU
    need not wait for the host; a row that turns out to have ended has then taken one for nothing.
    """

    grain = 1
    ahead = False

    def __init__(self, runner: LanguageRunner, *, eos_token_id: int | None) -> None:
        self.runner = runner
        self.eos_token_id = eos_token_id
        self.rows: list[Row] = []
        self.own_L2BKTE = runner.empty_kv(0, positions=0)
        self._shared: Shared | None = None
        self._flight: Flight | None = None

    def padded(self, positions: int) -> int:
        """Positions that a row takes in the buffer."""
        return -(-positions // self.grain) * self.grain

    def clear(self, *, buffers: bool = False) -> None:
        """Put all rows out; with `buffers`, give their memory back, too."""
        self.rows.clear()
        self._shared = self._flight = None
        if buffers:
            self.own_L2BKTE = self.own_L2BKTE[:, :, :0, :, :0].clone()

    def join(self, rows: Sequence[Row]) -> list[Row]:
        """Take rows in, run their own tokens, find their first words; those that end with it. No
        step may be under way (`settle`)."""
        assert self._flight is None
        self._reserve(len(self.rows) + len(rows), max(self.padded(row.positions) for row in rows))
        first = len(self.rows)
        lengths = torch.tensor([len(row.embeds_SD) for row in rows], device=self.runner.device)
        embeds = pad_sequence([row.embeds_SD for row in rows], batch_first=True)
        start = torch.tensor([row.prefix.length for row in rows], device=self.runner.device)
        offsets = torch.arange(embeds.shape[1], device=self.runner.device)
        memory = _Own(
            self.own_L2BKTE[:, :, first : first + len(rows), :, : embeds.shape[1]],
            self.share(rows),
            torch.zeros_like(lengths),
            lengths - 1,
        )
        # padding is masked, and its keys are overwritten before they are ever in reach; its
        # places are held inside the context
        at = (start[:, None] + offsets).clamp_max(self.runner.context - 1)
        state = self.runner.run(embeds, at, memory, lengths - 1)
        assert state is not None
        words = self.runner.words(state)
        self.rows += rows
        self._shared = None
        return self._hear(rows, words)

    def settle(self) -> list[Row]:
        """Hear the words of a step that is under way; the rows that end with it."""
        flight, self._flight = self._flight, None
        return self._land(flight) if flight else []

    def step(self) -> list[Row]:
        """One more word for every row; those that end with it."""
        if not self.rows:
            self._flight = None
            return []
        flight = self._flight or self._start()
        goes_on = any(len(row.logprobs) + 1 < row.limit for row in self.rows)
        self._flight = self._start(flight) if self.ahead and goes_on else None
        return self._land(flight)

    def _start(self, before: Flight | None = None) -> Flight:
        """Start a step, behind one whose words are not known yet if there is one under way."""
        if self._shared is None:
            self._shared = self.share(self.rows)
        unheard = 0 if before is None else 1
        # what may have ended stays within its bounds
        last, end = self.own_L2BKTE.shape[4] - 1, self.runner.context - 1
        filled = [min(row.filled + unheard, last) for row in self.rows]
        if before is None:
            source = [row.tokens[-1] for row in self.rows]
        else:
            places = {id(row): place for place, row in enumerate(before.rows)}
            source = [places[id(row)] for row in self.rows]
        at = [min(row.prefix.length + f, end) for row, f in zip(self.rows, filled, strict=True)]
        numbers = torch.tensor([source, filled, at])
        device = self.runner.device
        if device.type == "cuda":
            numbers = numbers.pin_memory()
        source_B, filled_B, at_B = numbers.to(device, non_blocking=True)
        tokens_B = source_B if before is None else before.chosen_B[source_B]
        step = Step(tokens_B, filled_B, at_B, self._shared, max(filled) + 1)
        chosen_B, logprobs_B = self.decode(step)
        if device.type != "cuda":
            return Flight(tuple(self.rows), chosen_B, (chosen_B, logprobs_B), None)
        # before the next step writes its own into the same memory
        chosen_B = chosen_B.clone()
        words = chosen_B.to("cpu", non_blocking=True), logprobs_B.to("cpu", non_blocking=True)
        landed = torch.cuda.Event()  # type: ignore[no-untyped-call]
        landed.record()
        return Flight(tuple(self.rows), chosen_B, words, landed)

    def _land(self, flight: Flight) -> list[Row]:
        """Hear the words of a step; rows that have ended since it started get none."""
        if flight.landed is not None:
            flight.landed.synchronize()
        return self._hear(flight.rows, flight.words)

    def share(self, rows: Sequence[Row]) -> Shared:
        """What some rows share, that are in the batch or about to join."""
        return Shared.of_rows([row.prefix for row in rows])

    def decode(self, step: Step) -> tuple[Tensor, Tensor]:
        """Next words and their log-probabilities, both B. No shape depends on a value."""
        rows = len(step.tokens_B)
        memory = _Own(
            self.own_L2BKTE[:, :, :rows, :, : step.reach], step.shared, step.filled_B, step.filled_B
        )
        embeds = self.runner.language.model.embed_tokens(step.tokens_B)[:, None]
        none = torch.zeros_like(step.tokens_B)
        state = self.runner.run(embeds, step.at_B[:, None], memory, none)
        assert state is not None
        return self.runner.words(state)

    def _hear(self, rows: Sequence[Row], words: tuple[Tensor, Tensor]) -> list[Row]:
        """Note the words of rows, as far as they are still here; those that ended leave."""
        ended = []
        here = {id(row) for row in self.rows}
        chosen, logprobs = (tensor.tolist() for tensor in words)
        for row, token, logprob in zip(rows, chosen, logprobs, strict=True):
            if id(row) not in here:
                continue
            row.logprobs.append(logprob)
            if token != self.eos_token_id:
                row.tokens.append(token)
            if token == self.eos_token_id or len(row.logprobs) >= row.limit or logprob != logprob:
                ended.append(row)
        if ended:
            gone = {id(row) for row in ended}
            for place in reversed(range(len(self.rows))):
                if id(self.rows[place]) in gone:
                    self._remove(place)
        return ended

    def _remove(self, place: int) -> None:
        broken = self.rows[place].logprobs[-1] != self.rows[place].logprobs[-1]
        last = self.rows.pop()
        if place < len(self.rows):
            self.rows[place] = last
            self.own_L2BKTE[:, :, place] = self.own_L2BKTE[:, :, len(self.rows)]
        if broken:  # hidden from those who come here next, but no weight of 0 hides a nan
            self.own_L2BKTE[:, :, len(self.rows)] = 0
        self._shared = None

    def _reserve(self, rows: int, positions: int) -> None:
        """Room in the buffer for so many rows of so many positions."""
        have_rows, have_positions = self.own_L2BKTE.shape[2], self.own_L2BKTE.shape[4]
        if rows > have_rows or positions > have_positions:
            self._resize(max(rows, have_rows), max(positions, have_positions))

    def _resize(self, rows: int, positions: int) -> None:
        old = self.own_L2BKTE[:, :, : len(self.rows)]
        # rows of different lengths read beyond their own, with a weight of 0: it has to be a number
        self.own_L2BKTE = self.runner.empty_kv(rows, positions=positions).zero_()
        self.own_L2BKTE[:, :, : len(self.rows), :, : old.shape[4]] = old


class _Own:
    """Own keys and values of some rows, behind what they share.

    New positions go behind `filled_B` earlier ones; the one query of the last layer reads up to
    `last_B`.
    """

    def __init__(self, kv_L2BKTE: Tensor, shared: Shared, filled_B: Tensor, last_B: Tensor) -> None:
        self.kv_L2BKTE = kv_L2BKTE
        self.shared = shared
        self.filled_B = filled_B
        self.last_B = last_B
        self.rows_B = torch.arange(len(filled_B), device=filled_B.device)

    @cached_property
    def hiding(self) -> Tensor:
        """A bias B x 1 x 1 x T that hides what is behind `last_B`."""
        reach = torch.arange(self.kv_L2BKTE.shape[4], device=self.last_B.device)
        hidden = reach > self.last_B[:, None]
        bias = torch.zeros(hidden.shape, dtype=self.kv_L2BKTE.dtype, device=hidden.device)
        return bias.masked_fill(hidden, float("-inf"))[:, None, None]

    def put(self, layer: int, k_BSKE: Tensor, v_BSKE: Tensor) -> None:
        key, value = self.kv_L2BKTE[layer]
        if k_BSKE.shape[1] > 1:
            key.copy_(k_BSKE.transpose(1, 2))
            value.copy_(v_BSKE.transpose(1, 2))
        else:
            key[self.rows_B, :, self.filled_B] = k_BSKE[:, 0]
            value[self.rows_B, :, self.filled_B] = v_BSKE[:, 0]

    def read(self, layer: int, q_BSHE: Tensor) -> Tensor:
        key, value = self.kv_L2BKTE[layer]
        shared = self.shared.attend(layer, q_BSHE)
        if q_BSHE.shape[1] > 1:
            return join(*shared, *attend(q_BSHE, key, value, causal=True))
        if fuses(q_BSHE):
            return kernels.read_own(q_BSHE, key, value, self.last_B, *shared)
        return join(*shared, *attend(q_BSHE, key, value, bias=self.hiding))
