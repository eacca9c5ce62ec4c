"""`streamer evaluate redaction`: written films against the true masks of what was to be covered."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from streamer.commands.caption import find_config
from streamer.commands.demo import write_film
from streamer.commands.running import OK, STOPPED, check_json, err, execute, out, write_json
from streamer.commands.shares import show_shares
from streamer.config import load_pipeline
from streamer.pipeline import Output
from streamer.records import Caption, Event, TrackedFrame
from streamer.sinks.overlay_video import OverlayVideo

ENOUGH = 0.99
_FILL = (255, 0, 255)
_NEAR = 60  # of a channel: what an encoder makes of the colour
BoolMask = NDArray[np.bool_]


class PlainVideo(OverlayVideo):
    """The film as it is written, without outlines and words on it."""

    def write(self, record: TrackedFrame | Caption | Event) -> None:
        if isinstance(record, TrackedFrame):
            super().write(replace(record, regions=()))


@dataclass(kw_only=True)
class Covered:
    """Of films: in how many frames each object was to be seen, and how much of it was covered."""

    frames: int = 0
    enough: int = 0
    pixels: int = 0
    covered_px: int = 0
    bare_frames: int = 0
    bare_seen: int = 0
    picture_px: int = 0
    picture_covered_px: int = 0
    short: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, mask: BoolMask, covered: BoolMask, *, chosen: bool) -> None:
        """One object in one frame; of what was not chosen it is counted whether most is seen."""
        pixels, hidden = int(mask.sum()), int(covered[mask].sum())
        if not chosen:
            self.bare_frames += 1
            self.bare_seen += hidden < 0.5 * pixels
            return
        self.frames += 1
        self.pixels += pixels
        self.covered_px += hidden
        if hidden >= ENOUGH * pixels:
            self.enough += 1
        else:
            self.short[name].append(round(hidden / pixels, 3))

    def to_json(self) -> dict[str, Any]:
        return {
            "object_frames": self.frames, "object_frames_covered": self.enough,
            "pixels_covered": round(self.covered_px / max(1, self.pixels), 5),
            "picture_covered": round(self.picture_covered_px / max(1, self.picture_px), 4),
            "others": self.bare_frames, "others_seen": self.bare_seen, "short": dict(self.short),
        }  # fmt: skip


def redact_film(
    folder: Path, seed: int, *, seconds: float, height_px: int, overrides: list[str]
) -> tuple[Path, dict[str, Any]] | None:
    """Render a film and have `configs/private.yaml` write it anew, with fill for cover; the written
    film and the truth, None when it was stopped."""
    film, truth = folder / f"{seed}.mp4", folder / f"{seed}.truth.json"
    written = folder / f"{seed}.covered.mp4"
    write_film(film, truth, seed=seed, seconds=seconds, height_px=height_px)
    pipeline = load_pipeline(
        find_config("private"),
        variables={"input": str(film), "out": str(folder), "stem": str(seed)},
        overrides=["redact.how=fill", f"redact.fill_rgb={list(_FILL)}", *overrides],
    )
    sink = Output(
        name="overlay", sink=PlainVideo, make=partial(PlainVideo, str(written)), inputs=("redact",)
    )
    report = execute(replace(pipeline, outputs=(sink,)), quiet=True)
    return None if report.stopped else (written, json.loads(truth.read_text(encoding="utf-8")))


def compare(written: Path, truth: dict[str, Any], categories: list[str], *, into: Covered) -> None:
    """Read a written film back, and look at what its true masks show; [] chooses every object."""
    shown: dict[int, list[tuple[str, bool, bytes]]] = defaultdict(list)
    for item in truth["objects"]:
        name = f"{truth['seed']}/{item['object_id']} {item['caption']}"
        chosen = not categories or item["category"] in categories
        for frame in item["frames"]:
            shown[frame["index"]].append((name, chosen, frame["counts"].encode()))
    size = [truth["height_px"], truth["width_px"]]
    count = 0
    with av.open(str(written)) as container:
        for index, decoded in enumerate(container.decode(video=0)):
            image = decoded.to_ndarray(format="rgb24").astype(np.int16)
            covered = np.asarray(np.abs(image - _FILL).max(2) < _NEAR)
            into.picture_px += covered.size
            into.picture_covered_px += int(covered.sum())
            for name, chosen, counts in shown[index]:
                mask = coco.decode({"size": size, "counts": counts}).astype(bool)
                if mask.any():
                    into.add(name, mask, covered, chosen=chosen)
            count += 1
    if count != truth["frames"]:
        raise AssertionError(f"{written} has {count} frames of {truth['frames']}")


def evaluate_redaction(
    *,
    films: int,
    seed: int,
    seconds: float,
    height_px: int,
    categories: list[str],
    overrides: list[str],
    json_path: Path | None,
    quiet: bool,
) -> int:
    """Cover films and sum up how much of the chosen objects is covered in every frame."""
    check_json(json_path)
    total = Covered()
    choice = f"redact.categories={json.dumps(categories)}"
    for number in range(seed, seed + films):
        with tempfile.TemporaryDirectory(prefix="streamer-redaction-") as folder:
            made = redact_film(
                Path(folder), number, seconds=seconds, height_px=height_px,
                overrides=[choice, *overrides],
            )  # fmt: skip
            if made is None:
                return STOPPED
            compare(*made, categories, into=total)
        if not quiet:
            err.print(f"film {number}: {total.enough} of {total.frames} so far", markup=False)
    rows = [("frames of an object with 99 % covered", total.enough, total.frames),
            ("pixels of objects covered", total.covered_px, total.pixels)]  # fmt: skip
    if categories:
        rows.append(("frames of other objects that can be seen", total.bare_seen,
                     total.bare_frames))  # fmt: skip
    rows.append(("pixels of the picture covered", total.picture_covered_px, total.picture_px))
    show_shares(rows)
    for name, shares in sorted(total.short.items(), key=lambda item: -len(item[1])):
        mean = sum(shares) / len(shares)
        out.print(f"short of it: {name}, in {len(shares)} frames, {mean:.1%} of it", markup=False)
    write_json(json_path, {"films": films, "seed": seed, **total.to_json()})
    return OK
