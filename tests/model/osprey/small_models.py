"""Small Osprey models with random weights, and their folders as others would release them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.osprey.checkpoint import to_official
from model.osprey.config import OspreyConfig
from model.osprey.model import Osprey
from model.training.tokenizer import build_tokenizer, words_of

WORDS = "a red car and blue bus on the left A chat between curious human USER: ASSISTANT: What is ?"


def small_config(**language: Any) -> OspreyConfig:
    """Tower of four thin stages, a Llama of two layers; `language` changes its sizes."""
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1200,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    }
    return OspreyConfig(
        image_size_px=128,
        vision_depths=(1, 1, 1, 1),
        vision_widths=(8, 16, 24, 32),
        extractor_width=16,
        position_width=16,
        mm_hidden_size=24,
        language=sizes | language,
    )


def small_model(seed: int = 0, **language: Any) -> Osprey:
    """Random, but with layer scales, norms and attention that let the picture through."""
    torch.manual_seed(seed)
    model = Osprey(small_config(**language)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.4, 0.6)
        elif parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    return model


def small_tokenizer(vocab_size: int = 64) -> Any:
    """As many tokens as the model has, so that `<mask>` and `<pos>` come right behind."""
    words = words_of([WORDS])
    filler = [f"w{i}" for i in range(vocab_size - 3 - len(words))]
    return build_tokenizer([*words, *filler])


def official_state(model: Osprey) -> dict[str, Tensor]:
    """The state dict as the official code saves it, with tensors that nothing uses."""
    state = {
        name: tensor.detach().clone() for name, tensor in to_official(model.state_dict()).items()
    }
    tower = "model.vision_tower.vision_tower.visual."
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    state[tower + "head.mlp.fc1.weight"] = torch.ones(8, 32)
    state[tower + "trunk.head.norm.weight"] = torch.ones(32)
    return state


def write_official(
    folder: Path, model: Osprey, *, kind: str = "bin", shards: int = 1, **config: Any
) -> dict[str, Tensor]:
    """A folder as released: config.json without the fields official ones lack, shards with an
    index, a tokenizer. `config` changes fields, None removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    state = official_state(model)
    fields = model.config.to_dict() | {"mm_use_im_start_end": False, "torch_dtype": "bfloat16"}
    fields = {k: v for k, v in (fields | config).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(fields))
    stem, end = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    names = list(state)
    weight_map = {}
    for i in range(shards):
        part = {name: state[name] for name in names[i::shards]}
        number = f"-{i + 1:05}-of-{shards:05}" if shards > 1 else ""
        path = folder / f"{stem}{number}.{end}"
        if kind == "safetensors":
            save_file(part, path, metadata={"format": "pt"})
        else:
            torch.save(part, path)
        weight_map |= dict.fromkeys(part, path.name)
    if shards > 1:
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / f"{stem}.{end}.index.json").write_text(json.dumps(index))
    small_tokenizer(model.config.language["vocab_size"]).save_pretrained(folder)
    return state
