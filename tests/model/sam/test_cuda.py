"""Masks on a CUDA device against those of the CPU; `make gpu-check` runs it where SAM's package
is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

pytest.importorskip("segment_anything")

from model.sam.segmenter import Prompts, Segmenter
from model.sam.video_model import VideoModel
from model.sam.video_session import VideoSession
from model.synthetic.scene import sample_scene
from tests.model.sam.small_video_models import KINDS, film, small_network, square

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_sam_nano_finds_the_masks_of_the_cpu() -> None:
    torch.backends.cudnn.allow_tf32 = False
    scene = sample_scene(
        np.random.default_rng(6), 360, 500, difficulty=0.5, n_objects=8, short_side_px=(20, 120)
    )
    whole = [obj.mask for obj in scene.objects]
    points = np.array([np.argwhere(m)[len(np.argwhere(m)) // 2][::-1] for m in whole], np.float32)
    prompts = Prompts(points=points[:, None], labels=np.ones((len(points), 1), np.intp))
    on_cpu, on_gpu = (Segmenter.nano(device=device) for device in ("cpu", "cuda"))
    wanted, found = (of.ask(scene.image, prompts).masks for of in (on_cpu, on_gpu))
    pairs = zip(np.concatenate(wanted), np.concatenate(found), strict=True)
    assert min(iou(a, b) for a, b in pairs if a.any() or b.any()) > 0.98
    everything, again = (of.propose(scene.image) for of in (on_cpu, on_gpu))
    assert everything
    kept = [max(iou(mask, other) for other in again) > 0.95 for mask in everything]
    assert np.mean(kept) > 0.95  # a proposal at a threshold may fall on either side


@pytest.mark.parametrize("kind", KINDS)
def test_videos_are_followed_as_on_the_cpu(kind: str) -> None:
    torch.backends.cudnn.allow_tf32 = False
    hw, seen = (48, 80), []
    try:
        small_network(kind)
    except (AttributeError, OSError) as error:
        pytest.skip(f"transformers {transformers.__version__} does not build it alone: {error}")
    for device in ("cpu", "cuda"):
        session, logits = VideoSession(VideoModel(small_network(kind).to(device))), []
        for i, frame in enumerate(film(12)):
            sightings = session.step(frame)
            if i == 1:
                sightings[1] = session.add_object(1, mask=square(hw, 5, 8, 30, 30))
            if i == 4:
                sightings[2] = session.add_object(2, box_xyxy=(48.0, 20.0, 78.0, 46.0))
            logits.append({key: sighting.logits for key, sighting in sightings.items()})
        seen.append(logits)
    for wanted, found in zip(*seen, strict=True):
        assert sorted(wanted) == sorted(found)
        for key in wanted:
            np.testing.assert_allclose(found[key], wanted[key], atol=0.05, rtol=0.01)
