"""Zero-shot labels for regions: features pooled over the mask, projected as CLIP projects a
picture, compared with labels in words (a row of the tables in arXiv 2312.10032; pooling
before the head as in FC-CLIP, arXiv 2308.02487).

Shapes: R regions, H x W of the picture, K labels, P phrasings of one, C channels of the last
stage, D channels of the common space.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.device import choose_device
from model.osprey.mask_extractor import pool
from model.osprey.processor import preprocess
from model.weights.files import file_hash, read_headers, read_tensors

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_STRIDE_PX = 32


class RegionClassifier:
    """Probabilities of labels for regions.

    Args:
        clip: an `open_clip` CLIP with a ConvNeXt of timm as its picture tower.
        tokenizer: texts -> token ids, from open_clip.
        labels: texts; synonyms of one label are separated by commas, the best one counts.
        templates: sentences with {} for the label; their text features are averaged.
        image_size_px: side of the square the tower sees, a multiple of 32.

    Raises:
        ValueError: for a tower that is no ConvNeXt, no labels, or a side that does not fit.
    """

    def __init__(
        self,
        clip: Any,
        tokenizer: Any,
        labels: Sequence[str],
        templates: Sequence[str],
        *,
        image_size_px: int = 512,
        name: str = "clip",
        weights_hash: str = "",
    ) -> None:
        trunk = getattr(clip.visual, "trunk", None)
        if not (hasattr(trunk, "stages") and hasattr(trunk, "norm_pre")):
            raise ValueError(f"{name}: the picture tower is no ConvNeXt, its features have no grid")
        if image_size_px < _STRIDE_PX or image_size_px % _STRIDE_PX:
            raise ValueError(f"image_size_px is {image_size_px}, not a multiple of {_STRIDE_PX}")
        self.clip = clip.eval()
        self.image_size_px = image_size_px
        self.name = name
        self.weights_hash = weights_hash
        self.labels = [label.split(",")[0].strip() for label in labels]
        self._rows: list[list[int]] = []  # of each label, in the text features
        self._text_PD = self._embed_labels(labels, templates, tokenizer)

    @classmethod
    def from_path(
        cls,
        path: Path,
        labels: Sequence[str],
        templates: Sequence[str],
        *,
        architecture: str = "convnext_large_d_320",
        image_size_px: int = 512,
        device: str = "auto",
    ) -> RegionClassifier:
        """Load a file of open_clip, or a folder with one and its `open_clip_config.json`.

        Args:
            architecture: a name of open_clip's, for weights without an `open_clip_config.json`.
            device: "auto" takes CUDA where there is one.

        Raises:
            ValueError: when files are missing, unreadable or do not fit.
            ImportError: without open_clip.
        """
        import open_clip

        place = choose_device(device)
        file = _weight_file(path)
        sizes = _read_config(file.parent) or open_clip.get_model_config(architecture)
        if sizes is None:
            raise ValueError(f"open_clip knows no architecture {architecture!r}")
        try:
            clip = open_clip.CLIP(**sizes)
        except TypeError as error:
            raise ValueError(f"{file.parent}: not the sizes of a CLIP ({error})") from None
        _load(clip, file)
        return cls(
            clip.to(place),
            open_clip.SimpleTokenizer(context_length=clip.context_length),
            labels,
            templates,
            image_size_px=image_size_px,
            name=path.name if path.is_dir() else architecture,
            weights_hash=file_hash([file]),
        )

    @property
    def device(self) -> torch.device:
        device: torch.device = self.clip.logit_scale.device
        return device

    @torch.inference_mode()
    def classify(self, image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Tensor:
        """Natural-log probabilities of the labels, R x K.

        Args:
            image: HxWx3 uint8 RGB.
            masks: R x H x W, none empty.
        """
        region_RD = F.normalize(self.region_features(image, masks), dim=-1)
        scores_RP = self.clip.logit_scale.exp() * region_RD @ self._text_PD.T
        best = [scores_RP[:, rows].amax(dim=1) for rows in self._rows]
        scores_RK = torch.stack(best, dim=1)
        logprobs_RK: Tensor = scores_RK.float().log_softmax(dim=-1)
        return logprobs_RK

    @torch.inference_mode()
    def region_features(self, image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> Tensor:
        """Features in the common space, R x D, not normalised. A region smaller than a cell of
        the last stage is pooled over the cells its pixels lie in."""
        trunk, head = self.clip.visual.trunk, self.clip.visual.head
        pixels = preprocess(image, self.image_size_px)[None].to(self.device)
        level_1CHW = trunk.forward_features(pixels)
        inside = torch.from_numpy(np.ascontiguousarray(masks)).to(self.device)
        pooled_RC = pool(level_1CHW, inside, keep_small=True)
        features: Tensor = head(trunk.head(pooled_RC[:, :, None, None]))
        return features

    @torch.inference_mode()
    def _embed_labels(
        self, labels: Sequence[str], templates: Sequence[str], tokenizer: Any
    ) -> Tensor:
        features: list[Tensor] = []
        for label in labels:
            synonyms = [word.strip() for word in label.split(",") if word.strip()]
            self._rows.append(list(range(len(features), len(features) + len(synonyms))))
            for synonym in synonyms:
                texts = tokenizer([template.format(synonym) for template in templates])
                phrased_PD = F.normalize(self.clip.encode_text(texts.to(self.device)), dim=-1)
                features.append(F.normalize(phrased_PD.mean(dim=0), dim=0))
        if not self._rows or not all(self._rows):
            raise ValueError("every label needs words, and there is at least one label")
        return torch.stack(features)


def _weight_file(path: Path) -> Path:
    if path.is_file():
        return path
    for name in FILES:
        if (path / name).is_file():
            return path / name
    raise ValueError(f"{path} has neither {FILES[0]} nor {FILES[1]}")


def _read_config(folder: Path) -> dict[str, Any] | None:
    path = folder / "open_clip_config.json"
    if not path.is_file():
        return None
    try:
        sizes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no configuration of open_clip: {error}") from None
    return sizes


def _load(clip: Any, file: Path) -> None:
    headers, state = read_headers(file), clip.state_dict()
    problems = [f"missing {name}" for name in sorted(state.keys() - headers.keys())]
    problems += [f"extra {name}" for name in sorted(headers.keys() - state.keys())]
    problems += [
        f"{name} is {info.shape}, not {tuple(state[name].shape)}"
        for name, info in sorted(headers.items())
        if name in state and info.shape != tuple(state[name].shape)
    ]
    if problems:
        more = f" and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise ValueError(f"{file} does not fit its architecture: {'; '.join(problems[:6])}{more}")
    for name, tensor in read_tensors(file, headers):
        state[name].copy_(tensor)
