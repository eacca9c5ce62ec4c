"""`streamer evaluate scroll`: a synthetic scroll whose truth is known, walked and compared."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from streamer.commands.caption import find_config
from streamer.commands.running import OK, err, out, write_json
from streamer.commands.shares import show_shares
from streamer.config import load_pipeline
from streamer.executors.resumable import run_resumable
from streamer.interfaces import Sink
from streamer.pipeline import Output
from streamer.progress import Progress
from streamer.records import Caption, Event
from streamer.report import Tally
from streamer.scroll.findings import Findings
from streamer.scroll.score import score_scroll


class _Gather(Sink[Caption | Event]):
    """Keeps what is found in a collection of the caller's."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def write(self, record: Caption | Event) -> None:
        self.findings.add(record)


def evaluate_scroll(
    *,
    width: int,
    height: int,
    objects: int,
    seed: int,
    config: str,
    overrides: list[str],
    json_path: Path | None,
    quiet: bool,
) -> int:
    """Render a scroll, walk along it, compare what was found with the truth."""
    from model.synthetic.scroll import Scroll, write_scroll

    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="streamer-scroll-") as folder:
        picture = Path(folder) / "scroll.tif"
        if not quiet:
            err.print(f"rendering a scroll of {width}x{height} px with {objects} objects ...")
        scroll = Scroll(seed, width_px=width, height_px=height, objects=objects)
        truth = json.loads(json.dumps(write_scroll(scroll, picture)))
        variables = {"input": str(picture), "out": folder, "stem": "scroll"}
        pipeline = load_pipeline(find_config(config), variables=variables, overrides=overrides)
        sink = Output(
            name="gather",
            sink=_Gather,
            make=partial(_Gather, findings),
            inputs=pipeline.outputs[0].inputs,
        )
        tally = Tally()
        started_s = time.perf_counter()
        with Progress(tally, err, quiet=quiet):
            report = run_resumable(
                replace(pipeline, outputs=(sink,)),
                Path(folder) / "walk",
                key="evaluate",
                tally=tally,
                stop=threading.Event(),
            )
        wall_s = time.perf_counter() - started_s
        result = score_scroll(findings.all(), truth)
    show_shares(
        (name, result[count], result[judged])
        for name, count, judged in (
            ("objects found", "found", "judged"),
            ("found twice", "doubled", "judged"),
            ("split", "split", "judged"),
            ("in pieces that do not touch", "in_pieces", "judged"),
            ("cut by a window's edge", "cut", "judged"),
            ("category", "category_right", "category_judged"),
            ("blobs called object", "object_right", "object_judged"),
            ("colour", "colour_right", "captioned"),
        )
    )
    out.print(
        f"median IoU {result['median_iou']:.3f}; {result['false_regions']} of {result['regions']} "
        f"regions are nothing of the scroll; {report.frames} windows in {wall_s:.0f} s, "
        f"{report.peak_memory_bytes / 2**20:.0f} MiB at most"
    )
    write_json(json_path, {"wall_s": round(wall_s, 1), "windows": report.frames, **result})
    return OK
