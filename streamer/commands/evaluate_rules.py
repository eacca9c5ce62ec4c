"""`streamer evaluate rules`: events of rules against those of films whose truth is known."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from pycocotools import mask as coco
from rich.table import Table

from model.synthetic.film import Film, FilmFrame
from model.synthetic.happenings import Drawn, Happening, Truth, draw_at_random
from operators.rules import Rules
from operators.track import Track
from streamer.commands.running import OK, err, out, write_json
from streamer.geometry import Viewport
from streamer.mask import Mask
from streamer.records import Event, Frame, Region, TrackedFrame

TOLERANCE_FRAMES = 2


@dataclass(kw_only=True)
class Outcome:
    """Sums over films: what happened, what was told, and what of both agree."""

    happened: int = 0
    told: int = 0
    right: int = 0
    twice: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / self.told if self.told else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.happened if self.happened else 1.0

    def add(self, happened: Sequence[Happening], told: Sequence[Happening], within_ns: int) -> None:
        """Match a film's events, each happening with the nearest that was told of it."""
        free = list(told)
        for wanted in happened:
            near = [
                h for h in free
                if (h.rule, h.object_id) == (wanted.rule, wanted.object_id)
                and abs(h.time_ns - wanted.time_ns) <= within_ns
            ]  # fmt: skip
            if near:
                free.remove(min(near, key=lambda h: abs(h.time_ns - wanted.time_ns)))
                self.right += 1
            else:
                self.wrong.append(f"missed {_words(wanted)}")
        self.happened += len(happened)
        self.told += len(told)
        self.wrong += [f"told {_words(h)}" for h in free]
        true = Counter((h.rule, h.object_id) for h in happened)
        said = Counter((h.rule, h.object_id) for h in told)
        self.twice += sum(max(0, n - max(1, true[key])) for key, n in said.items())

    def to_json(self) -> dict[str, Any]:
        return {
            "happened": self.happened, "told": self.told, "right": self.right,
            "told_again": self.twice, "precision": round(self.precision, 4),
            "recall": round(self.recall, 4), "wrong": self.wrong,
        }  # fmt: skip


def _words(h: Happening) -> str:
    return f"{h.rule} of object {h.object_id} at {h.time_ns / 1e9:.2f} s"


def true_regions(frame: FilmFrame) -> tuple[Region, ...]:
    """The visible pixels of every object as a region; its track id is the object's."""
    masks = {key: Mask.encode(mask) for key, mask in frame.masks.items()}
    return tuple(
        Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=key)
        for key, mask in masks.items()
    )


class Watcher(Protocol):
    """Something that finds events in tracked frames."""

    def see(self, item: TrackedFrame | Event) -> None: ...

    def told(self) -> list[Happening]: ...


class MaskRules:
    """The product's rules."""

    def __init__(self, drawn: Drawn) -> None:
        with tempfile.TemporaryDirectory(prefix="streamer-rules-") as folder:
            path = Path(folder) / "rules.yaml"
            path.write_text(yaml.safe_dump(drawn.rule_file()), encoding="utf-8")
            self._rules = Rules(str(path))
        self._events: list[Event] = []
        self._stream_id = ""

    def see(self, item: TrackedFrame | Event) -> None:
        self._stream_id = item.stream_id
        self._events += self._rules.process([item])

    def told(self) -> list[Happening]:
        """All that was found, by track id."""
        events = [*self._events, *self._rules.flush(self._stream_id)]
        return [
            Happening(rule=e.data["rule"], object_id=e.track_id, time_ns=e.time_ns)
            for e in events
            if e.track_id is not None
        ]


class Owners:
    """Which object each track follows: the one whose visible pixels it shares most often."""

    def __init__(self) -> None:
        self._votes: dict[int, Counter[int]] = {}

    def see(self, tracked: TrackedFrame, truth: Sequence[Region]) -> None:
        """Compare a frame's tracks with its objects."""
        if not tracked.regions or not truth:
            return
        found, wanted = (
            [{"size": list(r.mask.hw), "counts": r.mask.counts.encode()} for r in regions]
            for regions in (tracked.regions, truth)
        )
        iou = np.asarray(coco.iou(found, wanted, [0] * len(wanted)))
        for i, region in enumerate(tracked.regions):
            best = int(iou[i].argmax())
            if iou[i, best] >= 0.5:
                votes = self._votes.setdefault(region.track_id, Counter())
                votes[truth[best].track_id] += 1

    def rename(self, told: Sequence[Happening]) -> list[Happening]:
        """Events of tracks as events of objects; a track that follows nothing has object 0."""
        names = {track: votes.most_common(1)[0][0] for track, votes in self._votes.items()}
        return [replace(h, object_id=names.get(h.object_id, 0)) for h in told]


