"""Models to be measured, and the prompt each is asked with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model.osprey.captioner import OspreyCaptioner
from model.osprey.config import OspreyConfig
from model.osprey.model import Osprey
from model.osprey.prompt import IMAGE_TOKEN_INDEX, build_prompt, tokenize_prompt
from model.weights import weights_folder

# the demo's short prompt in Llama's tokenizer: ids before the image, up to <mask>, behind <pos>
HEAD, MIDDLE, BEHIND = 35, 21, 11

SHARPNESS = 4.0  # of random attention, so that two tokens of a region matter among a thousand

MID = OspreyConfig(
    vision_depths=(3, 3, 9, 3),
    vision_widths=(96, 192, 384, 768),
    mm_hidden_size=384,
    language={
        **OspreyConfig().language,
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
    },
)


@dataclass(frozen=True)
class Subject:
    """A captioner without an end token, so that every answer has the same length, and the token
    ids of its prompt."""

    name: str
    captioner: OspreyCaptioner
    ids: tuple[int, ...]


def nano(dtype: torch.dtype | None = None, device: torch.device | None = None) -> Subject:
    """osprey-nano as it is."""
    captioner = OspreyCaptioner.from_folder(
        weights_folder("osprey-nano"), device=str(device or "auto"), dtype=dtype
    )
    captioner.engine.batch.eos_token_id = None
    ids = tokenize_prompt(build_prompt("demo_short"), captioner.tokenizer)
    return Subject("osprey-nano", captioner, tuple(ids))


def subject(
    name: str, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Subject:
    """ "mid": random weights of the size of FACTS' baseline; "7b": Osprey-7B's shape with random
    weights; "nano": osprey-nano as it is. bfloat16 on CUDA and float32 elsewhere, unless given.

    Raises:
        ValueError: for another name, and for 7b without a GPU.
    """
    if device is None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "nano":
        return nano(dtype, device)
    if name == "7b" and device.type != "cuda":
        raise ValueError("the 7B shape is measured on a CUDA device only, and there is none here")
    if name not in ("mid", "7b"):
        raise ValueError(f"no model {name!r} to measure: mid, nano, 7b")
    config = MID if name == "mid" else OspreyConfig()
    if dtype is None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = random_model(config, device, dtype)
    captioner = OspreyCaptioner(model, None, name=name, weights_hash="0" * 12)
    drawn = torch.randint(
        3,
        config.mask_token_id,
        (HEAD + MIDDLE + BEHIND,),
        generator=torch.Generator().manual_seed(0),
    ).tolist()
    ids = [
        *drawn[:HEAD],
        IMAGE_TOKEN_INDEX,
        *drawn[HEAD : HEAD + MIDDLE],
        config.mask_token_id,
        config.pos_token_id,
        *drawn[HEAD + MIDDLE :],
    ]
    title = f"{name}, random weights"
    return Subject(title if device.type == "cpu" else f"{title}, {dtype}", captioner, tuple(ids))


def random_model(config: OspreyConfig, device: torch.device, dtype: torch.dtype) -> Osprey:
    """Weights large enough that regions get different answers."""
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(2)
        model = Osprey(config).to(dtype).eval()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                bound = (3 / parameter[0].numel()) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)
        model.language.model.embed_tokens.weight.uniform_(-1, 1, generator=generator)
        for layer in model.language.model.layers:
            layer.self_attn.q_proj.weight.mul_(SHARPNESS)
    return model.requires_grad_(False)
