"""`streamer demo`: renders a film whose truth is known, captions it, and compares."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
from rich.markup import escape
from rich.table import Table

from streamer.commands.caption import find_config
from streamer.commands.running import execute, exit_code, out, show
from streamer.config import load_pipeline
from streamer.errors import OutputError
from streamer.pipeline import Output
from streamer.sinks.score import Score


def write_film(
    path: Path, truth_path: Path, *, seed: int, seconds: float, height_px: int = 720
) -> None:
    """Render a synthetic film, 16 to 9, of 25 frames a second, and its ground truth.

    Raises:
        OutputError: when the files cannot be written.
    """
    from model.synthetic.film import Film, Truth

    width_px = round(height_px * 16 / 18) * 2
    film = Film(seed, height_px=height_px, width_px=width_px, seconds=seconds)
    truth = Truth(film)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        container = av.open(str(path), "w")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another") from None
    with container:
        stream = container.add_stream("libx264", rate=film.fps, options={"crf": "20"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = film.width_px, film.height_px, "yuv420p"
        stream.codec_context.options = {"crf": "20", "preset": "veryfast"}
        for frame in film.frames():
            truth.add(frame)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        container.mux(stream.encode(None))
    truth_path.write_text(json.dumps(truth.to_json()) + "\n", encoding="utf-8")


def run_demo(out_dir: Path, *, seed: int, seconds: float, quiet: bool) -> int:
    """Render, caption, compare; writes everything under `out_dir`."""
    film, truth = out_dir / "film.mp4", out_dir / "truth.json"
    out.print(f"rendering a film of {seconds:g} s from seed {seed} ...")
    start_s = time.perf_counter()
    write_film(film, truth, seed=seed, seconds=seconds)
    took_s = time.perf_counter() - start_s
    out.print(f"rendered {film} in {took_s:.0f} s; captioning it ...", markup=False)
    variables = {"input": str(film), "out": str(out_dir), "stem": "film"}
    pipeline = load_pipeline(find_config("quickstart"), variables=variables)
    score_path = out_dir / "score.json"
    score = Output(
        name="score",
        sink=Score,
        make=partial(Score, str(score_path), str(truth)),
        inputs=("track", "intervals"),
    )
    report = execute(replace(pipeline, outputs=(*pipeline.outputs, score)), quiet=quiet)
    result = json.loads(score_path.read_text(encoding="utf-8"))
    show_score(result)
    show(report)
    summary = {
        "seed": seed,
        "frames": report.frames,
        "media_seconds": round(report.media_ns / 1e9, 3),
        "wall_seconds": report.wall_s,
        "speed": round(report.speed, 3),
        "peak_memory_bytes": report.peak_memory_bytes,
        "tracks": report.tracks,
        "captions": report.captions,
        "correct": result["correct"],
        "captioned": result["captioned"],
    }
    path = out_dir / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    watched = out_dir / "film.captioned.mp4"
    out.print(f"watch {watched}; the rest lies beside it in {out_dir}", markup=False)
    return exit_code(report)


def show_score(result: dict[str, Any]) -> None:
    """Every object's caption beside the truth."""
    table = Table(box=None, pad_edge=False)
    for column in ("object", "truth", "tracks", "tracked", "caption", "category", "colour"):
        table.add_column(column)
    for item in result["objects"]:
        table.add_row(
            str(item["object_id"]),
            item["truth"],
            " ".join(f"#{i}" for i in item["track_ids"]) or "-",
            f"{item['tracked']:.0%}",
            escape(item["caption"] or "-"),
            _mark(item["category_right"]),
            _mark(item["colour_right"]),
        )
    out.print(table)
    out.print(
        f"{result['tracked']} of {result['judged']} objects tracked, {result['split']} split; of "
        f"{result['captioned']} captioned: category right {_share(result, 'category')}, blobs "
        f"called object {_share(result, 'object')}, colour right "
        f"{result['colour_right']}/{result['captioned']}"
    )


def _mark(right: bool | None) -> str:
    return "-" if right is None else "[green]right[/green]" if right else "[red]wrong[/red]"


def _share(result: dict[str, Any], what: str) -> str:
    return f"{result[f'{what}_right']}/{result[f'{what}_judged']}"
