"""The command line. What takes long to import is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from streamer import __version__
from streamer.commands.running import STOPPED, USER_ERROR, err, notice, out
from streamer.errors import StreamerError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Finds regions in video, follows them, and says what they are, with their times.\n\n"
    "Start with `streamer demo`, then `streamer caption my.mp4`.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train the models that come with the product.")
bench_app = typer.Typer(no_args_is_help=True, help="Measure: ratios, side by side in one run.")
app.add_typer(train_app, name="train")
app.add_typer(bench_app, name="bench")
evaluate_app = typer.Typer(no_args_is_help=True, help="Compare what is said with what is true.")
app.add_typer(evaluate_app, name="evaluate")

OutDir = Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STEP.KEY=VALUE", help="Change a setting; may be repeated."),
]
Var = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME=VALUE", help="A value for ${NAME} in the file."),
]
Config = Annotated[
    str, typer.Option("-c", "--config", help="quickstart, documentary, surveillance, or a file.")
]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"streamer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show where errors come from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def caption(
    files: Annotated[list[Path], typer.Argument(help="Video files.", show_default=False)],
    out_dir: OutDir = Path("out"),
    config: Config = "quickstart",
    overrides: Set = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Caption films: an overlay film, subtitles and records for each.

    Examples: `streamer caption my.mp4`, `streamer caption *.mp4 -o out -c surveillance`,
    `streamer caption long.mkv --set source.start=60 --set source.end=120`.

    Exit code 0: done; 2: an input or setting is wrong; 3: an input broke off, the rest is done;
    130: stopped with Ctrl-C, everything finished is written.
    """
    from streamer.commands.caption import caption_files

    raise typer.Exit(
        caption_files(
            files,
            out_dir,
            config=config,
            overrides=overrides or [],
            json_path=json_path,
            quiet=quiet,
        )
    )


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or quickstart, documentary, ...")],
    overrides: Set = None,
    variables: Var = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Run a pipeline described in YAML.

    Example: `streamer run quickstart --var input=my.mp4 --var out=out --var stem=my
    --set select.max_age_s=5`.
    """
    from streamer.commands.caption import find_config
    from streamer.commands.running import execute, exit_code, show, write_json
    from streamer.config import load_pipeline

    pipeline = load_pipeline(
        find_config(config), variables=_pairs(variables or []), overrides=overrides or []
    )
    report = execute(pipeline, quiet=quiet)
    show(report)
    write_json(json_path, report.to_json())
    raise typer.Exit(exit_code(report))


@app.command()
def check(
    config: Annotated[str, typer.Argument(help="A YAML file, or quickstart, documentary, ...")],
    overrides: Set = None,
    variables: Var = None,
) -> None:
    """Check a configuration without running it, and show its graph."""
    from streamer.commands.caption import find_config
    from streamer.config import load_pipeline
    from streamer.pipeline import accepted

    path = find_config(config)
    samples = {"input": "input.mp4", "out": "out", "stem": "input"}
    samples |= _pairs(variables or [])
    pipeline = load_pipeline(path, variables=samples, overrides=overrides or [])
    for node in pipeline.readers:
        edges = ", ".join(
            f"{name} ({' '.join(t.__name__ for t in pipeline.carried(name, node))})"
            for name in node.inputs
        )
        takes = " ".join(t.__name__ for t in accepted(node))
        out.print(f"{node.name:12} takes {takes}, reads {edges}", markup=False)
    out.print(f"{path} is fine", markup=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the records in JSON Lines files."""
    from streamer.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def demo(
    out_dir: OutDir = Path("out/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Decides the film.")] = 7,
    seconds: Annotated[float, typer.Option(min=4.0, help="Length of the film.")] = 20.0,
    quiet: Quiet = False,
) -> None:
    """Render a film whose truth is known, caption it, and compare."""
    from streamer.commands.demo import run_demo

    raise typer.Exit(run_demo(out_dir, seed=seed, seconds=seconds, quiet=quiet))


@app.command()
def doctor(json_path: JsonFile = None) -> None:
    """Show what is installed, which devices, weights and codecs there are."""
    from streamer.commands.doctor import run_doctor

    raise typer.Exit(run_doctor(json_path))


