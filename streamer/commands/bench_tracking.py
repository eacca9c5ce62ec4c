"""`streamer bench tracking`: ids, memory and time of the tracker, on films whose truth is known."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray
from rich.table import Table

from model.evaluation.tracks import Overlaps, box_iou, came_back, join, score_tracks
from model.synthetic.film import Film, FilmFrame
from operators.segmenting import NONE, load_segmenter
from operators.track import Track
from operators.tracking.refining import Refiner
from operators.tracking.resize import shrunk
from operators.tracking.tracker import Tracker, TrackerConfig
from streamer.commands.bench import hardware
from streamer.commands.box_trackers import box_trackers
from streamer.commands.running import OK, err, out, write_json
from streamer.geometry import Viewport
from streamer.records import Frame, TrackedFrame

_WORK_HEIGHT_PX = 360
_USUAL, _ALONE = "streamer, with sam-nano", "streamer, without SAM"
_EVERY = "streamer, without SAM, a search every picture"
_MASKS = "the same by masks"


def bench_tracking(*, films: int, seed: int, seconds: float, json_path: Path | None) -> int:
    """Our tracker beside box trackers, which get the boxes of the proposals ours made of edges and
    motion alone.

    All are judged by the IoU of boxes, at the size the tracker works at; ours also by masks.
    """
    runs: dict[str, list[list[Overlaps]]] = {}
    spent_s: dict[str, float] = {}
    back: dict[str, list[bool]] = {}
    frames = 0
    usual, sam = Track(), load_segmenter("nano")
    others, lacking = box_trackers(fps=25.0, hidden_s=TrackerConfig().hidden_s)
    for number in range(seed, seed + films):
        film = Film(number, seconds=seconds)
        ours = {_USUAL: Tracker(TrackerConfig()), _ALONE: Tracker(TrackerConfig()),
                _EVERY: Tracker(TrackerConfig(propose_every_s=1e-9))}  # fmt: skip
        refiner = Refiner(usual.sam_every_ns, usual.sam_points, sam)
        updates = {name: begin() for name, begin in others.items()}
        made: dict[str, list[Overlaps]] = {}
        shares: dict[int, dict[int, float]] = {}
        for frame in film.frames():
            frames += 1
            small = shrunk(frame.image, _WORK_HEIGHT_PX)
            truth = {key: _small(mask, small.shape[:2]) for key, mask in frame.masks.items()}
            truth = {key: mask for key, mask in truth.items() if mask.any()}
            boxes = _boxes(list(truth.values()))
            ids = np.array(list(truth), np.int64)
            proposed = np.zeros((0, 4))
            for name, tracker in ours.items():
                start_s = time.perf_counter()
                step = tracker.step(small, frame.time_ns, refiner if name == _USUAL else None)
                spent_s[name] = spent_s.get(name, 0) + time.perf_counter() - start_s
                found = np.array([t.track_id for t in step.visible], np.int64)
                whole = (0, 0, small.shape[1], small.shape[0])
                masks = [t.window(whole) > 127 for t in step.visible]
                for part in step.parts:
                    if part.part_of in step.visible:
                        masks[step.visible.index(part.part_of)] |= part.window(whole) > 127
                for way, iou in (
                    (name, box_iou(boxes, _boxes(masks))),
                    (f"{name}: {_MASKS}", _mask_iou(list(truth.values()), masks)),
                ):
                    made.setdefault(way, []).append(
                        Overlaps(truth_ids=ids, found_ids=found, iou=iou)
                    )
                if name == _EVERY:
                    proposed = np.array([c.box for c in step.candidates], float).reshape(-1, 4)
            for name, update in updates.items():
                start_s = time.perf_counter()
                found, seen = update(proposed)
                spent_s[name] = spent_s.get(name, 0) + time.perf_counter() - start_s
                made.setdefault(name, []).append(
                    Overlaps(truth_ids=ids, found_ids=found, iou=box_iou(boxes, seen))
                )
            shares[frame.index] = _shares(frame)
        hidden = _hidden(shares, film.n_frames)
        for name, pictures in made.items():
            runs.setdefault(name, []).append(pictures)
            back.setdefault(name, []).extend(came_back(pictures, hidden))
        err.print(f"{number - seed + 1} of {films} films")
    rows = [
        {
            "tracker": name,
            **asdict(score_tracks(join(done))),
            "came_back": sum(back[name]),
            "hidden": len(back[name]),
            "fps": frames / spent_s[name] if name in spent_s else None,
        }
        for name, done in runs.items()
    ]
    _show(rows)
    for line in lacking:
        out.print(line)
    out.print("frames/s: ours with flow and proposals, the others' association alone")
    figures = {"what": "tracking", "films": films, "seed": seed, "frames": frames, "rows": rows}
    return _finish(figures, json_path)


def bench_soak(frames: int, *, seed: int, json_path: Path | None) -> int:
    """Memory over an endless film of 640x360 px: after a tenth of the frames and at the end."""
    operator = Track()
    operator.setup()
    process = psutil.Process()
    rss: list[tuple[int, int]] = []
    tracks: set[int] = set()
    start_s = time.perf_counter()
    for index, image in zip(range(frames), _endless(seed), strict=False):
        made = operator.process([_frame(image, index)])
        tracks |= {r.track_id for m in made if isinstance(m, TrackedFrame) for r in m.regions}
        if (index + 1) % max(1, frames // 10) == 0:
            gc.collect()
            rss.append((index + 1, process.memory_info().rss))
            err.print(f"{index + 1} frames: {rss[-1][1] / 2**20:.1f} MiB")
    seconds = time.perf_counter() - start_s
    first, last = rss[0][1] / 2**20, rss[-1][1] / 2**20
    out.print(
        f"{frames} frames, {len(tracks)} tracks in {seconds:.0f} s: {first:.1f} MiB after "
        f"{rss[0][0]} frames, {last:.1f} MiB at the end ({last - first:+.1f} MiB)"
    )
    figures = {"what": "tracking memory", "frames": frames, "tracks": len(tracks),
               "rss_bytes": dict(rss), "seconds": seconds}  # fmt: skip
    return _finish(figures, json_path)


def bench_objects(counts: list[int], *, json_path: Path | None, frames: int = 60) -> int:
    """Time per frame of 1280x720 px against the number of objects in it."""
    rows: list[dict[str, Any]] = []
    for n in counts:
        operator = Track(max_tracks=max(n, 1), sam=NONE)
        times, cpu, seen = [], [], []
        for index, image in zip(range(frames), _crowd(n), strict=False):
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            made = operator.process([_frame(image, index)])
            times.append((time.perf_counter() - start_s) * 1e3)
            cpu.append((time.process_time() - start_cpu_s) * 1e3)
            seen += [len(m.regions) for m in made if isinstance(m, TrackedFrame)]
        settled = slice(frames // 4, None)
        rows.append(
            {
                "objects": n,
                "tracked": statistics.mean(seen[settled]),
                "mean_ms": statistics.mean(times[settled]),
                "cpu_ms": statistics.mean(cpu[settled]),
            }
        )
    table = Table(box=None, pad_edge=False)
    for column in ("objects", "tracked", "ms a frame", "of CPU", f"x {counts[0]}"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["objects"]),
            f"{row['tracked']:.1f}",
            f"{row['mean_ms']:.1f}",
            f"{row['cpu_ms']:.1f}",
            # CPU time, so that other work on the machine does not count
            f"{row['cpu_ms'] / rows[0]['cpu_ms']:.2f}",
        )
    out.print(table)
    return _finish({"what": "tracking time", "rows": rows}, json_path)


def _finish(figures: dict[str, Any], json_path: Path | None) -> int:
    machine = hardware()
    out.print(f"on {machine['cpu']}, {machine['cores']} cores, gpu: {machine['gpu'] or 'none'}")
    write_json(json_path, {**figures, "hardware": machine})
    return OK


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("tracker")
    for column in ("HOTA", "DetA", "AssA", "IDF1", "switches", "splits", "false", "came back",
                   "frames/s"):  # fmt: skip
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row["tracker"],
            *(f"{row[name]:.3f}" for name in ("hota", "det_a", "ass_a", "idf1")),
            str(row["id_switches"]),
            str(row["splits"]),
            f"{row['false_tracks']} of {row['tracks']}",
            f"{row['came_back']} of {row['hidden']}",
            f"{row['fps']:.0f}" if row["fps"] else "",
        )
    out.print(table)


def _small(mask: NDArray[np.bool_], hw: tuple[int, ...]) -> NDArray[np.bool_]:
    share = cv2.resize(mask.astype(np.uint8) * 255, hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share > 127)


def _boxes(masks: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """N x 4 tight boxes (x0, y0, x1, y1)."""
    rects = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rects], float).reshape(-1, 4)


def _mask_iou(
    truth: list[NDArray[np.bool_]], found: list[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    iou = np.zeros((len(truth), len(found)))
    for i, a in enumerate(truth):
        for j, b in enumerate(found):
            common = np.count_nonzero(a & b)
            iou[i, j] = common / np.count_nonzero(a | b) if common else 0.0
    return iou


def _shares(frame: FilmFrame) -> dict[int, float]:
    """The visible share of every object in a frame; left out where the border cuts it."""
    shares = {}
    for key, mask in frame.masks.items():
        if not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any()):
            shares[key] = float(mask.sum()) / max(1, frame.outlines_px[key])
    return shares


def _hidden(shares: dict[int, dict[int, float]], n_frames: int) -> list[tuple[int, int, int]]:
    """Spans in which an object is covered by four fifths or more, between two views of it that
    show at least half: object, first frame hidden, first frame well seen again."""
    spans = []
    for key in sorted({key for seen in shares.values() for key in seen}):
        begin: int | None = None
        known = deep = False
        for index in range(n_frames):
            share = shares[index].get(key, 0.0)
            if share >= 0.5:
                if begin is not None and deep:
                    spans.append((key, begin, index))
                begin, known, deep = None, True, False
            elif known:
                begin = index if begin is None else begin
                deep = deep or share < 0.2
    return spans


def _endless(seed: int) -> Iterator[NDArray[np.uint8]]:
    for number in count(seed):
        for frame in Film(number, height_px=360, width_px=640, seconds=20.0).frames():
            yield frame.image


def _crowd(n: int) -> Iterator[NDArray[np.uint8]]:
    """`n` discs of 40 px that circle in the cells of a grid of 16 x 8, over a soft ground."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(
        rng.normal(120, 12, (9, 16, 3)).astype(np.float32),
        (1280, 720),
        interpolation=cv2.INTER_CUBIC,
    )
    noise = rng.normal(0, 2, (760, 1320, 3)).astype(np.float32)
    colours = rng.choice([20, 70, 200, 240], (128, 3))
    cells = rng.permutation(128)[:n] if n <= 128 else rng.integers(0, 128, n)
    for index in count():
        dy, dx = rng.integers(0, 40, 2)
        image = ground + noise[dy : dy + 720, dx : dx + 1280]
        for i, cell in enumerate(cells):
            turn = 0.15 * index + i
            x = round(80 * (cell % 16) + 40 + 14 * np.cos(turn))
            y = round(90 * (cell // 16) + 45 + 14 * np.sin(turn))
            cv2.circle(image, (x, y), 20, colours[i % 128].tolist(), -1, cv2.LINE_AA)
            cv2.circle(image, (x - 5, y - 5), 7, (128.0, 128.0, 128.0), -1, cv2.LINE_AA)
        yield np.clip(image, 0, 255).astype(np.uint8)


def _frame(image: NDArray[np.uint8], index: int) -> Frame:
    return Frame(
        stream_id="bench",
        index=index,
        time_ns=index * 40_000_000,
        image=image,
        viewport=Viewport.whole(*image.shape[:2]),
    )
