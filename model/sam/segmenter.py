"""SAM as proposer and refiner: one image embedding, shared by all prompts of an image.

Shapes: N objects, K points of an object, M masks a prompt (3, or 1), h and w the size of the
decoder's own masks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor
from torch import Tensor
from torch.nn import functional as F

from model.device import choose_device
from model.sam.checkpoint import load_nano, load_sam
from model.sam.decoding import decode
from model.sam.everything import Everything, Found, find_everything
from model.weights import weights_folder

Image = NDArray[np.uint8]
BoolMask = NDArray[np.bool_]
HINT_LOGIT = 8.0
_PROMPTS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """What is asked about N objects of one picture; at least one of the three.

    points: NxKx2 float32, pixels (x, y); labels: NxK, 1 inside, 0 outside, -1 no point.
    boxes: Nx4 float32 pixels, xyxy.
    hints: Nxhxw float32 logits of masks known before, from `Answers.logits` or `hints_of`.
    """

    points: NDArray[np.float32] | None = None
    labels: NDArray[np.intp] | None = None
    boxes: NDArray[np.float32] | None = None
    hints: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels come together")
        if self.points is not None and self.labels is not None:
            if self.points.ndim != 3 or self.points.shape[2] != 2:
                raise ValueError(f"points are {self.points.shape}; wanted N x K x 2")
            if self.labels.shape != self.points.shape[:2]:
                raise ValueError(f"labels are {self.labels.shape}; wanted {self.points.shape[:2]}")
        if self.boxes is not None and self.boxes.shape[1:] != (4,):
            raise ValueError(f"boxes are {self.boxes.shape}; wanted N x 4")
        counts = {len(p) for p in (self.points, self.boxes, self.hints) if p is not None}
        if len(counts) != 1:
            raise ValueError(f"prompts for {sorted(counts) or 'no'} objects; wanted one number")

    def __len__(self) -> int:
        return len(next(p for p in (self.points, self.boxes, self.hints) if p is not None))


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """masks: NxMxHxW bool; quality: NxM, what SAM holds their IoUs to be; logits: NxMxhxw."""

    masks: NDArray[np.bool_]
    quality: NDArray[np.float32]
    logits: NDArray[np.float32]

    def best(self) -> NDArray[np.bool_]:
        """NxHxW: of every object the mask of highest quality."""
        return np.asarray(self.masks[np.arange(len(self.masks)), self.quality.argmax(axis=1)])


class Segmenter:
    """Masks from points, boxes and masks, and masks of everything, for HxWx3 uint8 RGB pictures.

    Args:
        sam: a `segment_anything` model.
        points_per_side: of the grid of points asked about in `propose`.
        everything: all settings of `propose`, instead.
    """

    def __init__(
        self, sam: Any, *, points_per_side: int = 16, everything: Everything | None = None
    ) -> None:
        self.predictor = SamPredictor(sam)
        self.settings = everything or Everything(points_per_side=points_per_side)
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
        return cls(load_sam(path, kind=kind).to(place))

    @classmethod
    def nano(cls, name_or_folder: str = "sam-nano", *, device: str = "auto") -> Segmenter:
        """Load the bundled sam-nano, or a folder as `streamer train sam-nano` writes it.

        Raises:
            ValueError: when there is no such folder, or it holds something else.
        """
        sam = load_nano(weights_folder(name_or_folder))
        return cls(sam.to(choose_device(device)), everything=NANO_EVERYTHING)

    def propose(self, image: Image) -> list[BoolMask]:
        """Masks (HxW) of everything, the most certain first."""
        found = self.everything(image)
        return [item.mask for item in sorted(found, key=lambda item: -item.predicted_iou)]

    def everything(self, image: Image, points: NDArray[np.float64] | None = None) -> list[Found]:
        """All masks with what is known of them, in the order of SamAutomaticMaskGenerator; those
        that `points` (Nx2, x and y in pixels) lie on, instead of a grid's, where they are given."""
        self._show(image)
        features = self.predictor.get_image_embedding()
        return find_everything(self.predictor.model, image, self.settings, features, points)

    def refine(
        self,
        image: Image,
        boxes_xyxy: NDArray[np.float32],
        masks: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.bool_]:
        """The best of SAM's three masks for each of N boxes, N x H x W.

        Args:
            masks: NxHxW, what the objects are held to be; SAM then starts from them.
        """
        self._show(image)
        hints = None if masks is None else self.hints_of(masks)
        prompts = Prompts(boxes=np.asarray(boxes_xyxy, np.float32), hints=hints)
        best = []
        for logits, quality in self._decoded(prompts, image.shape[:2]):
            chosen = logits[torch.arange(len(logits)), 1 + quality[:, 1:].argmax(dim=1)]
            best.append(self._masks(chosen[:, None], image.shape[:2])[:, 0])
        return np.concatenate(best)

    def in_boxes(
        self,
        image: Image,
        boxes_xyxy: NDArray[np.float32],
        points_xy: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """SAM's three masks (Nx3xHxW) for each of N boxes, and what it holds their IoUs to be.

        Args:
            points_xy: Nx2 pixels, one inside each object.
        """
        points = labels = None
        if points_xy is not None:
            points, labels = points_xy[:, None], np.ones((len(points_xy), 1), np.intp)
        answers = self.ask(image, Prompts(boxes=boxes_xyxy, points=points, labels=labels))
        return answers.masks, answers.quality

    def ask(self, image: Image, prompts: Prompts, *, three: bool = True) -> Answers:
        """Masks for prompts; the picture is embedded once, the prompts go in batches.

        Args:
            three: three masks each, for prompts that can mean a whole or a part; else one.

        Returns:
            What `SamPredictor.predict` gives for each prompt alone.
        """
        self._show(image)
        wanted = slice(1, None) if three else slice(0, 1)
        parts = []
        for all_logits, quality in self._decoded(prompts, image.shape[:2]):
            logits = all_logits[:, wanted]
            numbers = (quality[:, wanted].cpu().numpy(), logits.cpu().numpy())
            parts.append((self._masks(logits, image.shape[:2]), *numbers))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Answers(masks=columns[0], quality=columns[1], logits=columns[2])

    def hints_of(self, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Nxhxw logits for `Prompts.hints` of NxHxW masks, for instance a tracker's."""
        side = self.predictor.model.image_encoder.img_size
        hint_hw = self.predictor.model.prompt_encoder.mask_input_size
        hw = self.predictor.transform.get_preprocess_shape(*masks.shape[1:], side)
        share = torch.from_numpy(masks.astype(np.float32))[:, None]
        # through the size at which the model sees the picture, padded as it is
        small_hw = [max(1, round(n * h / side)) for n, h in zip(hw, hint_hw, strict=True)]
        small = F.interpolate(share, small_hw, mode="area")
        padding = (0, hint_hw[1] - small_hw[1], 0, hint_hw[0] - small_hw[0])
        padded = F.pad(small, padding)[:, 0].numpy()
        return np.asarray(HINT_LOGIT * (2 * padded - 1), np.float32)

    @torch.inference_mode()
    def _masks(self, logits_NMhw: Tensor, hw: tuple[int, ...]) -> NDArray[np.bool_]:
        """NxMxHxW, at the picture's size."""
        model = self.predictor.model
        enlarged = model.postprocess_masks(logits_NMhw, self.predictor.input_size, hw)
        return np.asarray((enlarged > model.mask_threshold).cpu().numpy())

    @torch.inference_mode()
    def _decoded(self, prompts: Prompts, hw: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
        """All four masks as logits and their qualities, for some prompts at a time."""
        transform, device = self.predictor.transform, self.predictor.device
        points = labels = boxes = hints = None
        if prompts.points is not None and prompts.labels is not None:
            placed = torch.from_numpy(transform.apply_coords(prompts.points, hw))
            points, labels = placed.float().to(device), torch.from_numpy(prompts.labels).to(device)
        if prompts.boxes is not None:
            boxes = torch.from_numpy(transform.apply_boxes(prompts.boxes, hw)).float().to(device)
        if prompts.hints is not None:
            hints = torch.from_numpy(prompts.hints)[:, None].to(device)
        for i in range(0, len(prompts), _PROMPTS_AT_ONCE):
            some = slice(i, i + _PROMPTS_AT_ONCE)
            sparse, dense = self.predictor.model.prompt_encoder(
                points=None if points is None or labels is None else (points[some], labels[some]),
                boxes=None if boxes is None else boxes[some],
                masks=None if hints is None else hints[some],
            )
            features = self.predictor.get_image_embedding()
            hinted = hints is not None
            yield decode(self.predictor.model, features, sparse, dense, hinted=hinted)

    def _show(self, image: Image) -> None:
        """Embed the picture, unless it is the one embedded last."""
        key = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
        if key != self._shown:
            self.predictor.set_image(image)
            self._shown = key


# a small model is less sure of itself than vit_h, for which SAM's own limits were chosen
NANO_EVERYTHING = Everything(
    points_per_side=16, pred_iou_thresh=0.5, stability_score_thresh=0.85, min_mask_region_area=16
)
