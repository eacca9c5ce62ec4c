"""Released folders are read as they come, written back, and refused with one clear error."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.osprey.captioner import OspreyCaptioner
from model.osprey.checkpoint import load_folder, save_folder, to_official, weights_hash
from model.osprey.config import OspreyConfig
from model.osprey.convert import convert_folder
from model.osprey.model import Osprey
from model.weights.files import weight_files
from tests.model.osprey.small_models import (
    small_config,
    small_model,
    small_tokenizer,
    write_official,
)

CPU = torch.device("cpu")
TOWER = "model.vision_tower.vision_tower."


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Osprey:
    return load_folder(folder, device=CPU, dtype=dtype)


def assert_same(one: Osprey, other: Osprey) -> None:
    state = one.state_dict()
    assert state.keys() == other.state_dict().keys()
    for name, tensor in other.state_dict().items():
        assert torch.equal(state[name], tensor), name


def outputs(model: Osprey) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(1, 3, 128, 128, generator=generator)
    masks = torch.zeros(1, 90, 120)
    masks[0, 20:60, 30:80] = 1
    ids = torch.tensor([[1, 5, -200, 7, 64, 65, 9]])
    with torch.inference_mode():
        logits: torch.Tensor = model(pixels, ids, [masks]).logits
    return logits


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
@pytest.mark.parametrize("shards", [1, 3])
def test_released_folders_load(tmp_path: Path, kind: str, shards: int) -> None:
    model = small_model()
    write_official(tmp_path, model, kind=kind, shards=shards)
    loaded = load(tmp_path)
    assert_same(loaded, model)
    assert not any(t.is_meta for t in [*loaded.parameters(), *loaded.buffers()])
    torch.testing.assert_close(outputs(loaded), outputs(model), atol=1e-6, rtol=0)
    assert loaded.mask_extractor.keep_small
    half = load(tmp_path, torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert half.language.model.rotary_emb.inv_freq.dtype == torch.float32


def test_an_older_pickle_and_shards_without_an_index_load(tmp_path: Path) -> None:
    model = small_model()
    state = write_official(tmp_path / "old", model)
    path = tmp_path / "old" / "pytorch_model.bin"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert_same(load(tmp_path / "old"), model)
    write_official(tmp_path / "many", model, shards=3)
    (tmp_path / "many" / "pytorch_model.bin.index.json").unlink()
    assert_same(load(tmp_path / "many"), model)


def test_fields_that_config_json_lacks(tmp_path: Path) -> None:
    bare = OspreyConfig.from_dict({"model_type": "osprey", "mm_projector_type": "mlp2x_gelu"})
    assert bare == OspreyConfig()
    assert (bare.mm_hidden_size, bare.mask_token_id, bare.pos_token_id) == (768, 32000, 32001)
    assert OspreyConfig.from_dict(bare.to_dict()) == bare


def test_names_and_shapes_of_the_released_7b() -> None:
    with torch.device("meta"):
        model = Osprey(OspreyConfig())
    shapes = {name: tuple(t.shape) for name, t in to_official(model.state_dict()).items()}
    assert len(shapes) == 345 - 5 + 16 + 4 + 291  # the tower's two unused heads left out
    wanted = {
        "model.embed_tokens.weight": (32000, 4096),
        "model.layers.31.self_attn.o_proj.weight": (4096, 4096),
        "model.layers.31.mlp.down_proj.weight": (4096, 11008),
        "model.mm_projector.0.weight": (4096, 768),
        "model.mm_projector.2.bias": (4096,),
        "mask_extractor.feat_linear.weight": (4096, 1024),
        "mask_extractor.mask_linear.layers.0.weight": (1024, 12544),
        "mask_extractor.res5.weight": (1024, 1536),
        f"{TOWER}visual.trunk.stem.0.weight": (192, 3, 4, 4),
        f"{TOWER}visual.trunk.stages.2.blocks.26.gamma": (768,),
        f"{TOWER}visual.trunk.stages.3.downsample.1.weight": (1536, 768, 2, 2),
        f"{TOWER}visual.trunk.stages.1.blocks.0.conv_dw.weight": (384, 1, 7, 7),
    }
    assert {name: shapes.get(name) for name in wanted} == wanted
    assert sum(math.prod(s) for n, s in shapes.items() if "mask_extractor" in n) == 25_245_696


def test_tokenizer_without_the_added_tokens(tmp_path: Path) -> None:
    write_official(tmp_path, small_model())
    path = tmp_path / "tokenizer.json"
    data = json.loads(path.read_text())
    added = [t for t in data["added_tokens"] if t["content"] not in ("<mask>", "<pos>")]
    assert len(added) == len(data["added_tokens"]) - 2
    path.write_text(json.dumps(data | {"added_tokens": added}))
    settings = tmp_path / "tokenizer_config.json"
    kept = {k: v for k, v in json.loads(settings.read_text()).items() if "special" not in k}
    settings.write_text(json.dumps({k: v for k, v in kept.items() if k != "added_tokens_decoder"}))
    captioner = OspreyCaptioner.from_folder(tmp_path, device="cpu")
    assert captioner.tokenizer.convert_tokens_to_ids(["<mask>", "<pos>"]) == [64, 65]


@pytest.mark.parametrize("file", ["open_clip_pytorch_model.bin", "open_clip_model.safetensors"])
def test_the_tower_may_lie_beside_as_an_open_clip_file(tmp_path: Path, file: str) -> None:
    model = small_model()
    state = write_official(tmp_path, model)
    tower = {k.removeprefix(TOWER): v for k, v in state.items() if k.startswith(TOWER)}
    rest = {k: v for k, v in state.items() if not k.startswith(TOWER)}
    torch.save(rest, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no vision tower: put open_clip_pytorch_model\.bin"):
        load(tmp_path)
    tower |= {"logit_scale": torch.ones(()), "text.positional_embedding": torch.ones(77, 8)}
    if file.endswith(".bin"):
        torch.save(tower, tmp_path / file)
    else:
        save_file(tower, tmp_path / file)
    assert_same(load(tmp_path), model)
    convert_folder(tmp_path, tmp_path / "whole")
    assert_same(load(tmp_path / "whole"), model)


def test_there_and_back(tmp_path: Path) -> None:
    model = small_model()
    write_official(tmp_path / "a", model, shards=2, mm_hidden_size=None, model_type="osprey")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps(config | {"mm_hidden_size": 24}))
    files = convert_folder(tmp_path / "a", tmp_path / "b", most_bytes=60_000)
    assert len(files) > 2
    for path in files:  # a tensor larger than that stands alone
        assert path.stat().st_size < 60_000 + 20_000 or len(load_file(path)) == 1
    assert_same(load(tmp_path / "b"), model)
    back = convert_folder(tmp_path / "b", tmp_path / "c", kind="bin", dtype=torch.float16)
    assert [path.name for path in back] == ["pytorch_model.bin"]
    state = torch.load(back[0], weights_only=True)
    assert {t.dtype for t in state.values()} == {torch.float16}
    assert not any("inv_freq" in n or "head.norm" in n for n in state)
    assert any(name.endswith(".gamma") for name in state)
    assert_same(load(tmp_path / "c"), model.half().float())
    assert OspreyCaptioner.from_folder(tmp_path / "c", device="cpu").image_size_px == 128
    with pytest.raises(ValueError, match="in use already"):
        convert_folder(tmp_path / "a", tmp_path / "b")


def test_saving_by_size(tmp_path: Path) -> None:
    model = small_model()
    save_folder(model, small_tokenizer(), tmp_path, most_bytes=50_000)
    names = [path.name for path in weight_files(tmp_path)]
    assert names[0].startswith("model-00001-of-")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(names)
    assert index["metadata"]["total_size"] == sum(p.numel() * 4 for p in model.parameters())
    assert_same(load(tmp_path), model)
    assert len(weights_hash(tmp_path)) == 12


def edit_state(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model-00001-of-00002.safetensors"
        state = load_file(path)
        change(state)
        save_file(state, path)
        index = folder / "model.safetensors.index.json"
        data = json.loads(index.read_text())
        other = {k: v for k, v in data["weight_map"].items() if v != path.name}
        index.write_text(json.dumps({"weight_map": other | dict.fromkeys(state, path.name)}))

    return apply


def cut(name: str, keep: float) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, int((folder / name).stat().st_size * keep))


def set_config(**fields: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return apply


def swap_list(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    text = path.read_text().replace("00001-of", "0000x-of").replace("00002-of", "00001-of")
    path.write_text(text.replace("0000x-of", "00002-of"))


SHARD = "model-00001-of-00002.safetensors"


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda f: (f / SHARD).unlink(), ["in part: 1 of 2", SHARD, "download"]),
        (cut(SHARD, 0.7), [SHARD, "cut off", "download it again"]),
        (cut(SHARD, 0), [SHARD, "is empty"]),
        (
            lambda f: (f / SHARD).write_text("version https://git-lfs.github.com/spec/v1\noid 1"),
            [SHARD, "Git LFS pointer"],
        ),
        (swap_list, ["not the list of these files", "is not in model-0000"]),
        (cut("model.safetensors.index.json", 0.5), ["index.json is no list of shards"]),
        (lambda f: (f / "config.json").unlink(), ["no config.json"]),
        (cut("config.json", 0.5), ["config.json is not JSON"]),
        (set_config(model_type="llava"), ["'llava', not an Osprey"]),
        (set_config(mm_projector_type="linear"), ["projector 'linear'"]),
        (set_config(hidden_size="wide"), ["hidden_size is 'wide'"]),
        (
            set_config(vocab_size=63),
            ["lm_head.weight is (64, 32), not (63, 32)", "model.embed_tokens.weight is"],
        ),
        (edit_state(lambda s: s.pop("lm_head.weight")), ["missing lm_head.weight"]),
        (
            edit_state(lambda s: s.update({"model.layers.9.x": torch.ones(1)})),
            ["extra model.layers.9.x"],
        ),
    ],
)
def test_damage_is_named(
    tmp_path: Path, damage: Callable[[Path], object], parts: list[str]
) -> None:
    model = small_model()
    write_official(tmp_path, model, kind="safetensors", shards=2)
    state = load_file(tmp_path / SHARD)
    if "lm_head.weight" not in state:  # the cases above want it in the first file
        second = tmp_path / SHARD.replace("00001-of", "00002-of")
        others = load_file(second)
        state["lm_head.weight"] = others.pop("lm_head.weight")
        save_file(others, second)
        save_file(state, tmp_path / SHARD)
        index = tmp_path / "model.safetensors.index.json"
        data = json.loads(index.read_text())
        data["weight_map"]["lm_head.weight"] = SHARD
        index.write_text(json.dumps(data))
    load(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=r".") as caught:
        load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    for part in parts:
        assert part in str(caught.value)


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.system, ("echo harm > harm.txt",))


@pytest.mark.parametrize("keep", [0.5, 0.01])
def test_pickles(tmp_path: Path, keep: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_official(tmp_path, small_model())
    path = tmp_path / "pytorch_model.bin"
    cut(path.name, keep)(tmp_path)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin .*(cut off|no file of plain)"):
        load(tmp_path)
    torch.save({"model.norm.weight": Harm()}, path)
    with pytest.raises(ValueError, match="holds code that is not run"):
        load(tmp_path)
    path.write_bytes(pickle.dumps(Harm(), protocol=2))
    with pytest.raises(ValueError, match=r"code that is not run|cut off"):
        load(tmp_path)
    assert not (tmp_path / "harm.txt").exists()
    torch.save({"model.norm.weight": torch.ones(32), "step": 3}, path)
    with pytest.raises(ValueError, match="holds more than tensors: step"):
        load(tmp_path)


MEASURE = """
import sys, threading, time
from pathlib import Path
import psutil, torch
from model.osprey.checkpoint import load_folder
import model.osprey.captioner, transformers
process, peak, done = psutil.Process(), 0, False
def watch():
    global peak
    while not done:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.0005)
torch.ones(64, 64) @ torch.ones(64, 64)
load_folder(Path(sys.argv[2]), device=torch.device("cpu"), dtype=torch.bfloat16)  # warm up
base = process.memory_info().rss
thread = threading.Thread(target=watch)
thread.start()
model = load_folder(Path(sys.argv[1]), device=torch.device("cpu"), dtype=torch.bfloat16)
done = True
thread.join()
print(peak - base)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_memory_while_loading(tmp_path: Path, kind: str) -> None:
    config = small_config(vocab_size=2000, hidden_size=1024, intermediate_size=2816,
                          num_hidden_layers=11, num_attention_heads=8)  # fmt: skip
    with torch.device("meta"):
        model = Osprey(config)
    model = model.to_empty(device="cpu").to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    write_official(tmp_path / "big", model, kind=kind, shards=2)
    write_official(tmp_path / "small", small_model(), kind=kind)
    size = sum(path.stat().st_size for path in weight_files(tmp_path / "big"))
    assert size > 250 << 20
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "big"), str(tmp_path / "small")],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    peak = int(done.stdout)
    print(f"{kind}: {peak / size:.3f} x the checkpoint's {size >> 20} MiB")
    assert 0.9 * size < peak <= 1.15 * size