def watch_film(
    film: Film, drawn: Drawn, makers: dict[str, Callable[[Drawn], Watcher]], *, tracker: bool
) -> tuple[list[Happening], dict[str, list[Happening]]]:
    """Show a film to all watchers, with its true masks and, on demand, with those of the tracker.

    Returns:
        What happens, and by the name of the watcher what it told: "mask rules, true masks", ...
    """
    watchers = {f"{name}, true masks": make(drawn) for name, make in makers.items()}
    followers = {f"{name}, tracker": make(drawn) for name, make in makers.items() if tracker}
    truth, owners, track = Truth(drawn, (film.height_px, film.width_px)), Owners(), Track()
    track.setup()
    cut_ns = film.cut_index * 1_000_000_000 // film.fps
    for shown in film.frames():
        truth.add(shown.time_ns, film.whole(shown.index))
        frame = Frame(
            stream_id="film",
            index=shown.index,
            time_ns=shown.time_ns,
            image=shown.image,
            viewport=Viewport.whole(film.height_px, film.width_px),
        )
        regions = true_regions(shown)
        items: list[TrackedFrame | Event] = [TrackedFrame(frame=frame, regions=regions)]
        if shown.time_ns == cut_ns:
            items.insert(0, Event(stream_id="film", time_ns=cut_ns, kind="cut"))
        for watcher in watchers.values():
            for item in items:
                watcher.see(item)
        for made in track.process([frame]) if tracker else []:
            if isinstance(made, TrackedFrame):
                owners.see(made, regions)
            for watcher in followers.values():
                watcher.see(made)
    told = {name: watcher.told() for name, watcher in watchers.items()}
    told |= {name: owners.rename(watcher.told()) for name, watcher in followers.items()}
    return truth.happenings(cut_ns), told


def evaluate_rules(
    *, films: int, seed: int, seconds: float, height_px: int, tracker: bool, json_path: Path | None
) -> int:
    """Render films, draw lines and zones over each, and compare all that is told with the truth."""
    makers: dict[str, Callable[[Drawn], Watcher]] = {"mask rules": MaskRules}
    try:
        from streamer.commands.box_rules import BoxBottoms

        makers["box-bottom rules"] = BoxBottoms
    except ModuleNotFoundError:
        err.print("no comparison with box-bottom rules: pip install 'osprey-streamer[bench]'",
                  markup=False)  # fmt: skip
    near: dict[str, Outcome] = {}
    loose: dict[str, Outcome] = {}
    for number in range(seed, seed + films):
        film = Film(number, height_px=height_px, width_px=height_px * 16 // 18 * 2, seconds=seconds)
        drawn = draw_at_random(number, (film.height_px, film.width_px))
        happened, told = watch_film(film, drawn, makers, tracker=tracker)
        for name, events in told.items():
            frame_ns = 1_000_000_000 // film.fps
            near.setdefault(name, Outcome()).add(happened, events, TOLERANCE_FRAMES * frame_ns)
            loose.setdefault(name, Outcome()).add(happened, events, film.fps * frame_ns)
        err.print(f"film {number}: {len(happened)} events", markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("", "happened", "told", "precision", "recall", "told again", "within 1 s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, outcome in near.items():
        table.add_row(
            name,
            str(outcome.happened),
            str(outcome.told),
            f"{outcome.precision:.3f}",
            f"{outcome.recall:.3f}",
            str(outcome.twice),
            f"{loose[name].precision:.3f} {loose[name].recall:.3f}",
        )
    out.print(table)
    out.print(f"precision and recall with times within {TOLERANCE_FRAMES} frames")
    write_json(
        json_path,
        {
            "films": films, "seed": seed, "seconds": seconds, "height_px": height_px,
            "within_frames": {name: o.to_json() for name, o in near.items()},
            "within_1_s": {name: o.to_json() for name, o in loose.items()},
        },
    )  # fmt: skip
    return OK
