"""Questions about a picture: it is looked at once, then points and questions follow.

Places in requests and answers are in pixels of the stream's picture, or of a scroll's canvas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from streamer.errors import ConfigError
from streamer.viewer.asking import MOST_REGIONS, Asker, Point, Turn
from streamer.viewer.canvas import cut
from streamer.viewer.desk import MOST_MASKS, Desk
from streamer.viewer.run import Run
from streamer.viewer.subjects import CanvasPart, FilmMoment, Subject

_Px = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
_Box = Annotated[list[_Px], Field(min_length=4, max_length=4)]
_Id = Annotated[str, Field(max_length=40)]
_Region = Annotated[int, Field(ge=0, lt=MOST_MASKS)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LookAt(_Body):
    """A moment of a stream. Without `ready` its picture is only kept, and nothing is loaded."""

    stream: Annotated[str, Field(max_length=400)]
    t: Annotated[float, Field(ge=-1e13, le=1e13, allow_inf_nan=False)]
    ready: bool = True


class LookOn(_Body):
    """The part of a scroll that is in view (x0, y0, x1, y1)."""

    box: _Box


class Place(_Body):
    x: _Px
    y: _Px
    inside: bool = True


class Where(_Body):
    """What is meant: points, a box (x0, y0, x1, y1), or everything."""

    look: _Id
    points: Annotated[list[Place], Field(max_length=16)] = []
    box: _Box | None = None
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


def add_ask_routes(app: FastAPI, run: Run, make_asker: Callable[[], Asker] | None) -> None:
    """POST /api/ask/look, view, region, words, question, save."""
    desk = Desk(make_asker)

    @app.post("/api/ask/look")
    def look(body: LookAt) -> dict[str, Any]:
        stream = run.stream(body.stream)
        subject = FilmMoment(run, stream, round(body.t * 1e6) + stream["origin_ns"])
        if body.ready:
            with desk.model():
                pass
        at = (subject.moment.time_ns - stream["origin_ns"]) / 1e6
        return {**_opened(desk, subject), "t": at}

    @app.post("/api/ask/view")
    def view(body: LookOn) -> dict[str, Any]:
        subject = CanvasPart(run, cut(run, body.box))
        with desk.model():
            pass
        return {**_opened(desk, subject), "box": list(subject.window)}

    @app.post("/api/ask/region")
    def region(body: Where) -> dict[str, Any]:
        if not (body.points or body.box or body.everything):
            raise ConfigError("click a point, drag a box, or take everything")
        with desk.model() as asker:
            asked = desk.get(body.look)
            seen = asked.seen(asker)
            if body.everything:
                found = asked.everything(seen)
            else:
                places = [Point(x_px=p.x, y_px=p.y, inside=p.inside) for p in body.points]
                points = asked.points(places)
                box = asked.box(body.box) if body.box else asked.box_there(points)
                one = seen.region(points, box)
                found = [] if one is None else [one]
            return {"regions": [asked.add(item) for item in found]}

    @app.post("/api/ask/words")
    def words(body: Describe) -> dict[str, Any]:
        with desk.model() as asker:
            asked = desk.get(body.look)
            masks = np.stack([asked.region(n).mask for n in body.regions])
            turns = asked.seen(asker).describe(masks, body.form)
            for n, turn in zip(body.regions, turns, strict=True):
                asked.remember(n, turn)
        return {"answers": [_turn_json(n, t) for n, t in zip(body.regions, turns, strict=True)]}

    @app.post("/api/ask/question")
    def question(body: Question) -> dict[str, Any]:
        with desk.model() as asker:
            asked = desk.get(body.look)
            mask = asked.region(body.region).mask
            turn = asked.seen(asker).answer(mask, asked.turns.get(body.region, []), body.text)
            asked.remember(body.region, turn)
        return _turn_json(body.region, turn)

    @app.post("/api/ask/save")
    def keep(body: Save) -> dict[str, Any]:
        with desk.model() as asker:
            asked = desk.get(body.look)
            found, turns = asked.region(body.region), asked.turns.get(body.region, [])
            if not turns:
                raise ConfigError("ask first, then save the answer")
            saved = asked.subject.save(found, turns, asker, asked.saved.get(body.region))
            asked.saved[body.region] = saved["track"]
        return saved


def _opened(desk: Desk, subject: Subject) -> dict[str, Any]:
    height, width = subject.image.shape[:2]
    return {"look": desk.open(subject), "width": width, "height": height}


def _turn_json(region: int, turn: Turn) -> dict[str, Any]:
    return {
        "region": region, "asked": turn.asked, "answer": turn.answer, "logprob": turn.mean_logprob,
    }  # fmt: skip
