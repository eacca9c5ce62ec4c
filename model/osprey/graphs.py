"""Decoding steps as CUDA graphs: one launch a step instead of some thousand.

A graph replays the same kernels on the same memory, so everything it reads is static and of few
sizes: the prefixes of the live rows are copied once each into lanes, batch sizes are rounded up,
and reach grows in grains. The computation itself is that of `DecodingBatch`.

Shapes: G lanes, M rows a lane, B rows, P positions of a lane, K key and value heads, E channels of
a head, T own positions, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.osprey.attention import Block, PrefixKV, Shared, fuses
from model.osprey.decoding import DecodingBatch, Row, Step
from model.osprey.language import LanguageRunner

LANE_GRAIN = 64
WARM_UPS = 2


def bucket(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


class Lanes:
    """Static copies of prefixes, padded to one length."""

    def __init__(self, runner: LanguageRunner, *, lanes: int, positions: int) -> None:
        self.kv_L2GKPE = runner.empty_kv(lanes, positions=positions).zero_()
        self.bias_G11P = self.kv_L2GKPE.new_zeros(lanes, 1, 1, positions)
        self.holds: list[PrefixKV | None] = [None] * lanes

    def fits(self, prefixes: list[PrefixKV]) -> bool:
        """Whether all of them have room at a time."""
        longest = max(prefix.length for prefix in prefixes)
        return len(prefixes) <= len(self.holds) and longest <= self.kv_L2GKPE.shape[4]

    def place(self, prefixes: list[PrefixKV]) -> dict[int, int]:
        """The lane of each prefix, by its id; what is not there yet is copied in."""
        wanted = {id(prefix): prefix for prefix in prefixes}
        lanes = {id(held): g for g, held in enumerate(self.holds) if id(held) in wanted}
        free = [g for g in range(len(self.holds)) if g not in lanes.values()]
        for key in wanted.keys() - lanes.keys():
            lanes[key] = free.pop(0)
            self._fill(lanes[key], wanted[key])
        return lanes

    def _fill(self, lane: int, prefix: PrefixKV) -> None:
        self.holds[lane] = prefix
        self.kv_L2GKPE[:, :, lane, :, : prefix.length] = prefix.kv_L2KPE
        self.kv_L2GKPE[:, :, lane, :, prefix.length :] = 0
        self.bias_G11P[lane, ..., : prefix.length] = 0
        self.bias_G11P[lane, ..., prefix.length :] = float("-inf")


@dataclass(frozen=True, eq=False)
class _Recording:
    """Static inputs, static outputs, and what turns the one into the other."""

    step: Step
    words: tuple[Tensor, Tensor]
    graph: torch.cuda.CUDAGraph


class StaticBatch(DecodingBatch):
    """A decoding batch whose steps have static memory and few different sizes."""

    grain = 16
    lanes: Lanes | None = None

    def share(self, rows: Sequence[Row]) -> Shared:
        prefixes = list({id(row.prefix): row.prefix for row in (*self.rows, *rows)}.values())
        if self.lanes is None or not self.lanes.fits(prefixes):
            self.forget()
            longest = max(prefix.length for prefix in prefixes)
            self.lanes = Lanes(
                self.runner,
                lanes=bucket(len(prefixes)),
                positions=-(-longest // LANE_GRAIN) * LANE_GRAIN,
            )
        lane_of = self.lanes.place(prefixes)
        used = bucket(1 + max(lane_of.values()))
        kv, bias = self.lanes.kv_L2GKPE[:, :, :used], self.lanes.bias_G11P[:used]
        even = len({prefix.length for prefix in prefixes}) == 1
        if even:
            kv = kv[..., : prefixes[0].length, :]
        readers: list[list[int]] = [[] for _ in range(used)]
        for number, row in enumerate(rows):
            readers[lane_of[id(row.prefix)]].append(number)
        width = bucket(max(len(of_lane) for of_lane in readers))
        # lanes and places without a row compute row 0 once more, for nothing
        table = [
            number for of_lane in readers for number in [*of_lane, *[0] * (width - len(of_lane))]
        ]
        slots = [0] * len(rows)
        for lane, of_lane in enumerate(readers):
            for place, number in enumerate(of_lane):
                slots[number] = lane * width + place
        device = self.runner.device
        # with nothing to hide there is a faster kernel
        block = Block(kv, torch.tensor(table, device=device), None if even else bias)
        return Shared((block,), torch.tensor(slots, device=device))

    def decode(self, step: Step) -> tuple[Tensor, Tensor]:
        live, (block,) = len(step.tokens_B), step.shared.blocks
        have_rows, have_positions = self.own_L2BKTE.shape[2], self.own_L2BKTE.shape[4]
        rows = min(bucket(live), have_rows)
        assert block.rows is not None
        assert step.shared.slots_B is not None
        chosen, logprobs = self.replay(
            Step(
                tokens_B=_filled_up(step.tokens_B, rows),
                filled_B=_filled_up(step.filled_B, rows),
                at_B=_filled_up(step.at_B, rows),
                shared=Shared((block,), _filled_up(step.shared.slots_B, rows)),
                # the fused kernel stops where a row ends: one size for all
                reach=have_positions if fuses(self.own_L2BKTE) else self.padded(step.reach),
            )
        )
        return chosen[:live], logprobs[:live]

    def replay(self, step: Step) -> tuple[Tensor, Tensor]:
        """Run a step of a static size."""
        return super().decode(step)

    def forget(self) -> None:
        """Drop what depends on the addresses of buffers."""
        self.lanes = None

    def clear(self, *, buffers: bool = False) -> None:
        if buffers:
            self.forget()
        super().clear(buffers=buffers)

    def _resize(self, rows: int, positions: int) -> None:
        self.forget()
        self._shared = None
        super()._resize(rows, positions)


class GraphedBatch(StaticBatch):
    """Records each size once and replays it from then on."""

    ahead = True

    def __init__(self, runner: LanguageRunner, *, eos_token_id: int | None) -> None:
        super().__init__(runner, eos_token_id=eos_token_id)
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one memory: steps never overlap
        # one stream for all recordings: cuBLAS keeps a workspace for each that it ever saw
        self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @property
    def recordings(self) -> int:
        """Sizes recorded so far."""
        return len(self._recordings)

    def replay(self, step: Step) -> tuple[Tensor, Tensor]:
        (block,), slots = step.shared.blocks, step.shared.slots_B
        assert block.rows is not None
        assert slots is not None
        _, _, lanes, _, positions, _ = block.kv_L2GKPE.shape
        uneven = block.bias_G11P is not None
        key = (len(step.tokens_B), len(block.rows), step.reach, lanes, positions, uneven)
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._recordings[key] = self._record(step)
        mine = recording.step
        (my_block,), my_slots = mine.shared.blocks, mine.shared.slots_B
        assert my_block.rows is not None
        assert my_slots is not None
        for static, given in (
            (mine.tokens_B, step.tokens_B),
            (mine.filled_B, step.filled_B),
            (mine.at_B, step.at_B),
            (my_block.rows, block.rows),
            (my_slots, slots),
        ):
            static.copy_(given, non_blocking=True)
        recording.graph.replay()
        return recording.words

    def forget(self) -> None:
        super().forget()
        self._recordings.clear()
        self._pool = torch.cuda.graph_pool_handle()  # the old one went with its last recording

    def _record(self, step: Step) -> _Recording:
        (block,), slots = step.shared.blocks, step.shared.slots_B
        assert block.rows is not None
        assert slots is not None
        mine = replace(
            step,
            tokens_B=step.tokens_B.clone(),
            filled_B=step.filled_B.clone(),
            at_B=step.at_B.clone(),
            shared=Shared((replace(block, rows=block.rows.clone()),), slots.clone()),
        )
        # cuBLAS and the allocator settle before recording; writing the same keys again is harmless
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            for _ in range(WARM_UPS):
                super().replay(mine)
        torch.cuda.current_stream().wait_stream(self._side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._side):
            words = super().replay(mine)
        return _Recording(mine, words, graph)


def _filled_up(values_B: Tensor, rows: int) -> Tensor:
    """Padding rows are like row 0, but write into rows of the buffer that are free."""
    return torch.cat([values_B, values_B[:1].expand(rows - len(values_B))])
