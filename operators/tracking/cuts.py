"""Whether a picture begins a new shot: PySceneDetect judges what motion and light do not explain.

A cut ends tracks, so it has to be known at its own frame: of PySceneDetect's detectors that rules
out the adaptive one, which waits for the frames after. Its content detector looks at two pictures
only, but takes flashes, fades and fast motion for cuts. So it is asked about this picture and what
was to be expected of it: the one before, moved with the flow and brought into this one's light.
"""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detectors import ContentDetector
from scenedetect.stats_manager import StatsManager

from operators.tracking.flow import Flow, Motion

U8 = NDArray[np.uint8]
_SIZE = (128, 72)
_SECOND_NS = 1_000_000_000
_FLASH_NS = 300_000_000
# mean difference that makes a cut: in levels, as a share of the picture's contrast, and against
# the pictures before, which differ much too when the camera is swung about
_LEAST, _SHARE, _USUAL = 5.0, 0.33, 2.0
# a large thing that moves changes less of the picture than this
_CHANGED_SHARE = 0.24


class CutDetector:
    """Sees the pictures of one stream in order; deterministic and picklable."""

    def __init__(self) -> None:
        self._shot: list[tuple[U8, int]] = []
        self._scores: list[float] = []

    def is_cut(self, image: U8, time_ns: int, motion: Motion | None) -> bool:
        """True when this picture shows nothing of the one before, moved or in another light.

        A picture without structure begins nothing; what comes back after a flash is no cut.

        Args:
            image: HxWx3; the order of the channels does not matter.
            time_ns: its media time, later than that of the picture before.
            motion: from the picture before; None when it is not known, as at the first picture.
        """
        now = np.asarray(cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        if motion is None or not self._shot:
            self._shot, self._scores = [(now, time_ns)], []
            return False
        before, before_ns = self._shot[-1]
        threshold = max(_LEAST, _SHARE * float(now.max(axis=2).std()))
        if len(self._scores) == 2:
            threshold = max(threshold, _USUAL * min(self._scores))
        score = _score(_moved(before, motion.back), before_ns, now, time_ns, threshold)
        self._scores = [*self._scores[-1:], score]
        cut = score >= threshold and all(
            _score(then, then_ns, now, time_ns, threshold) >= threshold
            for then, then_ns in reversed(self._shot)
        )
        if cut:  # a new shot begins as a stream does
            self._shot, self._scores = [], []
        self._shot = [s for s in self._shot if time_ns - s[1] <= _FLASH_NS] + [(now, time_ns)]
        return cut


def _score(then: U8, then_ns: int, now: U8, now_ns: int, threshold: float) -> float:
    """PySceneDetect's difference of two pictures, in levels; 0 where only a part has changed."""
    then = _lit_as(then, now)
    if float((cv2.absdiff(then, now).max(axis=2) > threshold).mean()) < _CHANGED_SHARE:
        return 0.0
    detector = ContentDetector(threshold=threshold, min_scene_len=0, luma_only=True)
    detector.stats_manager = StatsManager()
    rate = Fraction(_SECOND_NS, max(1, now_ns - then_ns))
    for picture, time_ns in ((then, then_ns), (now, now_ns)):
        timecode = FrameTimecode(Timecode(pts=time_ns, time_base=Fraction(1, _SECOND_NS)), fps=rate)
        detector.process_frame(timecode, picture)
    (score,) = detector.stats_manager.get_metrics(timecode, [ContentDetector.FRAME_SCORE_KEY])
    return float(score)


def _moved(picture: U8, back: Flow) -> U8:
    """A small picture, where the flow between the large ones takes it."""
    width, height = _SIZE
    scale = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    where = cv2.resize(back, _SIZE, interpolation=cv2.INTER_AREA) * scale
    where[..., 0] += np.arange(width, dtype=np.float32)
    where[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _lit_as(picture: U8, other: U8) -> U8:
    """A picture with the levels of each channel mapped, in their order, onto the distribution of
    another's: what light and exposure change, clipping included, and a cut does not."""
    lit = np.empty_like(picture)
    for channel in range(3):
        have, want = (_mean_ranks(p[..., channel]) for p in (picture, other))
        levels = np.searchsorted(want, have).clip(max=255).astype(np.uint8)
        lit[..., channel] = levels[picture[..., channel]]
    return lit


def _mean_ranks(levels: U8) -> NDArray[np.float64]:
    """For each of the 256 levels, how many pixels are darker, plus half of those that are on it."""
    counts = np.bincount(levels.ravel(), minlength=256)
    return np.asarray(counts.cumsum() - counts / 2, np.float64)
