"""Whether a frame belongs to the same shot as the one before."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.tracking.flow import Motion

Gray = NDArray[np.uint8]
_THUMB = (64, 36)


def is_cut(before: Gray, now: Gray, motion: Motion) -> bool:
    """True when this frame shows nothing of the one before, moved or not.

    Correlations do not mind flashes and fades of the light; the flow-compensated one does not
    mind fast motion. Pictures of two shots may correlate by chance (a bright sky over dark ground
    in both): then the flow between them is wild and does not bring one to look like the other.
    Frames without any structure are never a cut from one another.
    """
    alike = _correlation(_thumb(before), _thumb(now))
    if alike > 0.92:
        return False
    back = motion.back
    small = cv2.resize(back, _THUMB, interpolation=cv2.INTER_AREA)
    scale = np.float32(_THUMB[0] / now.shape[1])
    map_x = small[..., 0] * scale + np.arange(_THUMB[0], dtype=np.float32)[None]
    map_y = small[..., 1] * scale + np.arange(_THUMB[1], dtype=np.float32)[:, None]
    warped = cv2.remap(
        _thumb(before), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if alike < 0.55 and _correlation(warped, _thumb(now)) < 0.6:
        return True
    wild = float(np.median(motion.residual)) > 0.008 * now.shape[1]
    return wild and float(np.abs(warped - _thumb(now)).mean()) > 12


def _thumb(gray: Gray) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(gray, _THUMB, interpolation=cv2.INTER_AREA), np.float32)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread_a, spread_b = float(a.std()), float(b.std())
    if spread_a < 2 and spread_b < 2:
        return 1.0
    return float((a * b).mean() / max(spread_a * spread_b, 1e-3))
