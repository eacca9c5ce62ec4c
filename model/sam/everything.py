"""Masks of everything in a picture: what `SamAutomaticMaskGenerator` gives, sooner.

Settings, masks and their order are the generator's. It is faster because crops of a size are
embedded together, all points of a crop share the first block of the decoder, only masks that the
model itself holds to be good are enlarged, and none is compressed before duplicates are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.utils.amg import (
    batched_mask_to_box,
    build_all_layer_point_grids,
    calculate_stability_score,
    generate_crop_boxes,
    is_box_near_crop_edge,
    remove_small_regions,
)
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torchvision.ops.boxes import batched_nms, box_area

from model.sam.decoding import decode

BoolMask = NDArray[np.bool_]
_PIXELS_AT_ONCE = 1 << 25
_CROPS_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Everything:
    """What to ask for and what to keep; the names and meanings of SamAutomaticMaskGenerator."""

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        if self.points_per_side < 1 or self.points_per_batch < 1:
            raise ValueError("points_per_side and points_per_batch are at least 1")
        if self.crop_n_layers < 0 or self.crop_n_points_downscale_factor < 1:
            raise ValueError("crop_n_layers is at least 0, the downscale factor at least 1")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A mask (HxW bool) with its tight box, the point (x, y) that found it, what SAM holds its IoU
    to be, its stability, and the crop (xyxy) in which it was found."""

    mask: BoolMask
    box_xyxy: tuple[int, int, int, int]
    point_xy: tuple[float, float]
    predicted_iou: float
    stability: float
    crop_xyxy: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Crop:
    """A part of the picture: its place (xyxy), its embedding, and its size as the model sees it."""

    xyxy: tuple[int, int, int, int]
    embedding: Tensor
    input_hw: tuple[int, int]

    @property
    def hw(self) -> tuple[int, int]:
        x0, y0, x1, y1 = self.xyxy
        return y1 - y0, x1 - x0


@torch.inference_mode()
def find_everything(
    sam: Any,
    image: NDArray[np.uint8],
    settings: Everything,
    embedding: Tensor | None = None,
    points: NDArray[np.float64] | None = None,
) -> list[Found]:
    """All masks, in the generator's order.

    Args:
        image: HxWx3 uint8 RGB.
        embedding: of the whole picture, when it is known already.
        points: Nx2, (x, y) in pixels: what to ask about in the whole picture, in place of grids.
    """
    hw = image.shape[:2]
    layers_count = settings.crop_n_layers if points is None else 0
    boxes, layers = generate_crop_boxes(hw, layers_count, settings.crop_overlap_ratio)
    if points is None:
        grids = build_all_layer_point_grids(
            settings.points_per_side, layers_count, settings.crop_n_points_downscale_factor
        )
    else:
        grids = [points / np.array(hw)[::-1]]
    found: list[Found] = []
    for crop, layer in zip(_embedded(sam, image, boxes, embedding), layers, strict=True):
        found += _search(sam, crop, grids[layer] * np.array(crop.hw)[::-1], hw, settings)
    if len(boxes) > 1 and found:
        # of doubles in several crops, that of the smaller crop stays
        sizes = box_area(torch.tensor([item.crop_xyxy for item in found]))
        found = _without_doubles(found, 1 / sizes, settings.crop_nms_thresh)
    if settings.min_mask_region_area and found:
        found = _cleaned(found, settings)
    return found


def _embedded(
    sam: Any, image: NDArray[np.uint8], boxes: Sequence[Sequence[int]], whole: Tensor | None
) -> Iterator[_Crop]:
    """The crops with their embeddings, made several at once; the first is the whole picture."""
    resize = ResizeLongestSide(sam.image_encoder.img_size)
    if whole is not None:
        boxes = boxes[1:]
        hw = image.shape[:2]
        input_hw = resize.get_preprocess_shape(*hw, resize.target_length)
        yield _Crop(xyxy=(0, 0, hw[1], hw[0]), embedding=whole, input_hw=input_hw)
    for i in range(0, len(boxes), _CROPS_AT_ONCE):
        some = boxes[i : i + _CROPS_AT_ONCE]
        inputs = [
            torch.from_numpy(resize.apply_image(image[y0:y1, x0:x1])).permute(2, 0, 1)
            for x0, y0, x1, y1 in some
        ]
        pixels = torch.stack([sam.preprocess(one.to(sam.device)) for one in inputs])
        embeddings = sam.image_encoder(pixels)
        for (x0, y0, x1, y1), one, embedding in zip(some, inputs, embeddings, strict=True):
            height, width = one.shape[1:]
            yield _Crop(xyxy=(x0, y0, x1, y1), embedding=embedding[None], input_hw=(height, width))


