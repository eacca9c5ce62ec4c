"""Everything-mode against SamAutomaticMaskGenerator: the same masks in the same order."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator

from model.sam.checkpoint import load_nano
from model.sam.everything import Everything, find_everything
from model.weights import bundled_weights, weights_folder
from tests.model.sam.small_models import picture, sure_sam

# random masks all reach over the whole picture: none may count as a double of another
SETTINGS: list[dict[str, Any]] = [
    {"points_per_side": 4, "points_per_batch": 9, "pred_iou_thresh": 0.0, "box_nms_thresh": 1.1,
     "stability_score_thresh": 0.0},
    {"points_per_side": 6, "stability_score_thresh": 0.9, "box_nms_thresh": 1.1},
    {"points_per_side": 4, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2,
     "stability_score_thresh": 0.0, "box_nms_thresh": 1.1, "crop_nms_thresh": 1.1},
    {"points_per_side": 4, "crop_n_layers": 1, "stability_score_thresh": 0.8,
     "min_mask_region_area": 40, "crop_nms_thresh": 0.95},
]  # fmt: skip


def same(
    sam: Any,
    image: NDArray[np.uint8],
    values: dict[str, Any],
    points: NDArray[np.float64] | None = None,
) -> int:
    """How many masks there are; they have to be the generator's."""
    grid: dict[str, Any] = {}
    if points is not None:
        grid = {"points_per_side": None, "point_grids": [points / image.shape[1::-1]]}
    wanted = SamAutomaticMaskGenerator(sam, **{**values, **grid}).generate(image)
    found = find_everything(sam, image, Everything(**values), points=points)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.mask != theirs["segmentation"]).mean() < 1e-3
        assert ours.predicted_iou == pytest.approx(theirs["predicted_iou"], abs=1e-4)
        assert ours.stability == pytest.approx(theirs["stability_score"], abs=1e-2)
        assert ours.point_xy == pytest.approx(theirs["point_coords"][0])
        x, y, w, h = theirs["bbox"]
        assert np.abs(np.subtract(ours.box_xyxy, (x, y, x + w, y + h))).max() <= 1
        x, y, w, h = theirs["crop_box"]
        assert ours.crop_xyxy == (x, y, x + w, y + h)
    return len(found)


@pytest.mark.parametrize(("values", "least"), zip(SETTINGS, (48, 10, 16, 1), strict=True))
def test_random_masks_are_the_generators(values: dict[str, Any], least: int) -> None:
    assert same(sure_sam(), picture(), values) >= least


def test_real_masks_are_the_generators() -> None:
    if "sam-nano" not in bundled_weights():
        pytest.skip("no trained sam-nano in model/weights")
    sam = load_nano(weights_folder("sam-nano"))
    image = np.full((180, 320, 3), 90, np.uint8)
    for i, colour in enumerate(((220, 40, 40), (40, 200, 60), (60, 80, 230), (240, 240, 220))):
        cv2.circle(image, (45 + 75 * i, 60 + 20 * i), 16 + 6 * i, colour, -1)
    values = {"points_per_side": 8, "pred_iou_thresh": 0.4, "stability_score_thresh": 0.5}
    assert same(sam, image, values) >= 4


def test_points_take_the_place_of_a_grid() -> None:
    points = np.array([(20.0, 30.0), (61.5, 12.0), (90.0, 70.0)])
    assert same(sure_sam(), picture(), SETTINGS[0], points) >= 6
    assert find_everything(sure_sam(), picture(), Everything(), points=points[:0]) == []


def test_nothing_good_is_nothing() -> None:
    assert find_everything(sure_sam(), picture(), Everything(pred_iou_thresh=99.0)) == []


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Everything(points_per_side=0)
    with pytest.raises(ValueError, match="crop_n_layers"):
        Everything(crop_n_layers=-1)