@train_app.command("nano")
def train_nano(
    out_dir: OutDir = Path("out/osprey-nano"),
    seed: Annotated[int, typer.Option(min=0, help="Decides weights and samples.")] = 0,
    length: Annotated[
        float, typer.Option(min=0.001, help="Steps, as a multiple of the recipe's.")
    ] = 1.0,
) -> None:
    """Train osprey-nano on the synthetic world and write its folder with a card.

    Under an hour on two CPU cores. Use it with `--set caption.weights=FOLDER`.
    """
    from model.training.nano import Recipe, train

    train(out_dir, Recipe(seed=seed).scaled(length), lambda line: err.print(line, soft_wrap=True))
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

    Under an hour on two CPU cores. Use it with `--set track.sam=FOLDER`.
    """
    from streamer.sinks.files import prepare

    probe = out_dir / ".writable"
    prepare(probe)  # not after an hour of training
    probe.unlink()
    from model.training.sam_nano import SamRecipe, train

    recipe = SamRecipe(seed=seed).scaled(length)
    train(out_dir, recipe, lambda line: err.print(line, soft_wrap=True, markup=False))
    out.print(f"written: {out_dir}; its figures are in {out_dir / 'README.md'}", markup=False)


@evaluate_app.command("films")
def evaluate_films(
    films: Annotated[int, typer.Option(min=1, help="How many films.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the first film.")] = 5000,
    seconds: Annotated[float, typer.Option(min=4.0, help="Length of each.")] = 20.0,
    config: Config = "quickstart",
    overrides: Set = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Films of the synthetic world, never used in training: tracks and words against the truth.

    A minute or two a film. Example: `streamer evaluate films --films 5 --json films.json`.
    """
    from streamer.commands.evaluate import evaluate_films as evaluate

    code = evaluate(
        films=films, seed=seed, seconds=seconds, config=config, overrides=overrides or [],
        json_path=json_path, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(code)


@evaluate_app.command("words")
def evaluate_words(
    files: Annotated[list[Path], typer.Argument(help="Video files.", show_default=False)],
    config: Config = "quickstart",
    overrides: Set = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Films of any kind: do colour and place words agree with the masks' own pixels?

    The colour of a mask is the basic colour that most of its pixels are nearest to in CIELAB, its
    place where its centroid lies. Also counts the categories that are claimed, and how surely.
    """
    from streamer.commands.evaluate import evaluate_words as evaluate

    code = evaluate(
        files, config=config, overrides=overrides or [], json_path=json_path, quiet=quiet
    )
    raise typer.Exit(code)


@evaluate_app.command("tracking")
def evaluate_tracking(
    folder: Annotated[Path, typer.Argument(help="Annotated pictures.", show_default=False)],
    names: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="Only the sequences named in it.")
    ] = None,
    there_and_back: Annotated[
        bool, typer.Option(help="Masks: play forward and back, compare with the first mask.")
    ] = False,
    work_height: Annotated[int, typer.Option(min=64, help="Track at this height in px.")] = 360,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Annotated pictures: masks by J and F of DAVIS, boxes by HOTA and IDF1.

    DAVIS layout (JPEGImages/NAME/*.jpg, Annotations/NAME/*.png, indexed masks, of every picture or
    of some), or both in one folder: every object is followed from its first mask. MOT layout
    (NAME/img1/*.jpg, NAME/gt/gt.txt): everything is found and followed, and boxes are compared.
    """
    from streamer.commands.evaluate_tracking import evaluate_tracking as evaluate

    code = evaluate(
        folder, names=names, there_and_back=there_and_back, work_height_px=work_height,
        json_path=json_path, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(code)


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


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE", param_hint="--var")
        pairs[name] = value
    return pairs


def main() -> None:
    """Run the command line; a user's mistake becomes one line and exit code 2."""
    try:
        app()
    except StreamerError as error:
        if "--debug" in sys.argv:
            raise
        notice("error", "red", error)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        err.print("broken off")
        sys.exit(STOPPED)