def _search(
    sam: Any,
    crop: _Crop,
    points: NDArray[np.float64],
    picture_hw: tuple[int, ...],
    settings: Everything,
) -> list[Found]:
    """What the points (Nx2, x and y in the crop) find, without doubles."""
    if not len(points):
        return []
    batches = [
        _ask(sam, crop, points[i : i + settings.points_per_batch], picture_hw, settings)
        for i in range(0, len(points), settings.points_per_batch)
    ]
    logits, ious, stability, boxes, places = (
        torch.cat(column) for column in zip(*batches, strict=True)
    )
    alike = torch.zeros(len(boxes))
    keep = batched_nms(boxes.float(), ious, alike, settings.box_nms_thresh)
    masks = _enlarged(sam, crop, logits[keep]) > sam.mask_threshold
    x0, y0, x1, y1 = crop.xyxy
    found = []
    for i, mask in zip(keep.tolist(), masks.cpu().numpy(), strict=True):
        inside = mask
        if crop.hw != tuple(picture_hw):
            inside = np.zeros(picture_hw, bool)
            inside[y0:y1, x0:x1] = mask
        left, top, right, bottom = boxes[i].tolist()
        found.append(
            Found(
                mask=inside,
                box_xyxy=(left + x0, top + y0, right + x0, bottom + y0),
                point_xy=(float(places[i, 0]) + x0, float(places[i, 1]) + y0),
                predicted_iou=float(ious[i]),
                stability=float(stability[i]),
                crop_xyxy=crop.xyxy,
            )
        )
    return found


def _ask(
    sam: Any,
    crop: _Crop,
    points: NDArray[np.float64],
    picture_hw: tuple[int, ...],
    settings: Everything,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Logits, predicted IoUs, stabilities, boxes and points of the good masks of some points."""
    resize = ResizeLongestSide(sam.image_encoder.img_size)
    asked = torch.as_tensor(resize.apply_coords(points, crop.hw), device=sam.device)[:, None]
    labels = torch.ones(len(points), 1, dtype=torch.int, device=sam.device)
    sparse, dense = sam.prompt_encoder(points=(asked, labels), boxes=None, masks=None)
    all_logits, all_ious = decode(sam, crop.embedding, sparse, dense, hinted=False)
    logits, ious = all_logits[:, 1:].flatten(0, 1), all_ious[:, 1:].flatten()
    places = torch.from_numpy(points).repeat_interleave(all_logits.shape[1] - 1, dim=0)
    good = torch.arange(len(ious), device=sam.device)
    if settings.pred_iou_thresh > 0:
        good = good[ious > settings.pred_iou_thresh]
    stabilities, boxes = [torch.zeros(0)], [torch.zeros((0, 4), dtype=torch.int64)]
    # enlarged masks are large: only some are held at a time
    for some in torch.split(good, max(1, _PIXELS_AT_ONCE // (crop.hw[0] * crop.hw[1]))):
        masks = _enlarged(sam, crop, logits[some])
        stabilities.append(
            calculate_stability_score(masks, sam.mask_threshold, settings.stability_score_offset)
        )
        boxes.append(batched_mask_to_box(masks > sam.mask_threshold))
    stability, boxes_N4 = torch.cat(stabilities[1:] or stabilities), torch.cat(boxes[1:] or boxes)
    keep = ~is_box_near_crop_edge(boxes_N4, list(crop.xyxy), [0, 0, picture_hw[1], picture_hw[0]])
    if settings.stability_score_thresh > 0:
        keep &= stability >= settings.stability_score_thresh
    good = good[keep]
    return logits[good], ious[good], stability[keep], boxes_N4[keep], places[good.cpu()]


def _enlarged(sam: Any, crop: _Crop, logits_NHW: Tensor) -> Tensor:
    """NxHxW logits at the crop's own size."""
    if not len(logits_NHW):
        return logits_NHW.new_zeros((0, *crop.hw))
    enlarged: Tensor = sam.postprocess_masks(logits_NHW[:, None], crop.input_hw, crop.hw)
    return enlarged[:, 0]


def _without_doubles(found: list[Found], scores: Tensor, threshold: float) -> list[Found]:
    boxes = torch.tensor([item.box_xyxy for item in found], dtype=torch.float32)
    keep = batched_nms(boxes, scores.float(), torch.zeros(len(found)), threshold)
    return [found[i] for i in keep.tolist()]


def _cleaned(found: list[Found], settings: Everything) -> list[Found]:
    """Small holes filled and small islands dropped; what needed neither is preferred."""
    least_px = settings.min_mask_region_area
    cleaned, scores = [], []
    for item in found:
        mask, filled = remove_small_regions(item.mask, least_px, mode="holes")
        mask, dropped = remove_small_regions(mask, least_px, mode="islands")
        x0, y0, x1, y1 = batched_mask_to_box(torch.from_numpy(mask)).tolist()
        cleaned.append(replace(item, mask=mask, box_xyxy=(x0, y0, x1, y1)))
        scores.append(float(not (filled or dropped)))
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    return _without_doubles(cleaned, torch.tensor(scores), threshold)
