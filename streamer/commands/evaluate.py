"""`streamer evaluate`: how true the words are, on films whose truth is known and on any other."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from streamer.commands.caption import find_config
from streamer.commands.demo import write_film
from streamer.commands.running import OK, STOPPED, check_json, err, execute, out, write_json
from streamer.commands.shares import show_shares
from streamer.config import load_pipeline
from streamer.pipeline import Output
from streamer.records import Caption, Frame
from streamer.sinks.score import Score
from streamer.testing import ListSink

_SUMS = (
    "judged", "tracked", "split", "captioned", "category_right", "category_judged", "object_right",
    "object_judged", "colour_right", "correct", "tracks", "false_tracks", "cuts", "true_cuts",
)  # fmt: skip
_SURE = 0.9


def evaluate_films(
    *,
    films: int,
    seed: int,
    seconds: float,
    config: str,
    overrides: list[str],
    json_path: Path | None,
    quiet: bool,
) -> int:
    """Render `films` films from `seed` on, run each, and sum up what was right."""
    check_json(json_path)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="streamer-films-") as folder:
        for number in range(seed, seed + films):
            film, truth = Path(folder) / f"{number}.mp4", Path(folder) / f"{number}.truth.json"
            score = Path(folder) / f"{number}.score.json"
            write_film(film, truth, seed=number, seconds=seconds)
            variables = {"input": str(film), "out": folder, "stem": str(number)}
            pipeline = load_pipeline(find_config(config), variables=variables, overrides=overrides)
            sink = Output(
                name="score",
                sink=Score,
                make=partial(Score, str(score), str(truth)),
                inputs=("track", "intervals"),
            )
            report = execute(replace(pipeline, outputs=(sink,)), quiet=True)
            if report.stopped:
                return STOPPED
            result = json.loads(score.read_text(encoding="utf-8"))
            results.append({"seed": number, **result})
            film.unlink()
            if not quiet:
                line = f"{len(results)} of {films}, seed {number}: {_line(result)}"
                err.print(line, markup=False, soft_wrap=True)
    sums = {name: sum(result[name] for result in results) for name in _SUMS}
    show_shares(
        (name, sums[right], sums[judged])
        for name, right, judged in (
            ("objects tracked", "tracked", "judged"),
            ("split into several ids", "split", "judged"),
            ("category", "category_right", "category_judged"),
            ("blobs called object", "object_right", "object_judged"),
            ("colour", "colour_right", "captioned"),
            ("cuts", "cuts", "true_cuts"),
        )
    )
    out.print(f"{sums['false_tracks']} of {sums['tracks']} tracks follow nothing of the film")
    write_json(json_path, {"sums": sums, "films": results})
    return OK


def _line(result: dict[str, Any]) -> str:
    wrong = [
        f"{item['truth']} -> {item['caption'] or 'nothing'}"
        for item in result["objects"]
        if item["judged"] and not (item["category_right"] and item["colour_right"])
    ]
    return (
        f"{result['tracked']} of {result['judged']} tracked, {result['correct']} of "
        f"{result['captioned']} right" + (f"; {'; '.join(wrong)}" if wrong else "")
    )


def evaluate_words(
    files: list[Path], *, config: str, overrides: list[str], json_path: Path | None, quiet: bool
) -> int:
    """Caption films of any kind and compare colour and place words with the masks' own pixels."""
    check_json(json_path)
    rows: list[dict[str, Any]] = []
    for file in files:
        with tempfile.TemporaryDirectory(prefix="streamer-words-") as folder:
            variables = {"input": str(file), "out": folder, "stem": "film"}
            pipeline = load_pipeline(find_config(config), variables=variables, overrides=overrides)
            kept = ListSink()
            sink = Output(
                name="kept", sink=ListSink, make=partial(_same, kept), inputs=("intervals",)
            )
            report = execute(replace(pipeline, outputs=(sink,)), quiet=quiet)
            if report.stopped:
                return STOPPED
            captions = [r for r in kept.records if isinstance(r, Caption) and r.end_ns is None]
            source = pipeline.make_source()
            source.open()
            try:
                row = _judge(captions, source.read())
            finally:
                source.close()
        rows.append({"input": str(file), "frames": report.frames, **row})
    table = Table(box=None, pad_edge=False)
    for column in ("film", "frames", "captions", "colour true", "place true", "object", "claimed"):
        table.add_column(column, justify="left" if column == "film" else "right")
    names = ("frames", "captions", "colour_true", "colour_said", "place_true", "place_said",
             "object", "claimed", "claimed_surely")  # fmt: skip
    total = {"input": "all", **{name: sum(row[name] for row in rows) for name in names}}
    for row in [*rows, total] if len(rows) > 1 else rows:
        table.add_row(
            escape(Path(row["input"]).name),
            str(row["frames"]),
            str(row["captions"]),
            _ratio(row["colour_true"], row["colour_said"]),
            _ratio(row["place_true"], row["place_said"]),
            str(row["object"]),
            f"{row['claimed']} ({row['claimed_surely']} surely)",
        )
    out.print(table)
    claims: Counter[str] = sum((Counter(row["categories"]) for row in rows), Counter())
    out.print(
        "categories claimed: " + (", ".join(f"{k} {n}" for k, n in claims.most_common()) or "none")
    )
    out.print(f"surely: with a mean token probability of {_SURE:.0%} or more")
    write_json(json_path, {"films": rows, "total": total})
    return OK


def _same(sink: ListSink) -> ListSink:
    return sink


def _ratio(right: int, judged: int) -> str:
    return f"{right}/{judged} {right / judged:.0%}" if judged else "-"


def _judge(captions: list[Caption], frames: Any) -> dict[str, Any]:
    from model.synthetic.captions import parse_caption
    from model.synthetic.palette import colour_counts, dominant_colour
    from model.synthetic.scene import size_and_place
    from model.synthetic.shapes import OBJECT

    by_frame: dict[int, list[Caption]] = {}
    for caption in captions:
        by_frame.setdefault(caption.frame_index, []).append(caption)
    count: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    wrong: list[str] = []
    sure: list[str] = []
    for frame in frames:
        if not isinstance(frame, Frame):
            continue
        for caption in by_frame.pop(frame.index, ()):
            mask = caption.mask.decode()
            said = parse_caption(caption.text)
            colour = dominant_colour(colour_counts(frame.image, mask))
            count["colour_said"] += bool(said["colour"])
            count["colour_true"] += said["colour"] == colour
            if said["colour"] and said["colour"] != colour:
                wrong.append(f"{caption.text}, mostly {colour}")
            place = parse_caption(caption.detail)["place"]
            count["place_said"] += bool(place)
            count["place_true"] += place == size_and_place(mask)[1]
            if said["category"] in ("", OBJECT):
                count["object"] += 1
            else:
                categories[said["category"]] += 1
                count["claimed"] += 1
                if caption.mean_logprob is not None and math.exp(caption.mean_logprob) >= _SURE:
                    count["claimed_surely"] += 1
                    sure.append(f"#{caption.track_id} {caption.text}, {caption.mean_logprob:.3f}")
        if not by_frame:
            break
    names = ("colour_said", "colour_true", "place_said", "place_true", "object", "claimed",
             "claimed_surely")  # fmt: skip
    return {
        "captions": len(captions),
        **{name: count[name] for name in names},
        "categories": dict(categories.most_common()),
        "wrong_colours": wrong,
        "sure_claims": sure,
    }
