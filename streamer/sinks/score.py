"""Compares what a run found with the truth of a synthetic film."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from streamer.errors import InputError
from streamer.interfaces import Sink
from streamer.records import Caption, Event, StreamInfo, TrackedFrame
from streamer.sinks.files import prepare

_SAME_IOU = 0.5
_JUDGED_SHORT_SIDE_PX = 32
_JUDGED_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """An object of the film and what became of it.

    `judged`: at least 32 px on its short side and mostly visible for a second or more.
    `tracked`: share of those frames in which some track had its mask (IoU >= 0.5).
    `track_ids`: the tracks that had it, longest first; more than one is a split.
    """

    object_id: int
    truth: str
    category: str
    colour: str
    judged: bool
    tracked: float
    track_ids: tuple[int, ...]
    best_short_side_px: int
    caption: str
    category_right: bool | None
    colour_right: bool | None


class Score(Sink[TrackedFrame | Caption | Event]):
    """Writes a JSON report: every object with its caption beside the truth, and the shares.

    Args:
        path: the file to write.
        truth: the ground-truth file that was written beside the film.
    """

    ordered = True

    def __init__(self, path: str, truth: str) -> None:
        self.path = Path(path)
        self.truth_path = Path(truth)
        self._truth: dict[str, Any] = {}
        self._by_frame: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self._hits: dict[int, Counter[int]] = defaultdict(Counter)
        self._ious: dict[int, list[float]] = defaultdict(list)
        self._sizes: dict[int, int] = defaultdict(int)
        self._track_frames: Counter[int] = Counter()
        self._captions: dict[int, Caption] = {}
        self._cuts = 0

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self._truth = read_truth(self.truth_path)
        for item in self._truth["objects"]:
            for seen in item["frames"]:
                self._by_frame[seen["index"]].append((item["object_id"], seen))
        prepare(self.path)

    def write(self, record: TrackedFrame | Caption | Event) -> None:
        if isinstance(record, TrackedFrame):
            self._match(record)
        elif isinstance(record, Caption):
            if record.end_ns is None:
                before = self._captions.get(record.track_id)
                # the words seen best are the track's words
                if before is None or record.mask.area_px >= before.mask.area_px:
                    self._captions[record.track_id] = record
        elif record.kind == "cut":
            self._cuts += 1

    def close(self) -> None:
        if self._truth:
            self.path.write_text(json.dumps(self.report(), indent=2) + "\n", encoding="utf-8")

    def report(self) -> dict[str, Any]:
        """Objects and sums as plain data."""
        objects = [self._object(item) for item in self._truth["objects"]]
        matched = {track for counter in self._hits.values() for track in counter}
        owners = {track: max(self._hits, key=lambda o: self._hits[o][track]) for track in matched}
        false_tracks = sorted(set(self._track_frames) - set(owners))
        judged = [o for o in objects if o.judged]
        said = [o for o in judged if o.category_right is not None]
        known = [o for o in said if o.category != "object"]
        blobs = [o for o in said if o.category == "object"]
        return {
            "objects": [asdict(o) for o in objects],
            "judged": len(judged),
            "tracked": sum(o.tracked >= 0.5 for o in judged),
            "split": sum(len(o.track_ids) > 1 for o in judged),
            "captioned": len(said),
            "category_right": sum(bool(o.category_right) for o in known),
            "category_judged": len(known),
            "object_right": sum(bool(o.category_right) for o in blobs),
            "object_judged": len(blobs),
            "colour_right": sum(bool(o.colour_right) for o in said),
            "correct": sum(bool(o.category_right and o.colour_right) for o in said),
            "mean_iou": _mean([v for ious in self._ious.values() for v in ious]),
            "tracks": len(self._track_frames),
            "false_tracks": len(false_tracks),
            "cuts": self._cuts,
            "true_cuts": len(self._truth["cut_indices"]),
        }

    def _match(self, record: TrackedFrame) -> None:
        height, width = record.frame.hw
        index = round(record.frame.time_ns * self._truth["fps"] / 1e9)
        truths = self._by_frame.get(index, [])
        for region in record.regions:
            self._track_frames[region.track_id] += 1
        if not truths or not record.regions:
            return
        size = [height, width]
        found = [{"size": size, "counts": r.mask.counts.encode()} for r in record.regions]
        wanted = [{"size": size, "counts": seen["counts"].encode()} for _, seen in truths]
        iou = np.asarray(coco.iou(found, wanted, [0] * len(wanted)))
        for i, j in zip(*linear_sum_assignment(-iou), strict=True):
            if iou[i, j] >= _SAME_IOU:
                object_id, seen = truths[j]
                self._hits[object_id][record.regions[i].track_id] += 1
                self._ious[object_id].append(float(iou[i, j]))
                self._sizes[object_id] = max(self._sizes[object_id], seen["short_side_px"])

    def _object(self, item: dict[str, Any]) -> ObjectScore:
        object_id = item["object_id"]
        frames = [
            seen
            for seen in item["frames"]
            if seen["visible"] >= 0.5 and seen["short_side_px"] >= _JUDGED_SHORT_SIDE_PX
        ]
        judged = len(frames) >= _JUDGED_SECONDS * self._truth["fps"]
        hits = self._hits[object_id]
        # a touch of a few frames is not a track of the object
        owners = [t for t, n in hits.most_common() if n >= max(3, 0.05 * len(item["frames"]))]
        caption = next((self._captions[t] for t in owners if t in self._captions), None)
        said = said_of(caption.text, self._truth["vocabulary"]) if caption else None
        return ObjectScore(
            object_id=object_id,
            truth=item["caption"],
            category=item["category"],
            colour=item["colour"],
            judged=judged,
            tracked=round(min(1.0, sum(hits.values()) / max(1, len(frames))), 3),
            track_ids=tuple(owners),
            best_short_side_px=self._sizes[object_id],
            caption=caption.text if caption else "",
            category_right=said[0] == item["category"] if said else None,
            colour_right=said[1] == item["colour"] if said else None,
        )


def said_of(text: str, vocabulary: Mapping[str, Collection[str]]) -> tuple[str, str]:
    """The category and the colour word of a caption; "" where there is none."""
    words = re.findall(r"[a-z]+", re.split(r" of | with ", text.lower())[0])
    category = next((w for w in reversed(words) if w in vocabulary["categories"]), "")
    return category, next((w for w in words if w in vocabulary["colours"]), "")


def read_truth(path: Path) -> dict[str, Any]:
    """A ground-truth file.

    Raises:
        InputError: when it is missing or not one.
    """
    try:
        truth = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such ground-truth file; it is written beside the film"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a ground-truth file: {error}") from None
    if not isinstance(truth, dict) or truth.get("format") != "streamer-truth/1":
        raise InputError(f"{path} is not a ground-truth file of format streamer-truth/1")
    return truth


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
