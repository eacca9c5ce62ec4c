"""The command line. What takes long to import is imported by the command that needs it."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from streamer import __version__
from streamer.commands.models_app import models_app
from streamer.commands.rules import rules_app
from streamer.commands.running import STOPPED, USER_ERROR, err, notice, out
from streamer.errors import ConfigError, StreamerError

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
app.add_typer(models_app, name="models")
evaluate_app = typer.Typer(no_args_is_help=True, help="Compare what is said with what is true.")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(rules_app, name="rules")

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
        "-c", "--config", help="quickstart, documentary, surveillance, private, or a file."
    ),
]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number of seconds or steps")
    return value


class Changed(str, Enum):
    """What becomes of inputs that were done with another configuration."""

    ASK, REDO, KEEP = "ask", "redo", "keep"


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
    ray: Ray = None,
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
            ray=ray,
        )
    )


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or quickstart, documentary, ...")],
    overrides: Set = None,
    variables: Var = None,
    inputs: Annotated[
        str | None,
        typer.Option("--inputs", metavar="PATTERN|MANIFEST", help="Many: '**/*.mp4', .csv, .jsonl"),
    ] = None,
    out_dir: OutDir = Path("out"),
    attempts: Annotated[int, typer.Option(min=1, help="Tries of each of many inputs.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="How many of them at once.")] = 1,
    changed: Annotated[
        Changed, typer.Option(help="With inputs that another configuration has done.")
    ] = Changed.ASK,
    json_path: JsonFile = None,
    quiet: Quiet = False,
    ray: Ray = None,
) -> None:
    """Run a pipeline described in YAML, once or for many inputs.

    Example: `streamer run quickstart --var input=my.mp4 --var out=out --var stem=my
    --set select.max_age_s=5`.

    Many: `streamer run batch --inputs 'footage/**/*.mp4' -o out` fills in ${input}, ${out} and
    ${stem} for each; the columns of a manifest are variables too. Outputs appear when they are
    whole, failures are tried again and then set aside (`streamer retry`), and the same command
    does what is missing.
    """
    if inputs is not None:
        from streamer.commands.batch import run_batch

        code = run_batch(
            inputs, out_dir, config=config, overrides=overrides or [],
            variables=_pairs(variables or []), attempts=attempts, jobs=jobs,
            changed=changed.value, ray=ray, json_path=json_path, quiet=quiet,
        )  # fmt: skip
        raise typer.Exit(code)
    from streamer.commands.caption import find_config
    from streamer.commands.running import check_json, execute, exit_code, show, write_json
    from streamer.config import load_pipeline

    check_json(json_path)
    pipeline = load_pipeline(
        find_config(config), variables=_pairs(variables or []), overrides=overrides or []
    )
    report = execute(pipeline, quiet=quiet, ray=ray)
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
def search(
    out_dir: Annotated[Path, typer.Argument(help="A folder of results, or its catalog.sqlite.")],
    words: Annotated[str, typer.Argument(help="All of them; car* finds cars too.")] = "",
    from_time: Annotated[str | None, typer.Option("--from", help="12.5 or 1:02:03.5")] = None,
    to_time: Annotated[str | None, typer.Option("--to", help="12.5 or 1:02:03.5")] = None,
    stream: Annotated[str | None, typer.Option(help="The id of one stream.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    json_path: JsonFile = None,
) -> None:
    """Find captions by their words. Example: `streamer search out 'red car' --from 1:00`."""
    from streamer.commands.search import search_catalog

    code = search_catalog(
        out_dir, words, from_time=from_time, to_time=to_time, stream=stream, limit=limit,
        json_path=json_path,
    )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the records in JSON Lines files."""
    from streamer.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def demo(
    out_dir: OutDir = Path("out/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Decides the film.")] = 7,
    seconds: Annotated[
        float, typer.Option(min=4.0, callback=_finite, help="Length of the film.")
    ] = 20.0,
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
        float,
        typer.Option(min=0.001, callback=_finite, help="Steps, as a multiple of the recipe's."),
    ] = 1.0,
) -> None:
    """Train osprey-nano on the synthetic world and write its folder with a card.

    Under an hour on two CPU cores. Use it with `--set caption.weights=FOLDER`.
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


@evaluate_app.command("rules")
def evaluate_rules(
    films: Annotated[int, typer.Option(min=1, help="How many films.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the first film.")] = 7000,
    seconds: Annotated[float, typer.Option(min=2.0, help="Length of each.")] = 10.0,
    height_px: Annotated[int, typer.Option(min=120, help="Of the pictures.")] = 360,
    tracker: Annotated[bool, typer.Option(help="Also with the tracks of the tracker.")] = True,
    json_path: JsonFile = None,
) -> None:
    """Lines crossed, zones entered, left and dwelt in: events of rules against the exact truth.

    With the true masks as tracks, and with those of the tracker; rules on masks beside rules on
    the bottoms of boxes (`supervision`, when it is installed).
    """
    from streamer.commands.evaluate_rules import evaluate_rules as evaluate

    code = evaluate(
        films=films, seed=seed, seconds=seconds, height_px=height_px // 2 * 2, tracker=tracker,
        json_path=json_path,
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


@app.command()
def scroll(
    picture: Annotated[
        Path, typer.Argument(help="A picture, a .dzi file or a IIIF folder.", show_default=False)
    ],
    out_dir: OutDir = Path("out"),
    plan: Annotated[
        bool, typer.Option("--plan", help="Only draw the walk into plan.png; run nothing.")
    ] = False,
    config: Config = "scroll",
    overrides: Set = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Walk along a picture of any size: a film, a script, IIIF annotations and a page to zoom.

    Stopped in the middle (Ctrl-C), the same command goes on where it was. Examples:
    `streamer scroll painting.tif -o out`, `streamer scroll painting.tif --plan`,
    `streamer scroll map.tif --set source.walk=rows --set source.zooms=[0.5,1.0]`.

    Exit code 0: done; 2: an input or setting is wrong; 3: parts could not be read, the rest is
    done; 130: stopped.
    """
    _needs_scroll()
    from streamer.commands.scroll import plan_scroll, scroll_picture

    settings = overrides or []
    if plan:
        raise typer.Exit(
            plan_scroll(picture, out_dir, config=config, overrides=settings, quiet=quiet)
        )
    raise typer.Exit(
        scroll_picture(
            picture, out_dir, config=config, overrides=settings, json_path=json_path, quiet=quiet
        )
    )


