"""A film of 60 s with objects and cuts, and what a run of the batch configuration makes of it."""

from __future__ import annotations

from pathlib import Path

from streamer.commands.running import CONFIGS
from streamer.config import load_pipeline
from streamer.pipeline import Pipeline
from tests.operators.test_track import BLUE, RED, picture
from tests.streamer.commands.test_split import encode

FPS, FRAMES = 10, 600
_SHOT = 60


def write_film(path: Path) -> Path:
    """426x240, ten shots of two moving objects each."""
    images = [
        picture(
            10 * s,
            [
                (20 + 5 * i, 40 + 10 * s, 50, 36, RED if s % 2 else (30, 160, 60)),
                (360 - 5 * i, 150 - 10 * s, 44, 50, BLUE),
            ],
        )
        for s in range(FRAMES // _SHOT)
        for i in range(_SHOT)
    ]
    return encode(path, images, FPS)


def batch(film: Path, out: Path) -> Pipeline:
    """The real operators: tracking, selection, captions by osprey-nano, intervals."""
    return load_pipeline(
        CONFIGS / "batch.yaml", variables={"input": str(film), "out": str(out), "stem": "film"}
    )


def written(out: Path) -> dict[str, bytes]:
    """All that the run has written."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}
