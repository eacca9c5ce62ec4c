"""What only a CUDA device can show. Skips where there is none; `make gpu-check` runs it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model.evaluation.captioner_speed import Case, measure, run_engine
from model.evaluation.pictures import ellipses, picture
from model.evaluation.roofline import measure_ceilings
from model.evaluation.stopwatch import Stopwatch
from model.evaluation.subjects import MID, Subject, random_model, subject
from model.osprey.attention import attend, attend_plainly
from model.osprey.captioner import OspreyCaptioner
from model.osprey.decoding import DecodingBatch
from model.osprey.engine import Engine
from model.osprey.graphs import GraphedBatch
from model.osprey.model import Osprey
from model.osprey.processor import preprocess_all

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
HW = (200, 300)
CUDA = torch.device("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, 4, 32), (8, 2, 128)])
def test_attention_tells_output_and_log_sum_exp(
    dtype: torch.dtype, heads: int, kv_heads: int, width: int
) -> None:
    torch.manual_seed(0)
    tolerance = 2e-2 if dtype is torch.bfloat16 else 1e-4
    for new, length in ((1, 13), (1, 64), (5, 77), (40, 1080)):
        q = torch.randn(3, new, heads, width, device=CUDA, dtype=dtype)
        k, v = torch.randn(2, 3, kv_heads, length, width, device=CUDA, dtype=dtype)
        wide_k, wide_v = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
        bias = torch.zeros(3, 1, 1, length, device=CUDA, dtype=dtype)
        bias[1, ..., 7:] = float("-inf")
        for given in (None, bias):
            out, lse = attend(q, k, v, bias=given)
            wanted = attend_plainly(q.transpose(1, 2), wide_k, wide_v, given, causal=False)
            torch.testing.assert_close(out, wanted[0].transpose(1, 2), atol=tolerance, rtol=0.02)
            torch.testing.assert_close(lse, wanted[1].transpose(1, 2), atol=tolerance, rtol=0.02)
        own = attend(q, k[:, :, :new], v[:, :, :new], causal=True)
        wanted = attend_plainly(
            q.transpose(1, 2), wide_k[:, :, :new], wide_v[:, :, :new], None, causal=True
        )
        torch.testing.assert_close(own[0], wanted[0].transpose(1, 2), atol=tolerance, rtol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(4, 4, 32), (8, 2, 128), (3, 3, 24)])
def test_fused_kernels_compute_what_pytorch_does(
    dtype: torch.dtype, heads: int, kv_heads: int, width: int
) -> None:
    kernels = pytest.importorskip("model.osprey.kernels")
    torch.manual_seed(0)
    tolerance = 2e-2 if dtype is torch.bfloat16 else 1e-5
    last = torch.tensor([0, 5, 31, 32, 76], device=CUDA)
    q = torch.randn(5, 1, heads, width, device=CUDA, dtype=dtype)
    # what is not read is poisoned
    own = torch.randn(2, 5, kv_heads, 80, width, device=CUDA, dtype=dtype)
    shared = torch.randn(2, 5, kv_heads, 40, width, device=CUDA, dtype=dtype)
    seen = torch.arange(80, device=CUDA) <= last[:, None]
    k, v = own.masked_fill(~seen[:, None, :, None], float("nan"))
    found = kernels.read_own(q, k, v, last, *attend(q, *shared))
    key, value = torch.cat([shared, own], dim=3).repeat_interleave(heads // kv_heads, dim=2)
    bias = torch.zeros(5, 1, 1, 120, device=CUDA).masked_fill(
        F.pad(~seen, (40, 0))[:, None, None], float("-inf")
    )
    wanted, _ = attend_plainly(q.transpose(1, 2), key, value, bias, causal=False)
    torch.testing.assert_close(found, wanted.transpose(1, 2), atol=tolerance, rtol=0.02)

    x = torch.randn(5, 7, heads, width, device=CUDA, dtype=dtype)
    cos, sin = torch.randn(2, 5, 7, 1, width // 2, device=CUDA, dtype=dtype).repeat(1, 1, 1, 1, 2)
    a, b = x.float().chunk(2, dim=-1)
    wanted = x.float() * cos.float() + torch.cat([-b, a], dim=-1) * sin.float()
    torch.testing.assert_close(
        kernels.rotate(x, cos, sin).float(), wanted, atol=tolerance, rtol=0.02
    )


def asked(seed: int, regions: tuple[int, ...]) -> tuple[list, list]:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    masks = [ellipses(count, HW, rng) for count in regions]
    return [picture(HW, of_image, rng) for of_image in masks], masks


def exact(name: str, device: torch.device) -> Subject:
    """Osprey-nano or the mid-size model in float32."""
    if name == "mid":
        model = random_model(MID, torch.device("cpu"), torch.float32).to(device)
        captioner = OspreyCaptioner(model, None, name="mid", weights_hash="0" * 12)
        return Subject("mid", captioner, subject("mid", torch.device("cpu")).ids)
    of = subject("nano", torch.device("cpu"))
    of.captioner.model.to(device)
    captioner = OspreyCaptioner(
        of.captioner.model, of.captioner.tokenizer, name="nano", weights_hash="0" * 12
    )
    captioner.engine.batch.eos_token_id = None
    return Subject("nano", captioner, of.ids)


@pytest.mark.parametrize("name", ["mid", "nano"])
def test_float32_words_are_those_of_the_cpu(name: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    images, masks = asked(1, (9, 3))
    on_cpu = exact(name, torch.device("cpu"))
    wanted = run_engine(on_cpu, images, masks, 6, Stopwatch(torch.device("cpu")))
    on_gpu = exact(name, CUDA)
    assert isinstance(on_gpu.captioner.engine.batch, GraphedBatch)
    found = run_engine(on_gpu, images, masks, 6, Stopwatch(CUDA))
    pairs = [(a, b) for x, y in zip(found, wanted, strict=True) for a, b in zip(x, y, strict=True)]
    # random weights have near-ties, which two devices may round apart
    assert np.mean([a == b for a, b in pairs]) >= (0.9 if name == "mid" else 1.0)
    assert on_gpu.captioner.engine.batch.recordings > 0


def test_bfloat16_errs_no_more_than_the_official_procedure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores of the first word, both against float32 on the same weights."""
    images, masks = asked(6, (12,))
    of = subject("mid", CUDA)
    model, captioner = of.captioner.model, of.captioner
    exactly = copy.deepcopy(model).float()
    pixels = preprocess_all(images, captioner.image_size_px, device=CUDA)
    ids = torch.tensor(of.ids, device=CUDA)

    def official(by: Osprey) -> torch.Tensor:
        with torch.inference_mode():
            levels = by.vision_tower(pixels.to(by.dtype))
            image = by.image_tokens(levels)[0]
            found = by.mask_extractor(levels, torch.from_numpy(masks[0]).to(CUDA))
            pairs = zip(*(tokens.split(1) for tokens in found), strict=True)
            rows = torch.stack([by.splice(ids, image, *pair) for pair in pairs])
            return by.language(inputs_embeds=rows).logits[:, -1].float()

    seen = []
    words = captioner.runner.words

    def heard(state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        norm = captioner.runner._norm(model.language.model.norm, state)
        seen.append(model.language.lm_head(norm).float())
        return words(state)

    monkeypatch.setattr(captioner.runner, "words", heard)
    run_engine(of, images, masks, 1, Stopwatch(CUDA))
    truth = official(exactly)
    ours, theirs = (
        float((scores - truth).norm() / truth.norm()) for scores in (seen[0], official(model))
    )
    print(f"relative error of scores in bfloat16: engine {ours:.4f}, official {theirs:.4f}")
    assert ours < 1.2 * theirs
    assert theirs < 0.2


def test_graphs_give_the_words_of_plain_steps() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    of = exact("mid", CUDA)
    images, masks = asked(2, (5, 17, 1))
    engine = of.captioner.engine
    engine.most_rows = 8  # rows leave and join
    graphed = run_engine(of, images, masks, 70, Stopwatch(CUDA))
    plain = DecodingBatch(of.captioner.runner, eos_token_id=None)
    of.captioner.engine = Engine(plain, budget_bytes=engine.budget_bytes)
    eager = run_engine(of, images, masks, 70, Stopwatch(CUDA))
    pairs = [(a, b) for x, y in zip(graphed, eager, strict=True) for a, b in zip(x, y, strict=True)]
    # two batch sizes may round a near-tie apart, and an answer goes its own way from there
    assert np.mean([a[:16] == b[:16] for a, b in pairs]) >= 0.9


def test_lack_of_memory_halves_the_batch() -> None:
    of = subject("mid", CUDA)
    images, masks = asked(3, (40,))
    run_engine(of, images, masks, 4, Stopwatch(CUDA))
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    # the allocator itself says no: room for a part of the rows' keys and values
    row = of.captioner.runner.position_bytes * of.captioner.engine.batch.padded(1000)
    limit = torch.cuda.memory_reserved() + 20 * row
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        answers = run_engine(of, images, masks, 1000, Stopwatch(CUDA))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert of.captioner.engine.halvings > 0
    assert [len(answer) for answer in answers[0]] == [1000] * 40


def test_the_benchmark_counts() -> None:
    of = subject("mid", CUDA)
    figures = measure(
        of, Case(4, 8), measure_ceilings(CUDA, torch.bfloat16), rounds=1, reference=True
    )
    assert figures.reference_regions == 4
    assert 0 < figures.share < 1
    assert figures.engine_peak_bytes is not None
    assert figures.engine_peak_bytes > 0
