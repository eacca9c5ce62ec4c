"""Options and checks that several commands share."""

from __future__ import annotations

import importlib.util
import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from streamer.errors import ConfigError

OutDir = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]

JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
]

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|local|ADDRESS",
        help="Run on Ray: the cluster that runs, one started here, or host:port.",
    ),
]

MetricsAt = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="[HOST:]PORT",
        help="Serve /metrics (Prometheus), /health and /ready meanwhile; on this machine only "
        "unless HOST is given.",
    ),
]

ControlAt = Annotated[
    str | None,
    typer.Option(
        "--control",
        metavar="[HOST:]PORT",
        help="Where `streamer streams` finds the run; else any free port of this machine.",
    ),
]


class LogForm(str, Enum):
    """What is written to stderr."""

    TEXT, JSON = "text", "json"


def _log_as(form: LogForm) -> LogForm:
    from streamer.commands.running import log_as

    log_as(form.value)
    return form


LogFormat = Annotated[
    LogForm,
    typer.Option(
        "--log-format",
        callback=_log_as,
        help="json: stderr gets one JSON object a line (time, level, message, stream_id, "
        "record_id, step, ...).",
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STEP.KEY=VALUE", help="Change a setting; may be repeated."),
]

Var = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="A value for ${NAME} in the file."),
]

Config = Annotated[
    str,
    typer.Option(
        "-c", "--config", help="quickstart, documentary, surveillance, private, live, or a file."
    ),
]


def finite(value: float) -> float:
    """A callback of options: neither nan nor inf.

    Raises:
        BadParameter: for those.
    """
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of seconds or steps")
    return value


def needs_scroll() -> None:
    """Large pictures are an extra.

    Raises:
        ConfigError: when it is not installed.
    """
    for name in ("pyvips", "iiif_prezi3"):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"large pictures need {name}; pip install 'osprey-streamer[scroll]'")
