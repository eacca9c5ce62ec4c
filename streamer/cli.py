"""The command line. What takes long to import is imported by the command that needs it."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from streamer import __version__
from streamer.commands.bench_app import bench_app
from streamer.commands.evaluate_app import evaluate_app
from streamer.commands.models_app import models_app
from streamer.commands.options import (
    Config,
    ControlAt,
    JsonFile,
    LogForm,
    LogFormat,
    MetricsAt,
    OutDir,
    Quiet,
    Ray,
    Set,
    Var,
    finite,
    needs_scroll,
)
from streamer.commands.results_app import deliver, export, retry, search
from streamer.commands.rules import rules_app
from streamer.commands.running import STOPPED, USER_ERROR, err, notice, out
from streamer.commands.streams import streams_app
from streamer.commands.train_app import train_app
from streamer.commands.view_app import view
from streamer.errors import StreamerError
from streamer.passwords import hide_arguments

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Finds regions in video, follows them, and says what they are, with their times.\n\n"
    "Start with `streamer demo`, then `streamer caption my.mp4`.",
)
app.add_typer(train_app, name="train")
app.add_typer(bench_app, name="bench")
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(rules_app, name="rules")
app.add_typer(streams_app, name="streams")


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
    log_format: LogFormat = LogForm.TEXT,
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
def watch(
    streams: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]ADDRESS...", help="Cameras.", show_default=False),
    ],
    out_dir: OutDir = Path("out"),
    config: Config = "live",
    overrides: Set = None,
    for_s: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", min=0.1, help="End by itself; else Ctrl-C."),
    ] = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
    ray: Ray = None,
    metrics: MetricsAt = None,
    control: ControlAt = None,
    newest: Annotated[
        bool,
        typer.Option(
            help="Keep the newest picture of each camera in OUT/newest, once a second, to look at "
            "and ask about in `streamer view`."
        ),
    ] = True,
    log_format: LogFormat = LogForm.TEXT,
) -> None:
    """Watch cameras: words and events as they come, with Unix time, until Ctrl-C.

    Examples: `streamer watch rtsp://10.0.0.7/stream1`,
    `streamer watch 'gate=rtsp://me:$PASSWORD@10.0.0.7/1' yard=/dev/video0 -o out` ($PASSWORD is
    taken from the environment, and never shown).

    RTSP, HTTP, HLS, RTMP, SRT, capture devices, named pipes. A camera that breaks off is connected
    to again, for ever; the others go on. `streamer streams` adds and removes cameras meanwhile.
    """
    from streamer.commands.watch import watch_streams

    raise typer.Exit(
        watch_streams(
            streams,
            out_dir,
            config=config,
            overrides=overrides or [],
            for_s=for_s,
            json_path=json_path,
            quiet=quiet,
            ray=ray,
            metrics=metrics,
            control=control,
            newest=newest,
        )
    )


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or quickstart, documentary, ...")],
    overrides: Set = None,
    variables: Var = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs", metavar="PATTERN|URL", help="Many: '**/*.mp4', 's3://b/**/*.mp4'."
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        typer.Option("--manifest", metavar="FILE|URL", help="Many: a .csv, .jsonl or .parquet."),
    ] = None,
    out_dir: OutDir = Path("out"),
    attempts: Annotated[int, typer.Option(min=1, help="Tries of each of many inputs.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="How many of them at once.")] = 1,
    changed: Annotated[
        Changed, typer.Option(help="With inputs that another configuration has done.")
    ] = Changed.ASK,
    split_s: Annotated[
        float | None,
        typer.Option(
            "--split-s",
            metavar="SECONDS",
            min=1,
            help="Split many films at cuts into pieces of at least so long, done side by side.",
        ),
    ] = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
    ray: Ray = None,
    metrics: MetricsAt = None,
    log_format: LogFormat = LogForm.TEXT,
) -> None:
    """Run a pipeline described in YAML, once or for many inputs.

    Example: `streamer run quickstart --var input=my.mp4 --var out=out --var stem=my
    --set select.max_age_s=5`.

    Many: `streamer run batch --inputs 'footage/**/*.mp4' -o out` fills in ${input}, ${out} and
    ${stem} for each. A manifest has the column input (or path, or url), may have stem (of the
    outputs) and stream_id, and its others are variables too. Outputs appear when they are
    whole, failures are tried again and then set aside (`streamer retry`), and the same command
    does what is missing.
    """
    if inputs is not None and manifest is not None:
        raise typer.BadParameter("give either --inputs or --manifest", param_hint="--manifest")
    if (many := manifest or inputs) is not None:
        from streamer.commands.batch import run_batch

        code = run_batch(
            many, out_dir, manifest=manifest is not None, config=config, overrides=overrides or [],
            variables=_pairs(variables or []), attempts=attempts, jobs=jobs,
            changed=changed.value, split_s=split_s, ray=ray, json_path=json_path, quiet=quiet,
        )  # fmt: skip
        raise typer.Exit(code)
    from streamer.commands.caption import find_config
    from streamer.commands.running import check_json, execute, exit_code, show, write_json
    from streamer.config import load_pipeline

    check_json(json_path)
    pipeline = load_pipeline(
        find_config(config), variables=_pairs(variables or []), overrides=overrides or []
    )
    report = execute(pipeline, quiet=quiet, ray=ray, metrics=metrics)
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
    seconds: Annotated[
        float, typer.Option(min=4.0, callback=finite, help="Length of the film.")
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


@app.command()
def scroll(
    picture: Annotated[
        Path, typer.Argument(help="A picture, a .dzi file or a IIIF folder.", show_default=False)
    ],
    out_dir: OutDir = Path("out"),
    plan: Annotated[
        bool, typer.Option("--plan", help="Only draw the walk into plan.png; run nothing.")
    ] = False,
    speech: Annotated[
        str | None,
        typer.Option(
            metavar="PROGRAM",
            help="Speaks the narration into the film: 'espeak-ng -w {wav}'; it is given the text "
            "on standard input, and in the file {text}.",
        ),
    ] = None,
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
    needs_scroll()
    from streamer.commands.scroll import plan_scroll, scroll_picture

    settings = list(overrides or [])
    if speech is not None:
        settings.append(f"outputs.speech={json.dumps(speech)}")
    if plan:
        raise typer.Exit(
            plan_scroll(picture, out_dir, config=config, overrides=settings, quiet=quiet)
        )
    raise typer.Exit(
        scroll_picture(
            picture, out_dir, config=config, overrides=settings, json_path=json_path, quiet=quiet
        )
    )


for command in (search, view, export, deliver, retry):
    app.command()(command)


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
    hide_arguments(sys.argv)
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
