"""The command line of `streamer bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import Config, JsonFile, needs_scroll

bench_app = typer.Typer(no_args_is_help=True, help="Measure: ratios, side by side in one run.")


@bench_app.command("pipeline")
def bench_pipeline(
    file: Annotated[Path | None, typer.Argument(help="A film; rendered when absent.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = 5,
    config: Config = "quickstart",
    json_path: JsonFile = None,
) -> None:
    """What queues and threads cost: the executor against the same operators in a bare loop."""
    from streamer.commands.bench import bench_pipeline as bench

    raise typer.Exit(bench(file, rounds=rounds, config=config, json_path=json_path))


@bench_app.command("captioner")
def bench_captioner(
    model: Annotated[
        str, typer.Option(help="mid and 7b: random weights of that size (7b: CUDA); nano.")
    ] = "mid",
    regions: Annotated[list[int] | None, typer.Option(min=1, help="1, 4, 16 and 64.")] = None,
    words: Annotated[list[int] | None, typer.Option(min=1, help="New tokens; 16.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames in a batch.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = 3,
    reference: Annotated[bool, typer.Option(help="The official procedure beside it.")] = True,
    json_path: JsonFile = None,
) -> None:
    """Captions: the engine beside the official procedure, and what the device could do.

    Examples: `streamer bench captioner`, `streamer bench captioner --model nano --regions 16`,
    `streamer bench captioner --words 16 --words 80 --json speed.json`.
    """
    from streamer.commands.bench_captioner import bench_captioner as bench

    raise typer.Exit(
        bench(
            model,
            regions=regions or [1, 4, 16, 64],
            words=words or [16],
            frames=frames,
            rounds=rounds,
            reference=reference,
            json_path=json_path,
        )
    )


@bench_app.command("tracking")
def bench_tracking(
    films: Annotated[int, typer.Option(min=1, help="Synthetic films to compare on.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the first film.")] = 5000,
    seconds: Annotated[float, typer.Option(min=4.0, help="Length of each.")] = 20.0,
    soak: Annotated[
        int | None, typer.Option(min=10, help="Instead: memory over this many frames, say 10000.")
    ] = None,
    objects: Annotated[
        str, typer.Option(help="Instead: time against the number of objects, say 1,16,64,128.")
    ] = "",
    json_path: JsonFile = None,
) -> None:
    """Our tracker beside ByteTrack, OC-SORT and norfair on the same proposals, in one run.

    The others come with `pip install 'osprey-streamer[bench]'`; what is not installed is named.
    """
    from streamer.commands import bench_tracking as bench

    if soak is not None:
        raise typer.Exit(bench.bench_soak(soak, seed=seed, json_path=json_path))
    if objects:
        raise typer.Exit(bench.bench_objects(_counts(objects), json_path=json_path))
    code = bench.bench_tracking(films=films, seed=seed, seconds=seconds, json_path=json_path)
    raise typer.Exit(code)


def _counts(text: str) -> list[int]:
    counts = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= n <= 128 for n in counts):
        raise typer.BadParameter(
            f"{text!r}: write numbers of 1 to 128, as 1,16,64", param_hint="--objects"
        )
    return counts


@bench_app.command("scroll")
def bench_scroll(
    file: Annotated[Path | None, typer.Argument(help="A picture; written when absent.")] = None,
    width: Annotated[int, typer.Option(min=1024, help="Of the picture written.")] = 200_000,
    height: Annotated[int, typer.Option(min=1024, help="Of the picture written.")] = 5000,
    windows: Annotated[int, typer.Option(min=1, help="Windows a round.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each kind.")] = 5,
    memory: Annotated[
        bool, typer.Option("--memory", help="Instead: memory of a walk, and of a tenth of it.")
    ] = False,
    zoom: Annotated[
        list[float] | None,
        typer.Option(min=0.001, help="Of the walk, a level each; chosen from the size if absent."),
    ] = None,
    json_path: JsonFile = None,
) -> None:
    """Windows a second from a large picture, against a plain pyvips loop."""
    needs_scroll()
    if memory:
        from streamer.commands.bench_walk import bench_walk

        raise typer.Exit(bench_walk(width=width, height=height, zooms=zoom, json_path=json_path))
    from streamer.commands.bench_scroll import bench_scroll as bench

    code = bench(
        file, width=width, height=height, windows=windows, rounds=rounds, json_path=json_path
    )
    raise typer.Exit(code)


@bench_app.command("sam")
def bench_sam(
    sam: Annotated[
        str, typer.Option(help="nano, the folder of a sam-nano, or a sam_vit_*.pth file.")
    ] = "nano",
    sam_type: Annotated[str, typer.Option(help="vit_b, vit_l or vit_h, of a .pth file.")] = "vit_b",
    points: Annotated[int, typer.Option(min=1, help="Points along a side of the grid.")] = 16,
    crop_layers: Annotated[int, typer.Option(min=0, help="Layers of smaller crops.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = 5,
    json_path: JsonFile = None,
) -> None:
    """Masks of everything in a picture, against SamAutomaticMaskGenerator."""
    from streamer.commands.bench_sam import bench_sam as bench

    code = bench(
        sam, sam_type=sam_type, points=points, crop_layers=crop_layers, rounds=rounds,
        json_path=json_path,
    )  # fmt: skip
    raise typer.Exit(code)


@bench_app.command("ray")
def bench_ray(
    file: Annotated[Path | None, typer.Argument(help="A film; rendered when absent.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each kind.")] = 3,
    config: Config = "batch",
    ray: Annotated[
        str, typer.Option(metavar="auto|local|ADDRESS", help="Which cluster.")
    ] = "local",
    json_path: JsonFile = None,
) -> None:
    """Ray beside one process: frame rate, workers that wait, the age of alerts."""
    from streamer.commands.bench_ray import bench_ray as bench

    raise typer.Exit(bench(file, rounds=rounds, config=config, ray=ray, json_path=json_path))


@bench_app.command("view")
def bench_view(
    captions: Annotated[int, typer.Option(min=1000, help="In the catalog.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of searches.")] = 3,
    json_path: JsonFile = None,
) -> None:
    """The viewer with a large catalog: how long searches take, and the first paint in Chromium."""
    from streamer.commands.bench_view import bench_view as bench

    raise typer.Exit(bench(captions, rounds, json_path))
