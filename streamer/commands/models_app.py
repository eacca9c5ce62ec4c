"""The command line of `streamer models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from streamer.commands.options import JsonFile

models_app = typer.Typer(no_args_is_help=True, help="Weights: list, look at, convert, download.")


@models_app.command("list")
def models_list(json_path: JsonFile = None) -> None:
    """Show the models that are here, and those that can be pulled."""
    from streamer.commands.models import list_models

    raise typer.Exit(list_models(json_path))


@models_app.command("verify")
def models_verify(
    path: Annotated[str, typer.Argument(help="A model's name, a folder, or a file of weights.")],
    json_path: JsonFile = None,
) -> None:
    """Say what weights are, whether they are complete, and their hash."""
    from streamer.commands.models import verify_model

    raise typer.Exit(verify_model(path, json_path))


@models_app.command("convert")
def models_convert(
    source: Annotated[str, typer.Argument(help="A model's name, or an Osprey folder.")],
    target: Annotated[Path, typer.Argument(help="A new folder.")],
    kind: Annotated[
        Literal["safetensors", "bin"],
        typer.Option("--format", help="bin: pickles, for the official code."),
    ] = "safetensors",
    dtype: Annotated[
        Literal["keep", "float32", "float16", "bfloat16"], typer.Option(help="Of the tensors.")
    ] = "keep",
    shard_gb: Annotated[float, typer.Option(min=0.001, help="Largest file.")] = 2.0,
) -> None:
    """Write an Osprey model anew, as safetensors or for the official code."""
    from streamer.commands.models import convert_model

    raise typer.Exit(convert_model(source, target, kind=kind, dtype=dtype, shard_gb=shard_gb))


@models_app.command("pull")
def models_pull(
    name: Annotated[str, typer.Argument(help="A name from `streamer models list`.")],
    folder: Annotated[
        Path | None, typer.Option("-o", "--out", help="Where to put it instead.")
    ] = None,
) -> None:
    """Download a released model; goes on where an earlier attempt stopped."""
    from streamer.commands.models import pull_model

    raise typer.Exit(pull_model(name, folder))
