"""The web application: records; `file_routes` adds pages and pictures, `ask_routes`
the questions.

Times in requests and answers are milliseconds since a stream's origin (`Run.streams`), as numbers:
a browser cannot hold Unix time in nanoseconds exactly.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse

from streamer.errors import InputError, StreamerError
from streamer.viewer.ask_routes import add_ask_routes
from streamer.viewer.asking import Asker
from streamer.viewer.file_routes import Ms, Name, add_file_routes
from streamer.viewer.guard import Guard
from streamer.viewer.live import pulses
from streamer.viewer.outlines import rings_of
from streamer.viewer.records import MOST_ROWS, Records
from streamer.viewer.run import Run
from streamer.viewer.saving_canvas import asked_features

_LONGEST_SPAN_MS = 60_000
_MOST_LANES = 400
_NO_PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'

Words = Annotated[str, Query(max_length=200)]
Offset = Annotated[int, Query(ge=0, le=MOST_ROWS)]
Limit = Annotated[int, Query(ge=1, le=500)]
Kinds = Annotated[list[str], Query(max_length=50)]


def make_app(
    run: Run,
    *,
    token: str,
    hosts: Iterable[str],
    make_asker: Callable[[], Asker] | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """The application.

    Args:
        token: what every request has to carry; see `Guard`.
        hosts: names with ports under which it is reached.
        make_asker: loads what answers questions, when the first one is put; None: nothing does.
        ending: whether the server ends, so that who watches has to be let go.
    """
    app = FastAPI(title="streamer", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=token, hosts=hosts)

    @app.exception_handler(StreamerError)
    def wrong(_: Request, error: StreamerError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 404 if isinstance(error, InputError) else 400)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        parts = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()[:5]]
        return JSONResponse({"error": "; ".join(parts) or "malformed"}, 422)

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    _add_records(app, run, ending)
    add_file_routes(app, run)
    add_ask_routes(app, run, make_asker)
    return app


def _add_records(app: FastAPI, run: Run, ending: Callable[[], bool]) -> None:
    @app.get("/api/run")
    def about() -> dict[str, Any]:
        streams = [
            {
                "id": row["stream_id"],
                "width": row["width_px"],
                "height": row["height_px"],
                "fps": row["fps"],
                "origin_ms": row["origin_ns"] / 1e6,
                "unix": row["unix"],
                "last_ms": _last_ms(row),
                "known_ms": max(0.0, (row["last_ns"] - row["origin_ns"]) / 1e6),
                "films": [film.kind for film in row["films"]],
                "newest_ms": None
                if row["newest_ns"] is None
                else (row["newest_ns"] - row["origin_ns"]) / 1e6,
            }
            for row in run.streams()
        ]
        title = run.folder.resolve().name
        return {"title": title, "streams": streams, "scroll": run.scroll is not None}

    @app.get("/api/captions")
    def captions(
        q: Words = "",
        stream: Name = "",
        category: Name = "",
        offset: Offset = 0,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        """`q` are words, or like:STREAM#ID for tracks that look like that one."""
        records, span = _records(run), {"offset": offset, "limit": limit}
        if q.startswith("like:"):
            page = records.like(q.removeprefix("like:"), stream=stream, **span)
        else:
            page = records.captions(q, stream=stream, category=category, **span)
        origins = _origins(run)
        items = [
            {
                "row": r["row"],
                "stream": r["stream_id"],
                "track": r["track_id"],
                "t": (r["start_ns"] - origins.get(r["stream_id"], 0)) / 1e6,
                "end": None
                if r["end_ns"] is None
                else (r["end_ns"] - origins.get(r["stream_id"], 0)) / 1e6,
                "seen": (r["frame_time_ns"] - origins.get(r["stream_id"], 0)) / 1e6,
                "text": r["text"],
                "detail": r["detail"],
                "category": r["category"],
                "why": r["why"],
                "logprob": r["mean_logprob"],
            }
            for r in page.rows
        ]
        return {"total": page.total, "most": page.most, "items": items}

    @app.get("/api/events")
    def events(
        stream: Name = "",
        kind: Kinds = [],  # noqa: B006
        offset: Offset = 0,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        page = _records(run).events(stream=stream, kinds=kind, offset=offset, limit=limit)
        origins = _origins(run)
        items = [
            {
                "row": r["row"],
                "stream": r["stream_id"],
                "track": r["track_id"],
                "t": (r["time_ns"] - origins.get(r["stream_id"], 0)) / 1e6,
                "kind": r["kind"],
                "note": _note(r["data"]),
            }
            for r in page.rows
        ]
        return {"total": page.total, "most": page.most, "items": items}

    @app.get("/api/events/place")
    def place(stream: Name, t: Ms, kind: Kinds = []) -> dict[str, int]:  # noqa: B006
        time_ns = _ns(run.stream(stream), t)
        n = _records(run).place_of_event(time_ns, stream=stream, kinds=kind)
        return {"place": n}

    @app.get("/api/facets")
    def facets() -> dict[str, list[str]]:
        return _records(run).facets()

    @app.get("/api/lanes")
    def lanes(stream: Name, start: Ms, end: Ms) -> dict[str, Any]:
        row = run.stream(stream)
        found = _records(run).lanes(stream, _ns(row, start), _ns(row, end), _MOST_LANES)
        ms = _to_ms(row)
        return {
            "total": found["total"],
            "loose": [[ms(e["time_ns"]), e["kind"]] for e in found["loose"]],
            "tracks": [
                {
                    "id": t["track_id"],
                    "from": ms(t["first_ns"]),
                    "to": ms(t["last_ns"]),
                    "part_of": t["part_of"],
                    "captions": [
                        [ms(c["start_ns"]), ms(c["end_ns"]), c["text"]] for c in t["captions"]
                    ],
                    "events": [[ms(e["time_ns"]), e["kind"]] for e in t["events"]],
                }
                for t in found["tracks"]
            ],
        }

    @app.get("/api/masks")
    def masks(stream: Name, start: Ms, end: Ms) -> dict[str, Any]:
        """Outlines of all tracks from one moment to before another, at most a minute."""
        row = run.stream(stream)
        ms = _to_ms(row)
        end = min(end, start + _LONGEST_SPAN_MS)
        frames: list[list[Any]] = []
        for time_ns, track_id, mask in _records(run).masks(stream, _ns(row, start), _ns(row, end)):
            at = ms(time_ns)
            if not frames or frames[-1][0] != at:
                frames.append([at, []])
            frames[-1][1].append([track_id, rings_of(mask)])
        return {"frames": frames}

    @app.get("/api/best")
    def best(stream: Name, track: Annotated[int, Query(ge=-(2**62), le=2**62)]) -> Response:
        jpeg = _records(run).best_jpeg(stream, track)
        headers = {"cache-control": "private, max-age=60"}
        if jpeg is None:  # that there is none is no error
            return Response(_NO_PICTURE, media_type="image/svg+xml", headers=headers)
        return Response(bytes(jpeg), media_type="image/jpeg", headers=headers)

    @app.get("/api/live")
    async def live(request: Request) -> StreamingResponse:
        records = _records(run)

        async def gone() -> bool:
            return ending() or await request.is_disconnected()

        async def lines() -> AsyncIterator[str]:
            async for _ in pulses(records, gone):
                data = await run_in_threadpool(about)
                yield f"event: pulse\ndata: {json.dumps(data)}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    @app.get("/api/scroll")
    def scroll() -> dict[str, Any]:
        if run.scroll is None:
            raise InputError("this is no scroll")
        return {**run.scroll, "regions": [*run.scroll["regions"], *asked_features(run)]}


def _records(run: Run) -> Records:
    if run.records is None:
        raise InputError("this folder has no catalog")
    return run.records


def _origins(run: Run) -> dict[str, int]:
    return {row["stream_id"]: row["origin_ns"] for row in run.streams()}


def _ns(stream: dict[str, Any], ms: float) -> int:
    return round(ms * 1e6) + int(stream["origin_ns"])


def _to_ms(stream: dict[str, Any]) -> Callable[[int | None], float | None]:
    origin_ns = stream["origin_ns"]
    return lambda ns: None if ns is None else (ns - origin_ns) / 1e6


def _last_ms(stream: dict[str, Any]) -> float:
    """The end of a stream: of its film, or of what is known of it, whichever is later."""
    ends = [film.duration_ns or 0 for film in stream["films"]]
    if stream["newest_ns"] is not None:
        ends.append(stream["newest_ns"] - stream["origin_ns"])
    return float(max([stream["last_ns"] - stream["origin_ns"], *ends])) / 1e6


def _note(data: dict[str, Any]) -> str:
    """What is worth reading of an event's data: its rule, reason, numbers that are not times."""
    parts = [str(data[k]) for k in ("rule", "reason", "text") if data.get(k)]
    skipped = ("rule", "reason", "text")
    parts += [
        f"{k} {v}"
        for k, v in data.items()
        if k not in skipped and not k.endswith("_ns") and isinstance(v, str | int | float)
    ]
    return ", ".join(parts)[:300]
