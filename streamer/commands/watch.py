"""`streamer watch`: cameras in, words and events out, until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from streamer.commands.caption import find_config
from streamer.commands.running import check_json, execute, exit_code, show, write_json
from streamer.config import load_pipeline
from streamer.control import TOKEN_VARIABLE, Control
from streamer.errors import ConfigError
from streamer.pipeline import Pipeline
from streamer.sinks.newest import Newest
from streamer.sources.live import LiveVideo

_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


def watch_streams(
    addresses: Sequence[str],
    out_dir: Path,
    *,
    config: str,
    overrides: list[str],
    for_s: float | None,
    json_path: Path | None,
    quiet: bool,
    ray: str | None,
    metrics: str | None,
    control: str | None = None,
    newest: bool = True,
) -> int:
    """Run a live configuration on streams.

    Args:
        newest: keep the newest picture of each stream, where the configuration says so.
        control: PORT or HOST:PORT at which streams can be added and removed meanwhile; None: at
            any free port of this machine.

    Raises:
        StreamerError: when none of them can be opened, or a setting is wrong.
    """
    check_json(json_path)
    settings = [f"source.urls={json.dumps(named(addresses))}"]
    if for_s is not None:
        settings.append(f"source.for_s={for_s}")
    pipeline = load_pipeline(
        find_config(config),
        variables={"out": str(out_dir), "input": addresses[0], "stem": "live"},
        overrides=[*settings, *overrides],
    )
    if not newest:
        kept = [o for o in pipeline.outputs if not issubclass(o.sink, Newest)]
        pipeline = replace(pipeline, outputs=tuple(kept))
    pipeline, controlled = controllable(pipeline, out_dir, control, ray)
    with controlled:
        report = execute(pipeline, quiet=quiet, ray=ray, metrics=metrics)
    show(report)
    write_json(json_path, report.to_json())
    # a camera that was away for a while is what is expected of cameras
    return 0 if for_s is not None and not report.stopped else exit_code(report)


def controllable(
    pipeline: Pipeline, out_dir: Path, address: str | None, ray: str | None
) -> tuple[Pipeline, AbstractContextManager[object]]:
    """The pipeline with a source that is at hand here, and what serves `streamer streams`.

    Raises:
        ConfigError: when the address cannot be served, or the source is elsewhere.
        OutputError: when the folder cannot be written.
    """
    if ray is not None:
        if address is not None:
            raise ConfigError("--control is not there with --ray: the cameras are read elsewhere")
        return pipeline, nullcontext()
    source = pipeline.make_source()
    if not isinstance(source, LiveVideo):
        return pipeline, nullcontext()
    single = [output.name for output in pipeline.outputs if output.sink.one_stream]
    serving = Control(
        source,
        out_dir,
        address=address or "0",
        token=os.environ.get(TOKEN_VARIABLE) or None,
        no_more=f"{', '.join(single)} of this run is for one stream" if single else "",
    )
    return replace(pipeline, make_source=lambda: source), serving


def named(addresses: Sequence[str]) -> dict[str, str]:
    """`NAME=ADDRESS` by name; those without a name are cam1, cam2, ...

    Raises:
        ConfigError: when two have the same name.
    """
    streams: dict[str, str] = {}
    for number, given in enumerate(addresses, 1):
        match = _NAMED.fullmatch(given)
        name, address = match.groups() if match else (f"cam{number}", given)
        if name in streams:
            raise ConfigError(f"two streams are called {name!r}; write NAME=ADDRESS for each")
        streams[name] = address
    return streams
