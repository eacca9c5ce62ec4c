"""`streamer bench sam`: masks of everything, against SamAutomaticMaskGenerator in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from streamer.commands.bench import hardware
from streamer.commands.running import OK, err, out, write_json
from streamer.errors import WeightsError

_HW = (720, 1280)


def bench_sam(
    sam: str, *, sam_type: str, points: int, crop_layers: int, rounds: int, json_path: Path | None
) -> int:
    """Time both on a drawn picture of 1280 x 720 with the same weights and settings.

    Raises:
        WeightsError: when the weights cannot be loaded.
    """
    from model.sam.everything import Everything, find_everything
    from model.sam.segmenter import NANO_EVERYTHING, Segmenter
    from model.synthetic.scene import sample_scene

    try:
        if sam == "nano" or Path(sam).is_dir():
            segmenter = Segmenter.nano("sam-nano" if sam == "nano" else sam)
        else:
            segmenter = Segmenter.from_checkpoint(sam, kind=sam_type)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{sam}: {error}") from error
    from segment_anything import SamAutomaticMaskGenerator

    small = sam == "nano" or Path(sam).is_dir()
    base = NANO_EVERYTHING if small else Everything()
    values: dict[str, Any] = {
        "points_per_side": points,
        "pred_iou_thresh": base.pred_iou_thresh,
        "stability_score_thresh": base.stability_score_thresh,
        "crop_n_layers": crop_layers,
    }
    image = sample_scene(
        np.random.default_rng(3), *_HW, difficulty=0.5, n_objects=14, short_side_px=(40, 240)
    ).image
    model = segmenter.predictor.model
    generator = SamAutomaticMaskGenerator(model, **values)
    settings = Everything(**values)
    runs: dict[str, Callable[[], Any]] = {
        "SamAutomaticMaskGenerator": lambda: generator.generate(image),
        "streamer": lambda: find_everything(model, image, settings),
        "embedding alone": lambda: segmenter.predictor.set_image(image),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    masks = {}
    for i in range(rounds + 1):
        for name, run in runs.items():  # alternating, so that a busy machine slows both alike
            start_s = time.perf_counter()
            found = run()
            if i:  # the first round warms up
                times[name].append(time.perf_counter() - start_s)
            masks[name] = len(found) if found is not None else 0
        err.print(f"round {i} of {rounds}" if i else "warm")
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    ratio = statistics.median(
        theirs / ours
        for theirs, ours in zip(times["SamAutomaticMaskGenerator"], times["streamer"], strict=True)
    )
    table = Table(box=None, pad_edge=False)
    for column in ("", "median s", "masks"):
        table.add_column(column, justify="left" if not column else "right")
    for name, median_s in medians.items():
        table.add_row(name, f"{median_s:.3f}", str(masks[name] or "-"))
    out.print(table)
    out.print(f"{ratio:.2f} times as fast with the same masks (median of {rounds})")
    machine = hardware()
    out.print(f"on {machine['cpu']}, {machine['cores']} cores, gpu: {machine['gpu'] or 'none'}")
    write_json(
        json_path,
        {
            "what": "sam",
            "sam": sam,
            "settings": values,
            "picture_hw": list(_HW),
            "rounds": rounds,
            "times_s": times,
            "median_s": medians,
            "masks": masks,
            "times_as_fast": round(ratio, 3),
            "hardware": machine,
        },
    )
    return OK
