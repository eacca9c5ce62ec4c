"""The command line of `streamer view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    out_dir: Annotated[
        Path, typer.Argument(help="A folder of results.", show_default=False, metavar="OUT")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    names: Annotated[
        list[str] | None, typer.Option("--name", help="Another name under which it is reached.")
    ] = None,
    source: Annotated[
        bool | None,
        typer.Option(
            help="Show the film itself, or only what the run wrote; by default the film itself, "
            "but to this machine only.",
            show_default=False,
        ),
    ] = None,
    ask: Annotated[bool, typer.Option(help="Answer questions about regions.")] = True,
    weights: Annotated[str, typer.Option(help="An Osprey's name or folder.")] = "osprey-nano",
    sam: Annotated[
        str, typer.Option(help="nano, the folder of a sam-nano, or a sam_vit_*.pth file.")
    ] = "nano",
    sam_type: Annotated[str, typer.Option(help="vit_b, vit_l or vit_h, of a .pth file.")] = "vit_b",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    browser: Annotated[bool, typer.Option("--open", help="Also open it in the browser.")] = False,
) -> None:
    """Look at a run in the browser: film, masks, words, search, questions; also while it goes on.

    Example: `streamer view out`. It prints an address with a token, and serves this machine only.
    """
    from streamer.commands.view import view_run

    code = view_run(
        out_dir, host=host, port=port, names=names or [], source=source, ask=ask, weights=weights,
        sam=sam, sam_type=sam_type, device=device, browser=browser,
    )  # fmt: skip
    raise typer.Exit(code)
