"""The command line of `streamer train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import OutDir, finite
from streamer.commands.running import err, out
from streamer.errors import ConfigError

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
    start: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on from the weights of this sam-nano.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Pictures a batch, as a multiple of the recipe's.")
    ] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw pictures.")] = 1,
) -> None:
    """Train sam-nano on the synthetic world and write its folder with a card.

    Takes about an hour on two CPU cores; the card says how long it took. With --start and another
    --seed a model learns further from pictures that it has not seen. A GPU is used where there is
    one; it wants --batch 4 and as many --workers as there are cores.

    Use it with `--set track.sam=FOLDER`.
    """
    from streamer.sinks.files import prepare

    probe = out_dir / ".writable"
    prepare(probe)  # not after an hour of training
    probe.unlink()
    from model.training.sam_nano import SamRecipe, train

    recipe = SamRecipe(seed=seed, workers=workers).scaled(length).wider(batch)
    try:
        train(
            out_dir,
            recipe.further() if start else recipe,
            lambda line: err.print(line, soft_wrap=True, markup=False),
            start=start,
        )
    except ValueError as error:
        raise ConfigError(f"--start {start}: it {error}") from None
    out.print(f"written: {out_dir}; its figures are in {out_dir / 'README.md'}", markup=False)
