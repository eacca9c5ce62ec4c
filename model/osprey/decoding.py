"""One decoding batch for regions of many images: rows join as they arrive, leave as they end.

Shapes: B rows, S own tokens of the longest joining row, T own positions, P prefix positions,
H heads, K key and value heads, E channels of a head, D channels of the model, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.osprey.attention import PrefixKV, Shared, attend, join
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


class DecodingBatch:
    """Greedy decoding.

    Own keys and values live in one static buffer; the live rows are its first ones. When a row
    ends, the last one takes its place. Its positions are a multiple of `grain`.
    """

    grain = 1

    def __init__(self, runner: LanguageRunner, *, eos_token_id: int | None) -> None:
        self.runner = runner
        self.eos_token_id = eos_token_id
        self.rows: list[Row] = []
        self.own_L2BKTE = runner.empty_kv(0, positions=0)
        self._shared: Shared | None = None

    def padded(self, positions: int) -> int:
        """Positions that a row takes in the buffer."""
        return -(-positions // self.grain) * self.grain

    def clear(self, *, buffers: bool = False) -> None:
        """Put all rows out; with `buffers`, give their memory back, too."""
        self.rows.clear()
        self._shared = None
        if buffers:
            self.own_L2BKTE = self.own_L2BKTE[:, :, :0, :, :0].clone()

    def join(self, rows: Sequence[Row]) -> list[Row]:
        """Take rows in, run their own tokens, find their first words; those that end with it."""
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
        return self._hear(words, first)

    def step(self) -> list[Row]:
        """One more word for every row; those that end with it."""
        if not self.rows:
            return []
        if self._shared is None:
            self._shared = self.share(self.rows)
        device = self.runner.device
        filled = [row.filled for row in self.rows]
        numbers = torch.tensor(
            [
                [row.tokens[-1] for row in self.rows],
                filled,
                [row.prefix.length + row.filled for row in self.rows],
            ]
        )
        if device.type == "cuda":
            numbers = numbers.pin_memory()
        tokens, filled_B, at = numbers.to(device, non_blocking=True)
        return self._hear(self.decode(Step(tokens, filled_B, at, self._shared, max(filled) + 1)), 0)

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

    def _hear(self, words: tuple[Tensor, Tensor], first: int) -> list[Row]:
        """Note the words of the rows from `first` on; those that ended leave."""
        ended = []
        chosen, logprobs = (tensor.tolist() for tensor in words)
        for row, token, logprob in zip(self.rows[first:], chosen, logprobs, strict=True):
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
        self.rows_B = torch.arange(len(filled_B), device=filled_B.device)
        reach = torch.arange(kv_L2BKTE.shape[4], device=filled_B.device)
        hidden = reach > last_B[:, None]
        self.bias_B11T = torch.zeros(
            hidden.shape, dtype=kv_L2BKTE.dtype, device=hidden.device
        ).masked_fill(hidden, float("-inf"))[:, None, None]

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
        if q_BSHE.shape[1] > 1:
            own = attend(q_BSHE, key, value, causal=True)
        else:
            own = attend(q_BSHE, key, value, bias=self.bias_B11T)
        return join(*self.shared.attend(layer, q_BSHE), *own)
