"""A script in the order of reading, put together from captions and where they stand.

Nothing is said that is not in a caption or in the geometry of the regions, and every sentence
names the regions it is made of.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamer.clock import NS_PER_S, format_ns
from streamer.scroll.findings import Finding
from streamer.sources.paths import Stop, Walk

_COLUMNS = ("left", "middle", "right")
_ROWS = ("top", "middle", "bottom")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Words that are spoken from `start_ns` to `end_ns`, and the regions they are about."""

    text: str
    start_ns: int
    end_ns: int
    region_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A stretch of the walk, about a window long; `left_out` are the regions with words for which
    there was no time."""

    number: int
    start_ns: int
    end_ns: int
    box_xyxy: tuple[int, int, int, int]
    region_ids: tuple[int, ...]
    sentences: tuple[Sentence, ...]
    left_out: tuple[int, ...]


LengthNs = Callable[[str], int]


def reading_length(words_per_minute: float) -> LengthNs:
    """How long a text takes when it is read at an even rate."""
    return lambda text: round(len(text.split()) / words_per_minute * 60 * NS_PER_S)


def narrate(
    findings: Sequence[Finding], walk: Walk, length_ns: LengthNs | None = None
) -> list[Scene]:
    """The script of a walk: its scenes with sentences that fit their time.

    Args:
        length_ns: how long a sentence takes to speak; 150 words a minute when None.
    """
    length_ns = length_ns or reading_length(150.0)
    said = [f for f in findings if f.text]
    scenes: list[Scene] = []
    free_ns = 0
    for number, (start_ns, end_ns, box) in enumerate(_stretches(walk), 1):
        mine = [f for f in said if _holds(box, f) and _first_box(walk, f) == box]
        groups = _groups(mine, walk)
        now_ns = max(start_ns, free_ns)
        sentences: list[Sentence] = []
        left_out: list[int] = []
        lead = f"{_place(box, walk).capitalize()}: "
        # what covers most comes first into the script, but is told in the order of reading
        chosen = {}
        if groups:
            chosen = _fitting(groups, end_ns - now_ns - length_ns(lead), length_ns)
        for i, group in enumerate(groups):
            if i not in chosen:
                left_out += [f.region_id for f in group]
                continue
            text = _sentence(lead + chosen[i] if not sentences else chosen[i])
            until_ns = now_ns + length_ns(text)
            sentences.append(
                Sentence(
                    text=text,
                    start_ns=now_ns,
                    end_ns=until_ns,
                    region_ids=tuple(f.region_id for f in group),
                )
            )
            now_ns = until_ns
        free_ns = now_ns
        scenes.append(
            Scene(
                number=number, start_ns=start_ns, end_ns=end_ns, box_xyxy=box,
                region_ids=tuple(f.region_id for f in mine), sentences=tuple(sentences),
                left_out=tuple(left_out),
            )
        )  # fmt: skip
    return scenes


def neighbours(finding: Finding, others: Sequence[Finding], most: int = 2) -> list[tuple[str, int]]:
    """("to the left of", region id) for the nearest regions with words of their own."""
    x, y = finding.centre_px
    size = max(1, *(b - a for a, b in zip(finding.box_xyxy[:2], finding.box_xyxy[2:], strict=True)))
    near = []
    for other in others:
        if other.region_id == finding.region_id or not other.text or other.text == finding.text:
            continue
        dx, dy = other.centre_px[0] - x, other.centre_px[1] - y
        far = max(abs(dx), abs(dy))
        if far <= 6 * size:
            near.append((far, _relation(dx, dy), other.region_id))
    return [(relation, i) for _, relation, i in sorted(near)[:most]]


def canvas_place(finding: Finding, canvas_hw: tuple[int, int]) -> str:
    """Where on the picture a region stands, in thirds: "top left", "middle", ..."""
    x, y = finding.centre_px
    column = _COLUMNS[min(2, int(3 * x / canvas_hw[1]))]
    row = _ROWS[min(2, int(3 * y / canvas_hw[0]))]
    return column if row == "middle" else row if column == "middle" else f"{row} {column}"


def script_text(scenes: Sequence[Scene], title: str) -> str:
    """The script as Markdown, with the regions of every sentence in brackets."""
    lines = [f"# {title}", ""]
    for scene in scenes:
        lines += [f"## Scene {scene.number} ({format_ns(scene.start_ns)[:-4]})", ""]
        for sentence in scene.sentences:
            ids = " ".join(f"#{i}" for i in sentence.region_ids)
            lines.append(f"{sentence.text} [{ids}]")
        if not scene.sentences:
            lines.append("(nothing was found here that has words)")
        lines.append("")
    return "\n".join(lines)


def scene_json(scene: Scene) -> dict[str, Any]:
    """A scene as plain data."""
    return {
        "scene": scene.number,
        "start_ns": scene.start_ns,
        "end_ns": scene.end_ns,
        "box_xyxy": list(scene.box_xyxy),
        "region_ids": list(scene.region_ids),
        "sentences": [
            {
                "text": s.text,
                "start_ns": s.start_ns,
                "end_ns": s.end_ns,
                "region_ids": list(s.region_ids),
            }
            for s in scene.sentences
        ],
        "left_out": list(scene.left_out),
    }


def _stretches(walk: Walk) -> list[tuple[int, int, tuple[int, int, int, int]]]:
    """Start, end and box of the walk's scenes: as few windows of the first level as cover what it
    passes over."""
    first = [stop for stop in walk.stops if stop.level == 0]
    kept = [first[0]]
    way = (0, 0)
    for before, stop in itertools.pairwise(first):
        way_before, way = way, _way(before, stop)
        bends = way != way_before or stop.returns
        if before is not kept[-1] and (bends or not _adjoin(kept[-1], stop)):
            kept.append(before)
    if kept[-1] is not first[-1]:
        kept.append(first[-1])
    last = first[-1]
    # a scene is told from half way to it until half way to the next
    turns = [(a.time_ns + b.time_ns) // 2 for a, b in itertools.pairwise(kept)]
    edges = [0, *turns, last.time_ns + last.pause_ns]
    found = []
    for stop, start_ns, end_ns in zip(kept, edges[:-1], edges[1:], strict=True):
        x, y, width, height = stop.box_xywh
        found.append((start_ns, end_ns, (x, y, x + width, y + height)))
    return found


def _way(a: Stop, b: Stop) -> tuple[int, int]:
    """The direction from a window to the next: signs along x and y."""
    xa, ya, _, _ = a.box_xywh
    xb, yb, _, _ = b.box_xywh
    return int(xb > xa) - int(xb < xa), int(yb > ya) - int(yb < ya)


def _adjoin(a: Stop, b: Stop) -> bool:
    """Whether nothing lies between two windows."""
    xa, ya, wa, ha = a.box_xywh
    xb, yb, wb, hb = b.box_xywh
    return xb <= xa + wa and xa <= xb + wb and yb <= ya + ha and ya <= yb + hb


def _holds(box: tuple[int, int, int, int], finding: Finding) -> bool:
    x, y = finding.centre_px
    return box[0] <= x < box[2] and box[1] <= y < box[3]


def _first_box(walk: Walk, finding: Finding) -> tuple[int, int, int, int] | None:
    return next((box for _, _, box in _stretches(walk) if _holds(box, finding)), None)


def _place(box: tuple[int, int, int, int], walk: Walk) -> str:
    """A scene's place on the picture: only in the directions in which it is a part of it."""
    height, width = walk.canvas_hw
    parts = []
    if box[3] - box[1] < 0.6 * height:
        parts.append(
            ("at the top", "half way down", "at the bottom")[_third(box[1], box[3], height)]
        )
    if box[2] - box[0] < 0.6 * width:
        share = round(100 * (box[0] + box[2]) / 2 / width)
        ends = "at the left end" if box[0] <= 0 else "at the right end" if box[2] >= width else ""
        # as it is walked: a handscroll is read from the right
        backwards = walk.kind == "right_to_left"
        way = f"{100 - share if backwards else share} percent of the way from the "
        parts.append(ends or way + ("right" if backwards else "left"))
    return ", ".join(parts) or "in the picture"


