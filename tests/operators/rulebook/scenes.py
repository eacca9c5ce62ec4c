"""Small scenes for rules: tracks as functions of time, and what rules say of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from operators.rules import Rules, WordRules
from streamer.geometry import Viewport
from streamer.mask import Mask
from streamer.records import Caption, Event, Frame, Record, Region, TrackedFrame

HW = (200, 320)
FPS = 25
Way = Callable[[float], "tuple[float, float] | NDArray[np.bool_] | None"]


_ROWS, _COLUMNS = np.ogrid[: HW[0], : HW[1]]


def disc(x: float, y: float, radius: float = 15.0) -> NDArray[np.bool_]:
    """A filled circle in a picture of HW."""
    return (_COLUMNS + 0.5 - x) ** 2 + (_ROWS + 0.5 - y) ** 2 <= radius**2


def frame_at(index: int) -> Frame:
    return Frame(
        stream_id="test",
        index=index,
        time_ns=index * 1_000_000_000 // FPS,
        image=np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (*HW, 3)),
        viewport=Viewport.whole(*HW),
    )


def scene(seconds: float, ways: Mapping[int, Way]) -> list[Record]:
    """Frames with a disc of every track where its way says (x, y), a mask of its own, or none."""
    items: list[Record] = []
    for index in range(round(seconds * FPS)):
        regions = []
        for track_id, way in ways.items():
            at = way(index / FPS)
            dense = disc(*at) if isinstance(at, tuple) else at
            if dense is not None and dense.any():
                mask = Mask.encode(dense)
                regions.append(
                    Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=track_id)
                )
        items.append(TrackedFrame(frame=frame_at(index), regions=tuple(regions)))
    return items


def said(track_id: int, at_s: float, text: str, mean_logprob: float = -0.1) -> Caption:
    """Words that were asked for at a time."""
    at_ns = round(at_s * 1e9)
    return Caption(
        stream_id="test",
        track_id=track_id,
        start_ns=at_ns,
        end_ns=None,
        text=text,
        asked_ns=at_ns,
        frame_index=0,
        frame_time_ns=at_ns,
        mask=Mask.encode(disc(50, 50)),
        mean_logprob=mean_logprob,
        model="test",
        weights_hash="0",
    )


def mark(kind: str, at_s: float, track_id: int | None = None) -> Event:
    return Event(stream_id="test", time_ns=round(at_s * 1e9), kind=kind, track_id=track_id)


def write_rules(folder: Path, *rules: dict[str, Any], **more: Any) -> str:
    """A rule file with a zone on the right and an upright line in the middle, in px."""
    data = {
        "units": "px",
        "zones": {"east": [[200, 20], [300, 20], [300, 180], [200, 180]]},
        "lines": {"mid": [[160, 0], [160, 200]], "short": [[160, 80], [160, 120]]},
        "rules": [{"name": f"r{i}", **rule} for i, rule in enumerate(rules)],
        **more,
    }
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(path)


def by_order(items: Sequence[Record]) -> list[Record]:
    """As steps send them: at one time events, then the frame, then captions."""
    rank = {Event: 0, TrackedFrame: 1, Caption: 2}
    return sorted(items, key=lambda item: (item.order_ns, rank[type(item)]))


def found(path: str, items: Sequence[Record], *, words: bool = False) -> list[Event]:
    """What rules find."""
    rules: Any = WordRules(path) if words else Rules(path)
    return [*rules.process(by_order(items)), *rules.flush("test")]


def told(path: str, items: Sequence[Record], *, words: bool = False) -> list[tuple[Any, ...]]:
    """Kind, track and time in seconds of everything found."""
    events = found(path, items, words=words)
    return [(e.kind, e.track_id, round(e.time_ns / 1e9, 2)) for e in events]
