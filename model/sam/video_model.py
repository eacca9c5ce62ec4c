"""SAM 2 and EdgeTAM from transformers: a released folder becomes a network that is ready to use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import EdgeTamVideoModel, Sam2VideoModel
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession
from transformers.utils import logging

from model.device import choose_device

Image = NDArray[np.uint8]
_KINDS = {
    "sam2_video": (Sam2VideoModel, Sam2VideoInferenceSession),
    "edgetam_video": (EdgeTamVideoModel, EdgeTamVideoInferenceSession),
}
# of ImageNet, as all released SAM 2 and EdgeTAM have them, for values of 0 .. 255
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True, eq=False)
class VideoModel:
    """A `Sam2VideoModel` or `EdgeTamVideoModel` of transformers, in `eval` mode."""

    network: Any

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"is a {self.kind!r}; wanted one of {', '.join(_KINDS)}")

    @property
    def kind(self) -> str:
        """sam2_video or edgetam_video."""
        return str(self.network.config.model_type)

    @property
    def side_px(self) -> int:
        """Pictures are stretched to this height and width."""
        return int(self.network.config.image_size)

    @property
    def memories(self) -> int:
        """Of so many frames back the spatial memory is read."""
        return int(self.network.config.num_maskmem) - 1

    @property
    def pointers(self) -> int:
        """Of so many frames back the object pointer is read."""
        return int(self.network.config.max_object_pointers_in_encoder) - 1

    @property
    def device(self) -> torch.device:
        return torch.device(self.network.device)

    def new_session(self) -> Any:
        """An inference session of transformers that is fed frame by frame."""
        return _KINDS[self.kind][1](
            inference_device=self.device,
            inference_state_device=self.device,
            video_storage_device=self.device,
            dtype=self.network.dtype,
        )

    def pixels(self, image: Image) -> Tensor:
        """A picture (HxWx3 uint8 RGB) as the network takes it (3 x side x side), made as the image
        processor of transformers makes it."""
        channels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        size = (self.side_px, self.side_px)
        small = F.interpolate(channels, size, mode="bilinear", antialias=True)[0]
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (_MEAN, _STD))
        return ((small - mean) / std).to(self.device, self.network.dtype)


def video_model_type(folder: Path) -> str:
    """`model_type` of a folder's config.json.

    Raises:
        ValueError: when it cannot be read, or is neither SAM 2 nor EdgeTAM for video.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError("is no folder of SAM 2 or EdgeTAM: it has no config.json") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"has a config.json that cannot be read: {error!r}") from None
    if kind not in _KINDS:
        raise ValueError(
            f"holds a model of type {kind!r}; wanted {' or '.join(_KINDS)}, for instance "
            "facebook/sam2.1-hiera-tiny or yonigozlan/EdgeTAM-hf"
        )
    return str(kind)


def load_video_model(folder: Path, *, device: str = "auto") -> VideoModel:
    """Load a folder as `save_pretrained` writes it and the hub has it, in float32.

    Args:
        device: "auto" takes CUDA where there is one.

    Raises:
        ValueError: when the folder holds another model, tensors are missing or of another shape,
            files are damaged, or there is no such device.
    """
    network_class = _KINDS[video_model_type(folder)][0]
    place = choose_device(device)
    try:
        with _quiet():
            network, found = network_class.from_pretrained(
                folder,
                local_files_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # named below, all of them
                output_loading_info=True,
            )
    except Exception as error:  # many kinds, of transformers, safetensors, timm and torch
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"cannot be loaded: {first}") from error
    # what a file lacks transformers fills with random numbers
    missing = sorted(found["missing_keys"])
    reshaped = sorted(str(key[0]) for key in found["mismatched_keys"])
    if missing or reshaped:
        few = ", ".join([*missing, *reshaped][:3])
        raise ValueError(
            f"does not fit its own config.json: {len(missing)} tensors are missing and "
            f"{len(reshaped)} have another shape ({few}, ...); get the folder again"
        )
    return VideoModel(network.eval().to(place))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting what is said in one line here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