@evaluate_app.command("scroll")
def evaluate_scroll(
    width: Annotated[int, typer.Option(min=64, help="Of the scroll, in pixels.")] = 60_000,
    height: Annotated[int, typer.Option(min=64, help="Of the scroll, in pixels.")] = 2000,
    objects: Annotated[int, typer.Option(min=1, help="How many objects lie on it.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Decides the scroll.")] = 11,
    config: Config = "scroll",
    overrides: Set = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """A synthetic scroll: what the walk found, doubled, split and cut, and words against the truth.

    Example: `streamer evaluate scroll --width 12000 --objects 100 --json scroll.json`.
    """
    _needs_scroll()
    from streamer.commands.evaluate_scroll import evaluate_scroll as evaluate

    code = evaluate(
        width=width, height=height, objects=objects, seed=seed, config=config,
        overrides=overrides or [], json_path=json_path, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(code)


@bench_app.command("scroll")
def bench_scroll(
    file: Annotated[Path | None, typer.Argument(help="A picture; written when absent.")] = None,
    width: Annotated[int, typer.Option(min=1024, help="Of the picture written.")] = 200_000,
    height: Annotated[int, typer.Option(min=1024, help="Of the picture written.")] = 5000,
    windows: Annotated[int, typer.Option(min=1, help="Windows a round.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each kind.")] = 5,
    json_path: JsonFile = None,
) -> None:
    """Windows a second from a large picture, against a plain pyvips loop."""
    _needs_scroll()
    from streamer.commands.bench_scroll import bench_scroll as bench

    code = bench(
        file, width=width, height=height, windows=windows, rounds=rounds, json_path=json_path
    )
    raise typer.Exit(code)


def _needs_scroll() -> None:
    if importlib.util.find_spec("pyvips") is None:
        raise ConfigError("large pictures need pyvips; pip install 'osprey-streamer[scroll]'")


@app.command()
def retry(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a batch.")],
    only_list: Annotated[bool, typer.Option("--list", help="Only show them.")] = False,
) -> None:
    """Show the inputs of a batch that were set aside and why, and let them wait again."""
    from streamer.commands.batch import retry as again

    raise typer.Exit(again(folder, only_list=only_list))


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
