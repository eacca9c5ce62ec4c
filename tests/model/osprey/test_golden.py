"""Parity with the official code: its own numbers, within the tolerances stated beside them."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from model.osprey.checkpoint import load_folder
from model.osprey.decoding import DecodingBatch, Row
from model.osprey.language import LanguageRunner
from model.osprey.mask_extractor import MaskExtractor, pool
from model.osprey.model import Osprey
from model.osprey.processor import preprocess
from model.osprey.prompt import SYSTEM, build_prompt
from model.osprey.vision import Levels, VisionTower

WIDTHS = (192, 384, 768, 1536)
LEVELS = (("res2", 192, 128), ("res3", 384, 64), ("res4", 768, 32), ("res5", 1536, 16))


def counter_hash(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """`R` of the reference: values in [-1, 1) from a counter hash of the name."""
    n = int(np.prod(shape))
    x = (np.arange(n, dtype=np.uint64) + zlib.crc32(name.encode())) % 2**32
    x ^= x >> np.uint64(16)
    x = x * 0x7FEB352D % 2**32
    x ^= x >> np.uint64(15)
    x = x * 0x846CA68B % 2**32
    x ^= x >> np.uint64(16)
    return (x / 2**32 * 2 - 1).reshape(shape)


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """`W` of the reference, float32."""
    values = counter_hash(key, shape)
    if len(shape) == 1:
        if key.endswith(".gamma"):
            values = 0.4 + 0.2 * values
        elif key.endswith(".bias"):
            values = 0.05 * values
        else:
            values = 1 + 0.1 * values
    else:
        values = np.sqrt(3 / np.prod(shape[1:])) * values
    return torch.from_numpy(values.astype(np.float32))


def fill(module: torch.nn.Module, prefix: str) -> None:
    state = {k: weight(prefix + k, tuple(v.shape)) for k, v in module.state_dict().items()}
    module.load_state_dict(state)


def test_formula_gives_the_spot_values_of_its_description() -> None:
    assert zlib.crc32(b"feat.res2") == 3507995093
    np.testing.assert_allclose(
        counter_hash("feat.res2", (4,)), [-0.0459, 0.9411, 0.8675, -0.0819], atol=5e-5
    )
    flat = weight("mask_extractor.res2.weight", (1024, 192)).flatten()[:4]
    np.testing.assert_allclose(flat, [-0.1212, 0.0264, 0.0309, 0.0843], atol=5e-5)


def test_pooling(reference_dir: Path) -> None:
    golden = load_file(reference_dir / "mask_pooling.safetensors")
    for kind in ("resized", "same"):
        out = pool(golden["x"], golden[f"mask_{kind}"][0])
        torch.testing.assert_close(out, golden[f"out_{kind}"][0], atol=1e-6, rtol=0)


def test_extractor_at_official_sizes(reference_dir: Path) -> None:
    golden = load_file(reference_dir / "mask_extractor_full.safetensors")
    extractor = MaskExtractor(WIDTHS, 1024, 1024, 112, 4096)
    fill(extractor, "mask_extractor.")
    for name, tensor in extractor.state_dict().items():
        torch.testing.assert_close(tensor.flatten()[:8], golden[f"head.{name}"].flatten())
    features = []
    for name, channels, side in LEVELS:
        noise = counter_hash(f"feat.{name}", (1, channels, side, side)).astype(np.float32)
        wave = (0.5 * np.sin(0.37 * np.arange(channels))).astype(np.float32)
        features.append(torch.from_numpy(noise + wave[:, None, None]))
        head = features[-1][0, :4, :2, :4]
        torch.testing.assert_close(head, golden[f"feat_head_{name}"].reshape(4, 2, 4))
    levels = Levels(*features)
    for size in ("150x200", "480x640", "512x512"):
        masks = golden[f"masks_{size}"]
        for level, (name, _, _) in zip(levels, LEVELS, strict=True):
            torch.testing.assert_close(
                pool(level, masks), golden[f"pooled_{name}_{size}"], atol=2e-5, rtol=1e-4
            )
        mask_token, pos_token = extractor(levels, masks)
        torch.testing.assert_close(mask_token, golden[f"mask_token_{size}"], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(pos_token, golden[f"pos_token_{size}"], atol=2e-5, rtol=1e-4)
        extractor.keep_small = True  # no golden mask vanishes on every level, so nothing changes
        torch.testing.assert_close(extractor.mask_tokens(levels, masks), mask_token)
        extractor.keep_small = False


def test_preprocessing(reference_dir: Path) -> None:
    golden = load_file(reference_dir / "preprocess.safetensors")
    sizes = [key.removeprefix("rgb_") for key in golden if key.startswith("rgb_")]
    assert len(sizes) == 3
    for size in sizes:
        wanted = golden[f"pixel_values_{size}"]
        atol = 2e-6 if wanted.dtype == torch.float32 else 1e-3
        pixels = preprocess(golden[f"rgb_{size}"].numpy(), 512)
        torch.testing.assert_close(pixels, wanted.float().reshape(3, 512, 512), atol=atol, rtol=0)


def test_tower_at_official_size(reference_dir: Path) -> None:
    golden = load_file(reference_dir / "convnext_large_64px.safetensors")
    tower = VisionTower((3, 3, 27, 3), WIDTHS)
    fill(tower, "visual.")
    with torch.inference_mode():
        levels = tower(golden["image"])
        odd = tower(golden["image_80x112"])
        stem = tower.trunk.stem(golden["image"])
    torch.testing.assert_close(stem, golden["stem"], atol=2e-4, rtol=1e-4)
    for name in Levels._fields:
        torch.testing.assert_close(getattr(levels, name), golden[name], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(odd.res4, golden["res4_80x112"], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(odd.res5, golden["res5_80x112"], atol=2e-4, rtol=1e-4)


def test_the_official_state_dict_as_a_folder(
    reference_dir: Path, tiny: Osprey, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(tiny.config.to_dict()))
    shutil.copy(reference_dir / "e2e_tiny_state_dict.safetensors", tmp_path / "model.safetensors")
    loaded = load_folder(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    assert len(tiny.state_dict()) == len(loaded.state_dict())
    for name, tensor in tiny.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_narrow_tower(reference_dir: Path, tiny: Osprey, golden: dict[str, Tensor]) -> None:
    wanted = load_file(reference_dir / "convnext_narrow_512px.safetensors")
    with torch.inference_mode():
        levels = tiny.vision_tower(golden["pixels"])
    for name in Levels._fields:
        atol = 2e-3 if name == "res2" else 1e-5
        torch.testing.assert_close(
            getattr(levels, name), wanted[name].float(), atol=atol, rtol=1e-5
        )
    torch.testing.assert_close(
        levels.image_tokens(), wanted["image_tokens"].reshape(1, 1024, 64), atol=1e-5, rtol=1e-5
    )


def test_tokens_embeddings_and_logits(tiny: Osprey, golden: dict[str, Tensor]) -> None:
    with torch.inference_mode():
        levels = tiny.vision_tower(golden["pixels"])
        image = tiny.image_tokens(levels)
        mask_tokens, pos_tokens = tiny.mask_extractor(levels, golden["masks"])
        ids = golden["input_ids_multi"][0].long()
        embeds = tiny.splice(ids, image[0], mask_tokens, pos_tokens)
        logits = tiny(golden["pixels"], ids[None], [golden["masks"]]).logits[0]
    torch.testing.assert_close(image[0], golden["image_tokens"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mask_tokens, golden["mask_tokens"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pos_tokens, golden["pos_tokens"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embeds, golden["inputs_embeds_multi"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, golden["logits_multi"], atol=2e-4, rtol=0)


def test_generation_over_one_shared_prefix(tiny: Osprey, golden: dict[str, Tensor]) -> None:
    ids = golden["input_ids_single"][0].long()
    at = int((ids == -200).nonzero()[0, 0])
    slot = int((ids == 400).nonzero()[0, 0])
    runner = LanguageRunner(tiny.language)
    with torch.inference_mode():
        levels = tiny.vision_tower(golden["pixels"])
        head = [tiny.embed(ids[:at]), tiny.image_tokens(levels)[0], tiny.embed(ids[at + 1 : slot])]
        prefix = runner.extend(None, torch.cat(head))
        tokens = tiny.mask_extractor(levels, golden["masks"])
        answers = [
            Row(
                prefix,
                tiny.splice_regions(ids[slot:], tokens[0][i : i + 1], tokens[1][i : i + 1]),
                12,
            )
            for i in range(3)
        ]
        batch = DecodingBatch(runner, eos_token_id=None)
        batch.join(answers)
        while batch.rows:
            batch.step()
    for i, answer in enumerate(answers):
        assert answer.tokens == golden["generated"][i].tolist()
        scores = golden["generated_scores"][i].log_softmax(-1)
        wanted = scores.gather(1, golden["generated"][i].long()[:, None])[:, 0]
        np.testing.assert_allclose(answer.logprobs, wanted, atol=2e-4)


def test_scores_of_every_greedy_step(tiny: Osprey, golden: dict[str, Tensor]) -> None:
    ids = golden["input_ids_single"][0].long()
    for i in range(3):
        made = golden["generated"][i].long()
        row = torch.cat([ids, made[:-1]])[None]
        with torch.inference_mode():
            logits = tiny(golden["pixels"], row, [golden["masks"][i : i + 1]]).logits[0, -12:]
        torch.testing.assert_close(logits, golden["generated_scores"][i], atol=2e-4, rtol=0)
        top = logits.topk(2, dim=-1).values
        torch.testing.assert_close(
            top[:, 0] - top[:, 1], golden["generated_margin"][i], atol=4e-4, rtol=0
        )


def test_training_loss_and_gradients(tiny: Osprey, golden: dict[str, Tensor]) -> None:
    pixels = torch.cat([golden["pixels"], golden["pixels"].flip(-1)])
    masks = [golden["masks"], golden["masks"][2:3].flip(-1)]
    labels = golden["train_labels"].long()
    ids = golden["train_input_ids"].long()
    wanted = golden["train_new_labels"].long()
    for row in range(2):
        spliced = tiny.spliced_labels(ids[row], labels[row], 1023)
        assert spliced.tolist() == wanted[row].tolist()
    attention = tiny.spliced_attention(golden["train_attention_mask"].long(), 1023)
    assert attention.tolist() == golden["train_new_attention_mask"].long().tolist()
    tiny.zero_grad()
    out = tiny(pixels, ids, masks, labels, golden["train_attention_mask"].long())
    assert out.loss is not None
    torch.testing.assert_close(out.loss, golden["train_loss"][0], atol=1e-4, rtol=0)
    out.loss.backward()
    from model.osprey.checkpoint import from_official

    grads = {k.removeprefix("grad."): v for k, v in golden.items() if k.startswith("grad.")}
    assert len(grads) == 8
    parameters = dict(tiny.named_parameters())
    for name, grad in from_official(grads).items():
        torch.testing.assert_close(parameters[name].grad, grad, rtol=1e-3, atol=1e-5)
    tiny.zero_grad()


def test_prompt_strings(reference_dir: Path) -> None:
    official = json.loads((reference_dir / "prompts.json").read_text())
    for name in ("demo_short", "demo_detailed", "lvis_paco", "open_vocab_seg", "refcocog",
                 "description"):  # fmt: skip
        assert build_prompt(name) == official[name]["prompt"]
    assert SYSTEM in official["pope"]["prompt"]
