"""A region's words do not depend on who else is in the batch, nor on what was kept from before."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from model.osprey.asks import Ask, RegionError, RegionText, SharedPrefix
from model.osprey.attention import PrefixKV
from model.osprey.captioner import OspreyCaptioner
from model.osprey.decoding import DecodingBatch, Row
from model.osprey.engine import Engine
from model.osprey.graphs import StaticBatch
from model.osprey.memory import in_batches, is_out_of_memory
from model.osprey.model import Osprey
from model.osprey.prefix_cache import PrefixCache
from model.osprey.vision import Levels
from model.synthetic.scene import sample_scene
from model.weights import weights_folder

Masks = NDArray[np.bool_]


def boxes(count: int, hw: tuple[int, int], seed: int) -> Masks:
    """Rectangles anywhere, of any size."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *hw), bool)
    for mask in masks:
        top, left = (int(rng.integers(0, side - 8)) for side in hw)
        height, width = (int(rng.integers(8, side)) for side in hw)
        mask[top : top + height, left : left + width] = True
    return masks


def tokens(outcomes: Sequence[RegionText | RegionError]) -> list[tuple[int, ...]]:
    assert all(isinstance(outcome, RegionText) for outcome in outcomes), outcomes
    return [outcome.token_ids for outcome in outcomes if isinstance(outcome, RegionText)]


class AheadBatch(StaticBatch):
    """Starts steps before it has heard the words of the ones before, as on CUDA."""

    ahead = True


@pytest.fixture(scope="module")
def pictures(reference_dir: Path) -> list[NDArray[np.uint8]]:
    rgb = load_file(reference_dir / "preprocess.safetensors")["rgb_200x300"].numpy()
    return [rgb, np.ascontiguousarray(rgb[::-1]), np.ascontiguousarray(rgb[:, ::-1, ::-1])]


@pytest.fixture
def captioner(tiny: Osprey) -> OspreyCaptioner:
    return OspreyCaptioner(tiny, None, name="tiny", weights_hash="0" * 12)


@pytest.fixture(scope="module")
def ids(golden: dict[str, Tensor]) -> list[int]:
    return [int(i) for i in golden["input_ids_single"][0]]


@pytest.fixture
def prefixes(
    captioner: OspreyCaptioner, pictures: list[NDArray[np.uint8]], ids: list[int]
) -> list[SharedPrefix]:
    return [captioner.prefill_ids(f, ids) for f in captioner.encode(pictures)]


def test_the_official_tokens(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix], golden: dict[str, Tensor]
) -> None:
    answers = captioner.describe(prefixes[0], golden["masks"].numpy() > 0, max_new_tokens=12)
    assert tokens(answers) == [tuple(row) for row in golden["generated"].tolist()]


def test_alone_among_64_and_beside_other_images(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix]
) -> None:
    masks = boxes(64, (200, 300), seed=1)
    among = tokens(captioner.describe(prefixes[0], masks, max_new_tokens=12))
    assert len(set(among)) > 3
    for region in (0, 31, 63):
        alone = captioner.describe(prefixes[0], masks[region : region + 1], max_new_tokens=12)
        assert tokens(alone) == [among[region]]
    asks = [Ask(prefixes[i], boxes(n, (200, 300), seed=i), 4 + 5 * i) for i, n in ((1, 7), (2, 5))]
    beside = captioner.describe_all([asks[0], Ask(prefixes[0], masks, 12), asks[1]])
    assert tokens(beside[1]) == among
    for ask, outcomes in zip(asks, (beside[0], beside[2]), strict=True):
        alone = captioner.describe(ask.prefix, ask.masks, max_new_tokens=ask.max_new_tokens)
        assert tokens(outcomes) == tokens(alone)
        assert {len(ids) for ids in tokens(outcomes)} == {ask.max_new_tokens}


@pytest.mark.parametrize("kind", [DecodingBatch, StaticBatch, AheadBatch])
def test_rows_join_while_others_are_under_way(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix], kind: type[DecodingBatch]
) -> None:
    asks = [Ask(prefixes[i % 3], boxes(3, (200, 300), seed=i), 3 + 4 * (i % 4)) for i in range(8)]
    alone = [tokens(captioner.describe_all([ask])[0]) for ask in asks]
    captioner.engine = Engine(kind(captioner.runner, eos_token_id=None), budget_bytes=1 << 28)
    captioner.engine.most_rows = 5
    live: list[int] = []

    def arrivals() -> Iterator[list[Ask]]:
        for ask in asks:
            yield []
            live.append(len(captioner.engine.batch.rows))
            yield [ask]

    found: dict[tuple[int, int], tuple[int, ...]] = {}
    order = []
    for answer in captioner.answers(arrivals()):
        found[asks.index(answer.ask), answer.region] = tokens([answer.outcome])[0]
        order.append(asks.index(answer.ask))
    assert found == {(i, r): ids for i, group in enumerate(alone) for r, ids in enumerate(group)}
    assert order != sorted(order)  # the short ones did not wait for the long ones
    assert max(live) > 0  # and newcomers met others under way


