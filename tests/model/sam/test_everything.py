"""Everything-mode against SamAutomaticMaskGenerator: the same masks in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from segment_anything import SamAutomaticMaskGenerator

from model.sam.everything import Everything, find_everything
from tests.model.sam.small_nano import picture, small_nano

SETTINGS: list[dict[str, Any]] = [
    {"points_per_side": 6, "stability_score_thresh": 0.8},
    {"points_per_side": 7, "points_per_batch": 9, "pred_iou_thresh": 0.0, "box_nms_thresh": 0.9,
     "stability_score_thresh": 0.7},
    {"points_per_side": 6, "crop_n_layers": 1, "crop_n_points_downscale_factor": 2,
     "stability_score_thresh": 0.8},
    {"points_per_side": 6, "crop_n_layers": 1, "stability_score_thresh": 0.8,
     "min_mask_region_area": 40},
]  # fmt: skip


@pytest.mark.parametrize("values", SETTINGS)
def test_masks_are_the_generators(values: dict[str, Any]) -> None:
    sam = small_nano()
    wanted = SamAutomaticMaskGenerator(sam, **values).generate(picture())
    found = find_everything(sam, picture(), Everything(**values))
    assert len(found) == len(wanted) > 2
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.mask != theirs["segmentation"]).mean() < 1e-3
        assert ours.predicted_iou == pytest.approx(theirs["predicted_iou"], abs=1e-4)
        assert ours.stability == pytest.approx(theirs["stability_score"], abs=1e-2)
        assert ours.point_xy == pytest.approx(theirs["point_coords"][0])
        x, y, w, h = theirs["bbox"]
        assert np.abs(np.subtract(ours.box_xyxy, (x, y, x + w, y + h))).max() <= 1
        x, y, w, h = theirs["crop_box"]
        assert ours.crop_xyxy == (x, y, x + w, y + h)


def test_nothing_good_is_nothing() -> None:
    assert find_everything(small_nano(), picture(), Everything(pred_iou_thresh=99.0)) == []


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Everything(points_per_side=0)
    with pytest.raises(ValueError, match="crop_n_layers"):
        Everything(crop_n_layers=-1)
