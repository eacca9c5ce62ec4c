"""The command line of `streamer train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import OutDir, finite
from streamer.commands.running import err, out

train_app = typer.Typer(no_args_is_help=True, help="Train the models that come with the product.")


@train_app.command("nano")
def train_nano(
    out_dir: OutDir = Path("out/osprey-nano"),
    seed: Annotated[int, typer.Option(min=0, help="Decides weights and samples.")] = 0,
    length: Annotated[
        float,
        typer.Option(min=0.001, callback=finite, help="Steps, as a multiple of the recipe's."),
    ] = 1.0,
) -> None:
    """Train osprey-nano on the synthetic world and write its folder with a card.

    Takes about an hour on two CPU cores; the card says how long it took.

    Use it with `--set caption.weights=FOLDER`.
    """
    from streamer.sinks.files import prepare

    probe = out_dir / ".writable"
    prepare(probe)  # not after an hour of training
    probe.unlink()
    from model.training.nano import Recipe, train

    def report(line: str) -> None:
        err.print(line, markup=False, soft_wrap=True)

    train(out_dir, Recipe(seed=seed).scaled(length), report)
    readme = out_dir / "README.md"
    out.print(f"written: {out_dir}; its figures are in {readme}", markup=False)


@train_app.command("sam-nano")
def train_sam_nano(
    out_dir: OutDir = Path("out/sam-nano"),
    seed: Annotated[int, typer.Option(min=0, help="Decides weights and samples.")] = 0,
    length: Annotated[
        float, typer.Option(min=0.001, help="Steps, as a multiple of the recipe's.")
    ] = 1.0,
) -> None:
    """Train sam-nano on the synthetic world and write its folder with a card.

    Takes about an hour on two CPU cores; the card says how long it took.

    Use it with `--set track.sam=FOLDER`.
    """
    from streamer.sinks.files import prepare

    probe = out_dir / ".writable"
    prepare(probe)  # not after an hour of training
    probe.unlink()
    from model.training.sam_nano import SamRecipe, train

    recipe = SamRecipe(seed=seed).scaled(length)
    train(out_dir, recipe, lambda line: err.print(line, soft_wrap=True, markup=False))
    out.print(f"written: {out_dir}; its figures are in {out_dir / 'README.md'}", markup=False)