def test_static_lanes_give_the_same_words(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix]
) -> None:
    asks = [Ask(p, boxes(2 + 3 * i, (200, 300), i), 5 + 40 * i) for i, p in enumerate(prefixes)]
    wanted = [tokens(outcomes) for outcomes in captioner.describe_all(asks)]
    batch = StaticBatch(captioner.runner, eos_token_id=None)
    captioner.engine = Engine(batch, budget_bytes=1 << 28)
    captioner.engine.most_rows = 6
    assert [tokens(outcomes) for outcomes in captioner.describe_all(asks)] == wanted
    assert batch.lanes is not None


@pytest.mark.parametrize("kind", [DecodingBatch, StaticBatch, AheadBatch])
def test_memory_that_was_never_written_counts_for_nothing(
    captioner: OspreyCaptioner,
    pictures: list[NDArray[np.uint8]],
    ids: list[int],
    kind: type[DecodingBatch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # questions of different lengths, and a prefix that is broken, before whole ones
    features = captioner.encode(pictures)
    longer = [*ids, *[5] * 7]
    asks = [
        Ask(captioner.prefill_ids(f, text), boxes(3, (200, 300), i), 6 + 30 * i)
        for i, f in enumerate(features)
        for text in (ids, longer)
    ]
    alone = [tokens(captioner.describe_all([ask])[0]) for ask in asks]
    fresh = captioner.runner.empty_kv
    monkeypatch.setattr(
        captioner.runner, "empty_kv", lambda *batch, **size: fresh(*batch, **size).fill_(np.nan)
    )
    captioner.engine = Engine(kind(captioner.runner, eos_token_id=None), budget_bytes=1 << 28)
    broken = PrefixKV(torch.full_like(asks[1].prefix.kv.kv_L2KPE, float("nan")))
    bad = Ask(SharedPrefix(features[0], broken, asks[1].prefix.suffix_ids), asks[1].masks, 90)
    for _ in range(2):
        outcomes = captioner.describe_all([asks[0], bad])
        assert tokens(outcomes[0]) == alone[0]
        assert all(isinstance(outcome, RegionError) for outcome in outcomes[1])
        assert [tokens(outcomes) for outcomes in captioner.describe_all(asks)] == alone


def test_osprey_nano_alone_and_in_company() -> None:
    captioner = OspreyCaptioner.from_folder(weights_folder("osprey-nano"), device="cpu")
    images, masks = [], []
    for seed in (3, 4):
        drawn = sample_scene(
            np.random.default_rng(seed),
            180,
            320,
            difficulty=0.2,
            n_objects=4,
            short_side_px=(30, 60),
        )
        images.append(drawn.image)
        masks.append(np.stack([item.mask for item in drawn.objects]))
    features = captioner.encode(images)
    asks = [
        Ask(captioner.prefill(f, prompt), m, 40)
        for f, m in zip(features, masks, strict=True)
        for prompt in ("demo_short", "demo_detailed")
    ]
    company = captioner.describe_all(asks)
    assert len({text for outcomes in company for text in tokens(outcomes)}) > 3
    for ask, outcomes in zip(asks, company, strict=True):
        for region, text in enumerate(tokens(outcomes)):
            alone = captioner.describe(ask.prefix, ask.masks[[region]], max_new_tokens=40)
            assert tokens(alone) == [text]


# -- what is kept


def test_a_later_prompt_runs_only_what_is_new(
    captioner: OspreyCaptioner,
    pictures: list[NDArray[np.uint8]],
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[int] = []
    extend = captioner.runner.extend

    def counting(past: PrefixKV | None, embeds: Tensor) -> PrefixKV:
        ran.append(len(embeds))
        return extend(past, embeds)

    monkeypatch.setattr(captioner.runner, "extend", counting)
    head, slot = ids.index(-200), ids.index(400)
    first, second = captioner.encode(pictures[:2])
    captioner.prefill_ids(first, ids)
    assert ran == [head, 1024 + slot - head - 1]
    captioner.prefill_ids(first, ids)
    captioner.prefill_ids(second, ids)
    assert ran[2:] == [1024 + slot - head - 1]
    other = [*ids[: slot - 2], 17, 18, 19, *ids[slot:]]
    later = captioner.prefill_ids(first, other)
    shorter = captioner.prefill_ids(first, [*ids[: slot - 3], *ids[slot:]])
    assert ran[3:] == [3]
    captioner.prefiller.cache.clear()
    for prefix, anew in ((later, other), (shorter, [*ids[: slot - 3], *ids[slot:]])):
        wanted = captioner.prefill_ids(first, anew).kv.kv_L2KPE
        torch.testing.assert_close(prefix.kv.kv_L2KPE, wanted, atol=1e-5, rtol=1e-5)


def test_the_cache_is_bounded_and_goes_with_its_images(
    captioner: OspreyCaptioner, pictures: list[NDArray[np.uint8]], ids: list[int]
) -> None:
    features = captioner.encode(pictures)
    one = captioner.prefill_ids(features[0], ids).kv.nbytes
    cache = captioner.prefiller.cache = PrefixCache(2 * one + one // 2)
    for f in features:
        captioner.prefill_ids(f, ids)
        assert cache.nbytes <= cache.limit_bytes
    slot = ids.index(400)
    assert cache.longest(features[0], ids[:slot]) == (None, 0)
    assert cache.longest(features[2], ids[:slot])[1] == slot
    assert cache.nbytes >= 2 * one
    del features, f
    gc.collect()
    assert cache.nbytes < one


# -- lack of memory


class Cramped(DecodingBatch):
    """Has memory for five rows."""

    def _need(self) -> None:
        if len(self.rows) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    def join(self, rows: Sequence[Row]) -> list[Row]:
        ended = super().join(rows)
        self._need()
        return ended


def test_lack_of_memory_halves_the_batch(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix]
) -> None:
    asks = [Ask(p, boxes(9, (200, 300), seed=i), 6) for i, p in enumerate(prefixes)]
    wanted = [tokens(outcomes) for outcomes in captioner.describe_all(asks)]
    engine = Engine(Cramped(captioner.runner, eos_token_id=None), budget_bytes=1 << 30)
    captioner.engine = engine
    assert [tokens(outcomes) for outcomes in captioner.describe_all(asks)] == wanted
    assert engine.most_rows == 3
    assert engine.halvings == 3
    assert [tokens(outcomes) for outcomes in captioner.describe_all(asks)] == wanted
    assert engine.halvings == 3


class CrampedAhead(Cramped, AheadBatch):
    """The same, ahead."""


def test_what_ended_before_memory_ran_out_is_kept(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix]
) -> None:
    sizes = ((3, 3), (2, 9), (4, 6))  # regions, words
    asks = [Ask(prefixes[0], boxes(n, (200, 300), n), words) for n, words in sizes]
    wanted = [tokens(outcomes) for outcomes in captioner.describe_all(asks)]
    engine = Engine(CrampedAhead(captioner.runner, eos_token_id=None), budget_bytes=1 << 30)
    captioner.engine = engine

    def arrivals() -> Iterator[list[Ask]]:
        yield asks[:2]
        yield []  # a step: the last words of the first ask are under way
        yield asks[2:]

    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for answer in captioner.answers(arrivals()):
        found[asks.index(answer.ask), answer.region] = tokens([answer.outcome])[0]
    assert engine.halvings == 1
    assert found == {(i, r): ids for i, group in enumerate(wanted) for r, ids in enumerate(group)}


def test_a_single_row_that_does_not_fit_ends_the_run(
    captioner: OspreyCaptioner,
    prefixes: list[SharedPrefix],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> Tensor:
        return torch.empty(1 << 60)  # the allocator itself says no

    monkeypatch.setattr(captioner.runner, "empty_kv", full)
    with pytest.raises(RuntimeError, match="allocat"):
        captioner.describe(prefixes[0], boxes(4, (200, 300), seed=0))
    assert captioner.engine.halvings == 2
    monkeypatch.undo()
    assert len(captioner.describe(prefixes[0], boxes(4, (200, 300), seed=0))) == 4


def test_the_budget_decides_the_batch(
    tiny: Osprey, captioner: OspreyCaptioner, prefixes: list[SharedPrefix]
) -> None:
    masks = boxes(12, (200, 300), seed=0)
    wanted = tokens(captioner.describe(prefixes[0], masks, max_new_tokens=8))
    small = OspreyCaptioner(tiny, None, name="s", weights_hash="0" * 12, memory_bytes=400_000)
    sizes: list[int] = []
    step = small.engine.batch.step

    def watched() -> list[Row]:
        sizes.append(len(small.engine.batch.rows))
        return step()

    small.engine.batch.step = watched  # type: ignore[method-assign]
    assert tokens(small.describe(prefixes[0], masks, max_new_tokens=8)) == wanted
    assert 1 <= max(sizes) < 12


def test_batches_of_anything_halve() -> None:
    sizes: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 3:
            torch.empty(1 << 60)
        return [2 * i for i in items]

    assert in_batches(run, range(10), 8, torch.device("cpu")) == [2 * i for i in range(10)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2]
    with pytest.raises(ZeroDivisionError):
        in_batches(lambda items: [1 // 0 for _ in items], [1], 1, torch.device("cpu"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    broken_off = RuntimeError("operation failed due to a previous error during capture")
    broken_off.__context__ = torch.cuda.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(broken_off)


# -- bad input


def test_bad_regions_cost_the_others_nothing(
    captioner: OspreyCaptioner, prefixes: list[SharedPrefix]
) -> None:
    masks = boxes(4, (200, 300), seed=5)
    wanted = tokens(captioner.describe(prefixes[0], masks, max_new_tokens=6))
    holed = masks.copy()
    holed[2] = False
    outcomes, wrong, flat = captioner.describe_all(
        [
            Ask(prefixes[0], holed, 6),
            Ask(prefixes[1], boxes(2, (300, 200), seed=0), 6),
            Ask(prefixes[1], np.ones((200, 300), bool), 6),
        ]
    )
    assert outcomes[2] == RegionError("its mask has no pixel inside the picture")
    assert tokens([outcomes[i] for i in (0, 1, 3)]) == [wanted[i] for i in (0, 1, 3)]
    reason = "masks are R x 200 x 300 like the picture, not (2, 300, 200)"
    assert wrong == [RegionError(reason)] * 2
    assert len(flat) == 1
    with pytest.raises(ValueError, match="region 2: its mask has no pixel"):
        captioner.describe(prefixes[0], holed)
    assert captioner.describe(prefixes[0], masks[:0]) == []


def test_features_that_are_not_finite(
    captioner: OspreyCaptioner,
    pictures: list[NDArray[np.uint8]],
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_levels = captioner.model.image_tokens

    def overflowing(levels: Levels) -> Tensor:
        levels.res4[1, :, 5, 5] = float("inf")
        return of_levels(levels)

    monkeypatch.setattr(captioner.model, "image_tokens", overflowing)
    good, bad = captioner.encode(pictures[:2])
    prefix = captioner.prefill_ids(good, ids)
    with pytest.raises(ValueError, match="not finite"):
        captioner.prefill_ids(bad, ids)
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 20:50, 30:60] = masks[1, 150:] = True
    clean, mixed = captioner.describe_all(
        [Ask(prefix, masks, 4), Ask(SharedPrefix(bad, prefix.kv, prefix.suffix_ids), masks, 4)]
    )
    assert mixed == [RegionError("the features of its image are not finite")] * 2
    assert tokens(clean)
    broken = PrefixKV(torch.full_like(prefix.kv.kv_L2KPE, float("nan")))
    (scores, fine) = captioner.describe_all(
        [Ask(SharedPrefix(good, broken, prefix.suffix_ids), masks, 4), Ask(prefix, masks, 4)]
    )
    assert scores == [RegionError("the language model's scores are not finite")] * 2
    assert tokens(fine) == tokens(clean)


def test_prompts_that_do_not_fit() -> None:
    captioner = OspreyCaptioner.from_folder(weights_folder("osprey-nano"), device="cpu")
    (features,) = captioner.encode([np.zeros((64, 64, 3), np.uint8)])
    with pytest.raises(ValueError, match="context of 2048: shorten it"):
        captioner.prefill(features, "word " * 1440 + "<mask><pos>")
    with pytest.raises(ValueError, match="nor contains '<mask><pos>'"):
        captioner.prefill(features, "What is it?")
    # an answer ends with the context
    prefix = captioner.prefill(features, "word " * 470 + "<mask><pos>")
    room = 2048 - prefix.kv.length - len(prefix.suffix_ids)
    assert 0 < room < 1000
    captioner.engine.batch.eos_token_id = None
    (answer,) = captioner.describe(prefix, np.ones((1, 64, 64), bool), max_new_tokens=1000)
    assert len(answer.token_logprobs) == room
