"""Models that others released, and where they are to be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_TRANSFORMERS = ("*.json", "*.safetensors")
_SAM = "https://dl.fbaipublicfiles.com/segment_anything"


@dataclass(frozen=True)
class KnownModel:
    """A released model.

    Attributes:
        about: what it is, in a phrase.
        size_gb: of the download, rounded; from the shapes of its tensors where it was not stated.
        repository: on the Hugging Face hub, or "" where it is a single file.
        url: of the single file, or "".
        md5: the beginning of that file's MD5, as its publisher has it in the name.
        patterns: the files of the repository that are wanted.
    """

    about: str
    size_gb: float
    repository: str = ""
    url: str = ""
    md5: str = ""
    patterns: tuple[str, ...] = ("*.json", "*.bin", "*.safetensors", "tokenizer.model")

    @property
    def source(self) -> str:
        """An address to open in a browser."""
        return self.url or f"https://huggingface.co/{self.repository}"


KNOWN: Mapping[str, KnownModel] = MappingProxyType(
    {
        "osprey-7b": KnownModel(
            "Osprey-7B: regions of a picture into words", 14.0, repository="sunshine-lwt/Osprey-7b"
        ),
        "osprey-chat-7b": KnownModel(
            "Osprey-Chat-7B: also trained to talk about whole pictures",
            14.0,
            repository="sunshine-lwt/Osprey-Chat-7b",
        ),
        "osprey-7b-refcocog": KnownModel(
            "Osprey-7B tuned on RefCOCOg region captions",
            14.0,
            repository="sunshine-lwt/Osprey-7b-Refercocog-finetuning",
        ),
        "clip-convnext-large": KnownModel(
            "ConvNeXt-Large CLIP: the captioner `clip`, and the tower of Osprey",
            1.4,
            repository="laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup",
            patterns=("open_clip_config.json", "open_clip_pytorch_model.bin"),
        ),
        "sam2.1-hiera-tiny": KnownModel(
            "SAM 2.1 tiny: masks through a film",
            0.2,
            repository="facebook/sam2.1-hiera-tiny",
            patterns=_TRANSFORMERS,
        ),
        "sam2.1-hiera-large": KnownModel(
            "SAM 2.1 large: masks through a film",
            0.9,
            repository="facebook/sam2.1-hiera-large",
            patterns=_TRANSFORMERS,
        ),
        "edgetam": KnownModel(
            "EdgeTAM: masks through a film, faster",
            0.1,
            repository="yonigozlan/EdgeTAM-hf",
            patterns=_TRANSFORMERS,
        ),
        "sam_vit_b": KnownModel(
            "SAM ViT-B: masks", 0.4, url=f"{_SAM}/sam_vit_b_01ec64.pth", md5="01ec64"
        ),
        "sam_vit_l": KnownModel(
            "SAM ViT-L: masks", 1.2, url=f"{_SAM}/sam_vit_l_0b3195.pth", md5="0b3195"
        ),
        "sam_vit_h": KnownModel(
            "SAM ViT-H: masks", 2.6, url=f"{_SAM}/sam_vit_h_4b8939.pth", md5="4b8939"
        ),
    }
)
