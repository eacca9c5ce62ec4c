"""`streamer streams`: the cameras of a `streamer watch` that runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import typer

from streamer.commands.options import JsonFile, OutDir
from streamer.commands.running import check_json, notice, out, write_json
from streamer.control import FILE_NAME, TOKEN_VARIABLE
from streamer.errors import ConfigError
from streamer.passwords import named_values

_PATIENCE_S = 60.0  # a camera may take as long to be known

streams_app = typer.Typer(
    no_args_is_help=True,
    help="Add, remove and list the cameras of a `streamer watch` that runs.\n\n"
    f"The run tells where it listens, and its token, in OUT/{FILE_NAME}, which only you can read; "
    f"a token of your own goes into ${TOKEN_VARIABLE} of both.",
)
Name = Annotated[str, typer.Argument(help="Its name.", show_default=False)]


@streams_app.command("add")
def add(
    stream: Annotated[
        str, typer.Argument(metavar="NAME=ADDRESS", help="A camera.", show_default=False)
    ],
    out_dir: OutDir = Path("out"),
) -> None:
    """Let one more camera in; the others go on undisturbed.

    Example: `streamer streams add 'gate=rtsp://me:$PASSWORD@10.0.0.7/1' -o out` ($PASSWORD is
    taken from the environment of this command, else of the run, and never shown).
    """
    name, equals, address = stream.partition("=")
    if not equals or not name or not address:
        raise ConfigError("which stream? write NAME=ADDRESS")
    wanted = {"name": name, "address": address, "values": named_values(address)}
    problem = _ask(out_dir, "POST", "/streams", wanted)["problem"]
    if problem:
        notice("away", "yellow", f"{problem}; it is tried again, for ever")
    else:
        out.print(f"{name} is watched")


@streams_app.command("remove")
def remove(name: Name, out_dir: OutDir = Path("out")) -> None:
    """Let a camera go: its tracks end, the others go on undisturbed."""
    _ask(out_dir, "DELETE", f"/streams/{quote(name, safe='')}")
    out.print(f"{name} is watched no more")


@streams_app.command("list")
def list_streams(out_dir: OutDir = Path("out"), json_path: JsonFile = None) -> None:
    """Show the cameras of the run, their state, and what is wrong; no passwords."""
    check_json(json_path)
    streams = _ask(out_dir, "GET", "/streams")["streams"]
    for row in streams:
        age = row["seconds_since_frame"]
        last = "" if age is None else f", the last {age:.1f} s ago"
        wrong = f"  {row['problem']}" if row["problem"] else ""
        out.print(
            f"{row['name']}  {row['state']}  {row['frames']} frames{last}  {row['address']}{wrong}",
            markup=False,
            soft_wrap=True,
        )
    if not streams:
        out.print("no streams")
    write_json(json_path, streams)


def _ask(folder: Path, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
    """What the run answers.

    Raises:
        ConfigError: when none runs there, or it refuses.
    """
    url, token = _where(folder)
    body = None if data is None else json.dumps(data).encode()
    request = Request(
        url + path, data=body, method=method, headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_PATIENCE_S) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        if error.code == 401:
            raise ConfigError(
                f"the run in {folder} refuses the token; is ${TOKEN_VARIABLE} that of the run?"
            ) from None
        raise ConfigError(_told(error)) from None
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(
            f"no run answers at {url} ({reason}); is `streamer watch -o {folder}` running?"
        ) from None


def _where(folder: Path) -> tuple[str, str]:
    """The address of the run and its token."""
    path = folder / FILE_NAME
    try:
        told = json.loads(path.read_text())
        token = os.environ.get(TOKEN_VARIABLE) or told.get("token")
        if not token:
            raise ConfigError(f"the run in {folder} has a token of its own; set ${TOKEN_VARIABLE}")
        return str(told["url"]), str(token)
    except (OSError, ValueError, KeyError, AttributeError):
        raise ConfigError(
            f"{path} cannot be read; is `streamer watch -o {folder}` running, on this machine and "
            "by this user?"
        ) from None


def _told(error: HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the run answers {error.code} {error.reason}"
