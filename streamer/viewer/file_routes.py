"""Pages, films, tiles and the newest pictures of cameras: what is served as it lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from streamer.errors import InputError
from streamer.viewer.run import Run

STATIC = Path(__file__).parent / "static"
_OPENSEADRAGON = Path(__file__).parents[1] / "scroll" / "static" / "openseadragon.min.js"

Name = Annotated[str, Query(max_length=400)]
Ms = Annotated[float, Query(ge=-1e13, le=1e13, allow_inf_nan=False)]


def add_file_routes(app: FastAPI, run: Run) -> None:
    """GET /, /film, /newest, /tiles and /static."""

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/film")
    def film(stream: Name, kind: Annotated[str, Query(max_length=20)]) -> FileResponse:
        for found in run.stream(stream)["films"]:
            if found.kind == kind:
                return FileResponse(found.path, media_type=found.mime)
        raise InputError("there is no such film")

    @app.get("/newest")
    def newest(stream: Name, after: Ms = -1e13) -> Response:
        """The newest picture of a camera; nothing (204) when it is not newer than `after`."""
        row = run.stream(stream)
        still = None if row["films"] else run.newest.show(stream)
        if still is None:
            return Response(status_code=204)
        ms = (still.taken.time_ns - row["origin_ns"]) / 1e6
        if ms <= after + 0.5:
            return Response(status_code=204)
        return Response(still.jpeg, media_type="image/jpeg", headers={"x-time-ms": f"{ms:.6f}"})

    @app.get("/tiles/{level}/{name}")
    def tile(level: str, name: str) -> FileResponse:
        path = run.tile(f"{level}/{name}")
        if path is None:
            raise InputError("there is no such tile")
        headers = {"cache-control": "private, max-age=3600"}
        return FileResponse(path, media_type="image/jpeg", headers=headers)

    @app.get("/static/openseadragon.min.js")
    def openseadragon() -> FileResponse:
        return FileResponse(_OPENSEADRAGON)

    app.mount("/static", StaticFiles(directory=STATIC))