def _third(low: int, high: int, whole: int) -> int:
    return min(2, int(3 * (low + high) / 2 / whole))


def _groups(mine: Sequence[Finding], walk: Walk) -> list[list[Finding]]:
    """Regions with the same words together, in the order in which the walk meets them."""
    backwards = walk.kind == "right_to_left"
    key = 1 if walk.kind in ("down", "up") else 0
    turned = backwards or walk.kind == "up"
    ordered = sorted(mine, key=lambda f: -f.centre_px[key] if turned else f.centre_px[key])
    groups: dict[str, list[Finding]] = {}
    for finding in ordered:
        groups.setdefault(finding.text, []).append(finding)
    return list(groups.values())


def _fitting(groups: Sequence[list[Finding]], room_ns: int, length_ns: LengthNs) -> dict[int, str]:
    """What is told of each group, by its place in `groups`: what covers most first, with a
    neighbour where there is time for it."""
    chosen: dict[int, str] = {}
    order = sorted(
        range(len(groups)), key=lambda i: -max(f.shape.area_px * f.sure for f in groups[i])
    )
    for i in order:
        if room_ns <= 0:
            break
        # beside what was told before: a listener knows it already
        before = [f for group in groups[:i] for f in group]
        for text in _tellings(groups[i], before):
            length = length_ns(_sentence(text))
            if length <= room_ns:
                chosen[i] = text
                room_ns -= length
                break
    return chosen


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _tellings(group: Sequence[Finding], before: Sequence[Finding]) -> list[str]:
    """Ways to tell of regions with the same words, the longest first."""
    text = group[0].text
    if len(group) > 1:
        return [f"{text}, {len(group)} times"]
    by_id = {f.region_id: f for f in before}
    beside = neighbours(group[0], before, most=1)
    return [*(f"{text}, {relation} {by_id[i].text}" for relation, i in beside), text]


def _relation(dx: float, dy: float) -> str:
    """How something stands to another one that lies (dx, dy) away from it."""
    if abs(dx) >= abs(dy):
        return "to the left of" if dx > 0 else "to the right of"
    return "above" if dy > 0 else "below"
