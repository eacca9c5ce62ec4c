"""Questions about a moment: a picture is looked at once, then points and questions follow."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from streamer.errors import ConfigError, InputError
from streamer.viewer.asking import MOST_REGIONS, Asker, Found, Look, Point, Turn
from streamer.viewer.outlines import rings_of_pixels
from streamer.viewer.run import Run
from streamer.viewer.saving import save

_MOST_LOOKS = 4
_MOST_TURNS = 20
_SAME = 0.6  # IoU from which two masks are of one thing

_Px = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False)]
_Id = Annotated[str, Field(max_length=40)]
_Region = Annotated[int, Field(ge=0, le=4095)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LookAt(_Body):
    """A moment of a stream."""

    stream: Annotated[str, Field(max_length=400)]
    t: Annotated[float, Field(ge=-1e13, le=1e13, allow_inf_nan=False)]


class Place(_Body):
    x: _Px
    y: _Px
    inside: bool = True


class Where(_Body):
    """What is meant: points, a box (x0, y0, x1, y1), or everything."""

    look: _Id
    points: Annotated[list[Place], Field(max_length=16)] = []
    box: Annotated[list[_Px], Field(min_length=4, max_length=4)] | None = None
    everything: bool = False


class Describe(_Body):
    look: _Id
    regions: Annotated[list[_Region], Field(min_length=1, max_length=MOST_REGIONS)]
    form: Literal["short", "detailed"]


class Question(_Body):
    look: _Id
    region: _Region
    text: Annotated[str, Field(min_length=1, max_length=500)]


class Save(_Body):
    look: _Id
    region: _Region


@dataclass(eq=False)
class _Asked:
    """A picture somebody is asking about."""

    stream: dict[str, Any]
    time_ns: int
    image: NDArray[np.uint8]
    look: Look
    known: list[NDArray[np.bool_]]
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    turns: dict[int, list[Turn]] = field(default_factory=dict)
    saved: dict[int, int] = field(default_factory=dict)


class _Desk:
    """The pictures asked about last, and the model, which answers one question at a time."""

    def __init__(self, make_asker: Callable[[], Asker] | None) -> None:
        self._make_asker = make_asker
        self._asker: Asker | None = None
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def model(self) -> Iterator[Asker]:
        """The model to oneself; loaded when first wanted."""
        if self._make_asker is None:
            raise ConfigError("asking is switched off; start `streamer view` without --no-ask")
        with self._lock:
            if self._asker is None:
                self._asker = self._make_asker()
            yield self._asker

    def open(self, asked: _Asked) -> str:
        key = secrets.token_hex(8)
        self._asked[key] = asked
        while len(self._asked) > _MOST_LOOKS:
            self._asked.popitem(last=False)
        return key

    def get(self, key: str) -> _Asked:
        if key not in self._asked:
            raise InputError("this picture was put away; ask about it again")
        self._asked.move_to_end(key)
        return self._asked[key]


def add_ask_routes(app: FastAPI, run: Run, make_asker: Callable[[], Asker] | None) -> None:
    """POST /api/ask/look, region, words, question, save."""
    desk = _Desk(make_asker)

    @app.post("/api/ask/look")
    def look(body: LookAt) -> dict[str, Any]:
        stream = run.stream(body.stream)
        if not stream["films"]:
            raise InputError("no film of this stream is at hand to ask about")
        wanted_ns = round(body.t * 1e6) + stream["origin_ns"]
        time_ns, image = stream["films"][0].picture(wanted_ns, stream["height_px"] or None)
        known = _known(run, stream, time_ns, image.shape[:2])
        with desk.model() as asker:
            key = desk.open(_Asked(stream, time_ns, image, asker.look(image), known))
        height, width = image.shape[:2]
        at = (time_ns - stream["origin_ns"]) / 1e6
        return {"look": key, "t": at, "width": width, "height": height}

    @app.post("/api/ask/region")
    def region(body: Where) -> dict[str, Any]:
        if not (body.points or body.box or body.everything):
            raise ConfigError("click a point, drag a box, or take everything")
        with desk.model():
            asked = desk.get(body.look)
            if body.everything:
                found = _everything(asked)
            else:
                box = _box(body.box, asked) or _box_there(body, asked)
                points = [Point(x_px=p.x, y_px=p.y, inside=p.inside) for p in _inside(body, asked)]
                one = asked.look.region(points, box)
                found = [] if one is None else [one]
            return {"regions": [_added(asked, item) for item in found[:MOST_REGIONS]]}

    @app.post("/api/ask/words")
    def words(body: Describe) -> dict[str, Any]:
        with desk.model():
            asked = desk.get(body.look)
            masks = np.stack([_mask(asked, n) for n in body.regions])
            turns = asked.look.describe(masks, body.form)
            for n, turn in zip(body.regions, turns, strict=True):
                _remember(asked, n, turn)
        return {"answers": [_turn_json(n, t) for n, t in zip(body.regions, turns, strict=True)]}

    @app.post("/api/ask/question")
    def question(body: Question) -> dict[str, Any]:
        with desk.model():
            asked = desk.get(body.look)
            mask = _mask(asked, body.region)
            turn = asked.look.answer(mask, asked.turns.get(body.region, []), body.text)
            _remember(asked, body.region, turn)
        return _turn_json(body.region, turn)

    @app.post("/api/ask/save")
    def keep(body: Save) -> dict[str, Any]:
        if run.records is None:
            raise InputError("there is no catalog to save in")
        with desk.model() as asker:
            asked = desk.get(body.look)
            mask, turns = _mask(asked, body.region), asked.turns.get(body.region, [])
            if not turns:
                raise ConfigError("ask first, then save the answer")
            caption = save(
                run.folder, run.records, asked.stream, asked.time_ns, mask, turns,
                asker, asked.saved.get(body.region),
            )  # fmt: skip
            asked.saved[body.region] = caption.track_id
        return {"id": caption.id, "track": caption.track_id, "text": caption.text}


def _inside(body: Where, asked: _Asked) -> list[Place]:
    height, width = asked.image.shape[:2]
    for p in body.points:
        if not (0 <= p.x < width and 0 <= p.y < height):
            raise ConfigError(f"the point {p.x:g}, {p.y:g} lies outside of {width} x {height} px")
    return body.points


def _box(box: list[float] | None, asked: _Asked) -> tuple[int, int, int, int] | None:
    """Clipped to the picture."""
    if box is None:
        return None
    height, width = asked.image.shape[:2]
    x0, x1 = sorted(round(min(max(v, 0), width)) for v in box[::2])
    y0, y1 = sorted(round(min(max(v, 0), height)) for v in box[1::2])
    if x1 - x0 < 2 or y1 - y0 < 2:
        raise ConfigError("the box has no area in the picture; drag a larger one")
    return x0, y0, x1, y1


def _known(
    run: Run, stream: dict[str, Any], time_ns: int, hw: tuple[int, ...]
) -> list[NDArray[np.bool_]]:
    """Masks of the tracks in a picture: they say roughly where things are."""
    if run.records is None:
        return []
    half_ns = round(0.5e9 / (stream["fps"] or 25.0))
    near = run.records.frame_near(stream["stream_id"], time_ns, half_ns)
    if near is None:
        return []
    tracks = run.records.masks(stream["stream_id"], near[0], near[0] + 1)
    return [mask.decode() for _, _, mask in tracks if mask.hw == tuple(hw) and mask.area_px]


def _box_there(body: Where, asked: _Asked) -> tuple[int, int, int, int] | None:
    """The box of the smallest track under a single point: a box tells far more than a point."""
    if len(body.points) != 1 or not body.points[0].inside:
        return None
    x, y = int(body.points[0].x), int(body.points[0].y)
    height, width = asked.image.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        return None
    under = [mask for mask in asked.known if mask[y, x]]
    return _tight_box(min(under, key=lambda mask: int(mask.sum()))) if under else None


def _everything(asked: _Asked) -> list[Found]:
    """What is tracked, with its outline drawn anew, and what is found besides."""
    found: list[Found] = []
    tracked = (asked.look.region([], _tight_box(mask)) for mask in asked.known)
    for item in (*tracked, *asked.look.everything()):
        if item is not None and all(_iou(item.mask, other.mask) < _SAME for other in found):
            found.append(item)
    return found


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _added(asked: _Asked, found: Found) -> dict[str, Any]:
    asked.masks.append(found.mask)
    x0, y0, x1, y1 = _tight_box(found.mask)
    crop = np.ascontiguousarray(found.mask[y0:y1, x0:x1].view(np.uint8))
    return {
        "region": len(asked.masks) - 1,
        "rings": rings_of_pixels(crop, x0, y0),
        "box": [x0, y0, x1, y1],
        "quality": round(found.quality, 3),
    }


def _mask(asked: _Asked, region: int) -> NDArray[np.bool_]:
    if region >= len(asked.masks):
        raise InputError("there is no such region in this picture")
    return asked.masks[region]


def _remember(asked: _Asked, region: int, turn: Turn) -> None:
    turns = asked.turns.setdefault(region, [])
    turns.append(turn)
    del turns[:-_MOST_TURNS]


def _turn_json(region: int, turn: Turn) -> dict[str, Any]:
    return {
        "region": region, "asked": turn.asked, "answer": turn.answer, "logprob": turn.mean_logprob,
    }  # fmt: skip
