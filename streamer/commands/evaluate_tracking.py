"""`streamer evaluate tracking`: masks and ids against annotated pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from model.evaluation.masks import boundary_f, jaccard
from model.evaluation.tracks import SAME_IOU, Overlaps, box_iou, join, score_tracks
from operators.track import Track
from operators.track_sam2 import TrackSam2
from operators.tracking.given import follow_given, follow_given_with
from streamer.commands.running import OK, err, out, write_json
from streamer.commands.sequences import BoxSequence, MaskSequence, find_sequences, pictures
from streamer.errors import InputError
from streamer.geometry import Viewport
from streamer.mask import Mask
from streamer.records import Frame, TrackedFrame

_FPS = 25.0


def evaluate_tracking(
    folder: Path,
    *,
    names: Path | None,
    there_and_back: bool,
    work_height_px: int,
    json_path: Path | None,
    quiet: bool,
    sam2: str = "",
    device: str = "auto",
) -> int:
    """Score every sequence of a folder and the mean over all objects; `sam2` names the weights of
    SAM 2 or EdgeTAM, when they follow."""
    sequences = _chosen(find_sequences(folder), names)
    operator = Track(work_height_px=work_height_px)
    if sam2:
        operator = TrackSam2(sam2, work_height_px=work_height_px, device=device)
    operator.setup()
    rows: list[dict[str, Any]] = []
    runs: list[list[Overlaps]] = []
    for sequence in sequences:
        start_s = time.perf_counter()
        if isinstance(sequence, MaskSequence):
            row = _masks(sequence, operator, there_and_back)
        else:
            run = _boxes(sequence, operator)
            runs.append(run)
            row = asdict(score_tracks(run))
        seconds = time.perf_counter() - start_s
        frames = len(sequence.pictures) * (2 if there_and_back else 1)
        row = {"sequence": sequence.name, "frames": len(sequence.pictures), **row}
        rows.append({**row, "fps": round(frames / seconds, 2)})
        if not quiet:
            err.print(f"{len(rows)} of {len(sequences)}: {sequence.name}")
    mean = asdict(score_tracks(join(runs))) if runs else _mean_of_objects(rows)
    mean["frames"] = sum(row["frames"] for row in rows)
    _show(rows, {"sequence": "all", **mean}, boxes=bool(runs))
    if not runs and mean["j"] is None:
        out.print(
            "no object has a second mask to compare with"
            + ("" if there_and_back else "; --there-and-back plays the pictures back to the first")
        )
    write_json(json_path, {"folder": str(folder), "sequences": rows, "all": mean})
    return OK


def _chosen(found: Any, names: Path | None) -> Any:
    if names is None:
        return found
    try:
        wanted = names.read_text(encoding="utf-8").split()
    except OSError as error:
        raise InputError(f"{names} cannot be read ({error.strerror}); give a text file") from None
    known = {sequence.name: sequence for sequence in found}
    lacking = [name for name in wanted if name not in known]
    if lacking or not wanted:
        raise InputError(f"{names}: there is no sequence {', '.join(lacking) or 'named in it'}")
    return [known[name] for name in wanted]


def _masks(sequence: MaskSequence, operator: Track, there_and_back: bool) -> dict[str, Any]:
    """J and F of every object, started from its first mask.

    Where every picture has its mask, the last one does not count, as in DAVIS. Where only some
    have, an object that is not in a mask is taken as not annotated there.
    """
    shown = sequence.pictures
    labels = {index: sequence.labels(index) for index in sorted(sequence.masks)}
    given: dict[int, dict[int, NDArray[np.bool_]]] = {}
    first: dict[int, int] = {}
    for index, mask in labels.items():
        ids = _ids(mask)
        for key in ids:
            if key not in first:
                first[key] = index
                given.setdefault(index, {})[key] = mask == key
    if not first:
        raise InputError(f"{sequence.name}: its masks are all background; nothing can be followed")
    n = len(shown)
    truth: dict[int, dict[int, NDArray[np.bool_]]] = {}
    if there_and_back:
        shown = (*shown, *shown[-2::-1])
        for key, index in first.items():
            if index < n - 1:
                truth.setdefault(2 * n - 2 - index, {})[key] = given[index][key]
    else:
        for index, mask in labels.items():
            if sequence.dense and index == n - 1:
                continue
            for key, begin in first.items():
                if index > begin and (sequence.dense or key in _ids(mask)):
                    truth.setdefault(index, {})[key] = mask == key
    scores: dict[int, list[tuple[float, float]]] = {key: [] for key in first}
    for index, found in enumerate(_followed(shown, given, operator)):
        for key, wanted in truth.get(index, {}).items():
            inside = found[key].decode() if key in found else np.zeros_like(wanted)
            scores[key].append((jaccard(inside, wanted), boundary_f(inside, wanted)))
    objects = {
        str(key): {"j": _mean([j for j, _ in pairs]), "f": _mean([f for _, f in pairs])}
        for key, pairs in scores.items()
    }
    return {"objects": objects, **_mean_of_objects([{"objects": objects}])}


def _followed(
    shown: Sequence[Path], given: dict[int, dict[int, NDArray[np.bool_]]], operator: Track
) -> Iterator[dict[int, Mask]]:
    if isinstance(operator, TrackSam2):
        return follow_given_with(operator.new_session(), pictures(shown), given)
    height_px = operator.work_height_px
    return follow_given(pictures(shown), given, fps=_FPS, work_height_px=height_px)


def _ids(mask: NDArray[np.uint8]) -> list[int]:
    ids = [int(i) for i in np.unique(mask) if i]
    # 255 is the one object of a black-and-white mask, and "void" beside others
    return ids if ids == [255] else [i for i in ids if i != 255]


def _boxes(sequence: BoxSequence, operator: Track) -> list[Overlaps]:
    try:
        made: list[Overlaps] = []
        for index, regions in enumerate(_tracked(operator, sequence)):
            rows = sequence.boxes.get(index, np.zeros((0, 6)))
            iou = box_iou(rows[:, 1:5], regions[:, 1:])
            counts = rows[:, 5] > 0
            # what follows an ignored box is neither a hit nor a miss
            ignored = (iou[~counts].max(axis=0, initial=0) >= SAME_IOU) & (
                iou[counts].max(axis=0, initial=0) < SAME_IOU
            )
            made.append(
                Overlaps(
                    truth_ids=rows[counts, 0].astype(np.int64),
                    found_ids=regions[~ignored, 0].astype(np.int64),
                    iou=iou[counts][:, ~ignored],
                )
            )
    except ValueError as error:
        raise InputError(f"{sequence.name}: {error}; mend its gt.txt") from None
    finally:
        operator.flush(sequence.name)
    return made


def _tracked(operator: Track, sequence: BoxSequence) -> Iterator[NDArray[np.float64]]:
    """Rows of id, x0, y0, x1, y1 for every picture."""
    for index, image in enumerate(pictures(sequence.pictures)):
        frame = Frame(
            stream_id=sequence.name,
            index=index,
            time_ns=round(index * 1e9 / sequence.fps),
            image=image,
            viewport=Viewport.whole(*image.shape[:2]),
        )
        (tracked,) = [r for r in operator.process([frame]) if isinstance(r, TrackedFrame)]
        rows = [(r.track_id, *r.box_xyxy) for r in tracked.regions]
        yield np.array(rows, np.float64).reshape(-1, 5)


def _mean_of_objects(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """J, F and their mean over all objects that could be compared; None without any."""
    objects = [o for row in rows for o in row["objects"].values() if o["j"] is not None]
    j, f = (_mean([o[name] for o in objects]) for name in ("j", "f"))
    return {"j": j, "f": f, "jf": None if j is None or f is None else (j + f) / 2}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _show(rows: list[dict[str, Any]], mean: dict[str, Any], *, boxes: bool) -> None:
    shares = ("hota", "det_a", "ass_a", "idf1") if boxes else ("j", "f", "jf")
    counts = ("id_switches", "splits", "false_tracks", "tracks") if boxes else ()
    titles = {"hota": "HOTA", "det_a": "DetA", "ass_a": "AssA", "idf1": "IDF1", "j": "J", "f": "F",
              "jf": "J&F", "id_switches": "switches", "false_tracks": "false tracks"}  # fmt: skip
    table = Table(box=None, pad_edge=False)
    table.add_column("sequence")
    for name in ("frames", "objects", *shares, *counts, "frames/s"):
        table.add_column(titles.get(name, name), justify="right")
    for row in [*rows, mean] if len(rows) > 1 else rows:
        n = row.get("objects", "")
        table.add_row(
            row["sequence"],
            str(row["frames"]),
            str(len(n) if isinstance(n, dict) else n),
            *("-" if row[name] is None else f"{row[name]:.3f}" for name in shares),
            *(str(row[name]) for name in counts),
            f"{row['fps']:.1f}" if "fps" in row else "",
        )
    out.print(table)
