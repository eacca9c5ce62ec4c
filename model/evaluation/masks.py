"""How well one mask is another: region similarity J and boundary accuracy F of DAVIS.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation",
CVPR 2016; boundaries and tolerance as in the benchmark's own code.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]
TOLERANCE = 0.008


def jaccard(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """J: intersection over union of two HxW masks in 0..1; 1 when both are empty.

    Raises:
        ValueError: when their sizes differ.
    """
    found, truth = _pair(found, truth)
    union = int(np.count_nonzero(found | truth))
    return int(np.count_nonzero(found & truth)) / union if union else 1.0


def boundary_f(found: NDArray[Any], truth: NDArray[Any], tolerance: float = TOLERANCE) -> float:
    """F: harmonic mean of the shares of each boundary that lie near the other one, in 0..1.

    Near is within `tolerance` of the picture's diagonal, rounded up to whole pixels. Two masks
    without a boundary (both empty, or both the whole picture) have F 1; when one of the two has
    none, F is 0.

    Raises:
        ValueError: when their sizes differ.
    """
    found, truth = _pair(found, truth)
    reach_px = math.ceil(tolerance * math.hypot(*found.shape))
    # the disk as the benchmark draws it: every offset within the radius, so a square of 1 is a +
    offset = np.arange(-reach_px, reach_px + 1)
    disk = (offset[:, None] ** 2 + offset[None] ** 2 <= reach_px**2).astype(np.uint8)
    found_edge, truth_edge = boundary(found), boundary(truth)
    n_found, n_truth = int(found_edge.sum()), int(truth_edge.sum())
    if not n_found or not n_truth:
        return float(n_found == n_truth)
    precision = int((found_edge & cv2.dilate(truth_edge, disk)).sum()) / n_found
    recall = int((truth_edge & cv2.dilate(found_edge, disk)).sum()) / n_truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """HxW 0/1: pixels that differ from the next one to the right, below, or below right. The
    picture's own border is no boundary."""
    inside = mask.astype(bool)
    edge = np.zeros(inside.shape, bool)
    edge[:, :-1] |= inside[:, :-1] != inside[:, 1:]
    edge[:-1] |= inside[:-1] != inside[1:]
    edge[:-1, :-1] |= inside[:-1, :-1] != inside[1:, 1:]
    return edge.astype(np.uint8)


def _pair(found: NDArray[Any], truth: NDArray[Any]) -> tuple[BoolMask, BoolMask]:
    if found.shape != truth.shape or found.ndim != 2:
        raise ValueError(f"masks of {found.shape} and {truth.shape} px cannot be compared")
    return found.astype(bool), truth.astype(bool)
