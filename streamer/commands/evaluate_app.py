"""The command line of `streamer evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import Config, JsonFile, Quiet, Set, needs_scroll

evaluate_app = typer.Typer(no_args_is_help=True, help="Compare what is said with what is true.")


@evaluate_app.command("films")
def evaluate_films(
    films: Annotated[int, typer.Option(min=1, help="How many films.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the first film.")] = 8000,
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
    sam2: Annotated[
        str, typer.Option(metavar="WEIGHTS", help="SAM 2 or EdgeTAM follows: a folder or name.")
    ] = "",
    device: Annotated[str, typer.Option(help="Where it runs: auto, cpu, cuda, ...")] = "auto",
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
        sam2=sam2, device=device, json_path=json_path, quiet=quiet,
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


@evaluate_app.command("redaction")
def evaluate_redaction(
    films: Annotated[int, typer.Option(min=1, help="How many films.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the first film.")] = 8000,
    seconds: Annotated[float, typer.Option(min=2.0, help="Length of each.")] = 10.0,
    height_px: Annotated[int, typer.Option(min=120, help="Of the pictures.")] = 720,
    category: Annotated[
        list[str] | None, typer.Option(help="What is to be covered; may be repeated. All.")
    ] = None,
    overrides: Set = None,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """How much of what is to be covered is covered, in every frame of the films that are written.

    Films of the synthetic world go through `-c private`, filled instead of blurred; the written
    films are read back and compared with the true masks.
    """
    from streamer.commands.evaluate_redaction import evaluate_redaction as evaluate

    code = evaluate(
        films=films, seed=seed, seconds=seconds, height_px=height_px // 2 * 2,
        categories=category or [], overrides=overrides or [], json_path=json_path, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(code)


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
    needs_scroll()
    from streamer.commands.evaluate_scroll import evaluate_scroll as evaluate

    code = evaluate(
        width=width, height=height, objects=objects, seed=seed, config=config,
        overrides=overrides or [], json_path=json_path, quiet=quiet,
    )  # fmt: skip
    raise typer.Exit(code)
