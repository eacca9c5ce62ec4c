"""Sizes of an Osprey model, read from and written to `config.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

EXTENSION = "osprey_streamer"
RESIZES = ("official", "direct")

_LLAMA_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
)


def _vicuna_7b() -> dict[str, Any]:
    return {
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": False,
    }


@dataclass(frozen=True, kw_only=True)
class Hedge:
    """Words that are said only when the model is sure of them.

    A small model with a closed vocabulary takes what it does not know for the nearest that it
    knows. One of `token_ids` whose probability is below its `least` (0..1) becomes `instead_id`,
    and the answer goes on from there.
    """

    token_ids: tuple[int, ...]
    instead_id: int
    least: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.least) != len(self.token_ids):
            raise ValueError("a hedge has as many least probabilities as tokens")


@dataclass(frozen=True, kw_only=True)
class OspreyConfig:
    """The defaults are those of Osprey-7B.

    `mm_hidden_size` is the width of the tower level that becomes image tokens (res4);
    `extractor_width` the width in which the four pooled levels are summed; `position_width` the
    hidden width of the position MLP over the `mask_grid` x `mask_grid` mask. `<mask>` and `<pos>`
    have ids behind the vocabulary and no rows in the embedding table. `resize` says how a picture
    comes to the square of `image_size_px`: "official" in the two steps of the released code,
    "direct" in one, which takes a tenth of the time. `hedge` holds for captions, not for training;
    the official model has none.
    """

    image_size_px: int = 512
    resize: str = "official"
    vision_depths: tuple[int, ...] = (3, 3, 27, 3)
    vision_widths: tuple[int, ...] = (192, 384, 768, 1536)
    extractor_width: int = 1024
    position_width: int = 1024
    mask_grid: int = 112
    mm_hidden_size: int = 768
    language: dict[str, Any] = field(default_factory=_vicuna_7b)
    hedge: Hedge | None = None

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.language["hidden_size"])

    @property
    def image_tokens(self) -> int:
        """Positions that a picture takes: the cells of res4."""
        return (self.image_size_px // 16) ** 2

    @property
    def mask_token_id(self) -> int:
        return int(self.language["vocab_size"])

    @property
    def pos_token_id(self) -> int:
        return int(self.language["vocab_size"]) + 1

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> OspreyConfig:
        """Read a released `config.json`; sizes it does not state are those of Osprey-7B.

        Raises:
            ValueError: for another architecture, a projector other than `mlp2x_gelu`, an unknown
                own field, or a size that is no number from 1 on.
        """
        if not isinstance(data, dict):
            raise ValueError(f"a mapping is wanted, not a {type(data).__name__}")
        kind = data.get("model_type", "osprey")
        if kind == "sam-nano":
            raise ValueError("this is a sam-nano, which finds masks; give an Osprey's folder")
        if kind != "osprey":
            raise ValueError(f"the model is of type {kind!r}, not an Osprey")
        projector = data.get("mm_projector_type", "mlp2x_gelu")
        if projector != "mlp2x_gelu":
            raise ValueError(f"projector {projector!r} is not supported, only 'mlp2x_gelu'")
        own = dict(data.get(EXTENSION, {}))
        unknown = set(own) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"config.json: unknown fields {sorted(unknown)} in {EXTENSION!r}")
        for name in ("vision_depths", "vision_widths"):
            if name in own:
                own[name] = tuple(own[name])
        if own.get("resize", "official") not in RESIZES:
            raise ValueError(f"config.json: resize is {own['resize']!r}, not one of {RESIZES}")
        if own.get("hedge"):
            own["hedge"] = _hedge(own["hedge"])
        language = _vicuna_7b() | {k: data[k] for k in _LLAMA_FIELDS if data.get(k) is not None}
        mm_hidden_size = data.get("mm_hidden_size") or 768
        for name, size in [("mm_hidden_size", mm_hidden_size), *language.items()]:
            counts = name.endswith(("_size", "_layers", "_heads", "_position_embeddings"))
            if counts and (not isinstance(size, int) or size < 1):
                raise ValueError(f"{name} is {size!r}, not a number from 1 on")
        return cls(mm_hidden_size=mm_hidden_size, language=language, **own)

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`."""
        own = {
            "image_size_px": self.image_size_px,
            "vision_depths": list(self.vision_depths),
            "vision_widths": list(self.vision_widths),
            "extractor_width": self.extractor_width,
            "position_width": self.position_width,
            "mask_grid": self.mask_grid,
            **({} if self.resize == "official" else {"resize": self.resize}),
            **({"hedge": asdict(self.hedge)} if self.hedge else {}),
        }
        return {
            "architectures": ["OspreyLlamaForCausalLM"],
            "model_type": "osprey",
            "mm_projector_type": "mlp2x_gelu",
            "mm_hidden_size": self.mm_hidden_size,
            **self.language,
            EXTENSION: own,
        }


def _hedge(data: Any) -> Hedge:
    try:
        return Hedge(
            token_ids=tuple(int(i) for i in data["token_ids"]),
            instead_id=int(data["instead_id"]),
            least=tuple(float(p) for p in data["least"]),
        )
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"config.json: hedge is {data!r}; wanted token_ids, instead_id and least"
        ) from None
