"""Tracks regions with SAM 2 or EdgeTAM: frames in, frames with masks and ids out, and events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.segmenting import NONE
from operators.track import Track
from operators.tracking.sam2_tracker import Sam2Tracker
from operators.tracking.tracker import Step, Tracker
from streamer.errors import WeightsError
from streamer.records import Frame

if TYPE_CHECKING:
    from model.sam.video_model import VideoModel
    from model.sam.video_session import VideoSession


class TrackSam2(Track):
    """Finds regions as `Track` does, follows their masks with SAM 2 or EdgeTAM, and names them by
    track ids.

    Gives the records and events of `Track`. The network looks at every frame once and at every
    object in it; memory does not grow with the length of the stream. An object that comes back
    after an occlusion is found by the network, or by its look.

    Args:
        weights: a folder of Hugging Face transformers with a `sam2_video` or `edgetam_video`
            model, as released (facebook/sam2.1-hiera-tiny, yonigozlan/EdgeTAM-hf), or the name of
            one that `streamer models pull` has fetched.
        propose_every_s: seconds of media time between searches for new objects.
        hidden_s: seconds for which a track that cannot be seen is remembered.
        min_area_share: smallest object, as a share of the picture's area.
        max_tracks: at most this many at once, hidden ones included; each costs time.
        work_height_px: pictures are searched for objects at this height; the network has its own.
        device: where the network runs: "auto", "cpu", "cuda", ...
    """

    def __init__(
        self,
        weights: str,
        propose_every_s: float = 0.2,
        hidden_s: float = 2.0,
        min_area_share: float = 0.0005,
        max_tracks: int = 16,
        work_height_px: int = 360,
        device: str = "auto",
    ) -> None:
        super().__init__(
            propose_every_s=propose_every_s,
            hidden_s=hidden_s,
            min_area_share=min_area_share,
            max_tracks=max_tracks,
            work_height_px=work_height_px,
            sam=NONE,
            device=device,
        )
        self.forgets_at_cuts = False
        if not weights:
            raise ValueError("weights is empty; give a folder with SAM 2 or EdgeTAM")
        self.weights = weights
        self._model: VideoModel | None = None

    def setup(self) -> None:
        """Load the network.

        Raises:
            WeightsError: when it is missing or does not fit.
        """
        from model.sam.video_model import load_video_model
        from model.weights import weights_path

        try:
            folder = weights_path(self.weights)
        except ValueError as error:
            raise WeightsError(str(error)) from None
        try:
            self._model = load_video_model(folder, device=self.device)
        except ValueError as error:
            raise WeightsError(f"{self.weights}: {error}") from error

    def new_session(self) -> VideoSession:
        """Of the network, following nothing yet; `setup` comes first."""
        from model.sam.video_session import VideoSession

        if self._model is None:
            raise RuntimeError("setup was not called: there is no network yet")
        return VideoSession(self._model)

    def restore(self, stream_id: str, state: bytes) -> None:
        super().restore(stream_id, state)
        tracker = self._trackers.get(stream_id)
        if isinstance(tracker, Sam2Tracker):
            tracker.attach(self.new_session())

    def close(self) -> None:
        super().close()
        self._model = None
        self._trackers.clear()

    def _new_tracker(self) -> Tracker:
        tracker = Sam2Tracker(self.config)
        tracker.attach(self.new_session())
        return tracker

    def _step(self, tracker: Tracker, frame: Frame, small: NDArray[np.uint8]) -> Step:
        assert isinstance(tracker, Sam2Tracker)
        return tracker.follow(frame.image, small, frame.time_ns)
