"""SAM as proposer and refiner: one image embedding, shared by all prompts of an image."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry

from model.device import choose_device

Image = NDArray[np.uint8]
BoolMask = NDArray[np.bool_]


class Segmenter:
    """Masks from boxes, and masks of everything, for HxWx3 uint8 RGB pictures.

    Args:
        sam: a `segment_anything` model.
        points_per_side: of the grid of points asked about in `propose`.
    """

    def __init__(self, sam: Any, *, points_per_side: int = 16) -> None:
        self.predictor = SamPredictor(sam)
        self._generator = SamAutomaticMaskGenerator(sam, points_per_side=points_per_side)
        self._shown: bytes = b""

    @classmethod
    def from_checkpoint(cls, path: str, *, kind: str = "vit_b", device: str = "auto") -> Segmenter:
        """Load a released checkpoint (`sam_vit_*.pth`).

        Args:
            kind: vit_b, vit_l or vit_h, as in the file's name.
            device: "auto" takes CUDA where there is one.

        Raises:
            ValueError: when the file is missing or its tensors do not fit the kind, or there is
                no such device.
        """
        if not Path(path).is_file():
            raise ValueError("no such SAM checkpoint; download one from the segment-anything page")
        place = choose_device(device)
        sam = sam_model_registry[kind]()
        load_state(sam, path)
        return cls(sam.to(place).eval())

    def propose(self, image: Image) -> list[BoolMask]:
        """Masks (HxW) of everything, the most certain first."""
        found = self._generator.generate(image)
        found.sort(key=lambda item: -item["predicted_iou"])
        return [item["segmentation"] for item in found]

    @torch.inference_mode()
    def refine(self, image: Image, boxes_xyxy: NDArray[np.float32]) -> NDArray[np.bool_]:
        """The best of SAM's three masks for each of N boxes, N x H x W; one decoder batch."""
        self._show(image)
        boxes = torch.as_tensor(boxes_xyxy, device=self.predictor.device)
        boxes = self.predictor.transform.apply_boxes_torch(boxes, image.shape[:2])
        masks, quality, _ = self.predictor.predict_torch(
            point_coords=None, point_labels=None, boxes=boxes, multimask_output=True
        )
        best = quality.argmax(dim=1)
        chosen = masks[torch.arange(len(masks)), best].cpu().numpy()
        return np.asarray(chosen, bool)

    def _show(self, image: Image) -> None:
        """Embed the picture, unless it is the one embedded last."""
        key = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
        if key != self._shown:
            self.predictor.set_image(image)
            self._shown = key


def load_state(sam: Any, path: str) -> None:
    """Give a SAM the tensors of a checkpoint, read without running code from it.

    Raises:
        ValueError: when the file is not a checkpoint or does not fit.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not checkpoints
        kind = type(error).__name__  # its words advise to run the code in the file
        raise ValueError(f"cannot be read as a SAM checkpoint ({kind}); get it again") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError("holds something else than the tensors of a SAM")
    wanted = sam.state_dict()
    shared = wanted.keys() & state.keys()
    reshaped = sum(state[name].shape != wanted[name].shape for name in shared)
    missing, extra = len(wanted) - len(shared), len(state) - len(shared)
    if missing or extra or reshaped:
        raise ValueError(
            f"does not fit this kind of SAM: of {len(wanted)} tensors {missing} are missing and "
            f"{reshaped} have another shape, and {extra} are not known; the kind stands in the "
            "file's name"
        )
    sam.load_state_dict(state)
