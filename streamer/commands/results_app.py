"""The command line of what is done with a finished run: search, export, deliver, retry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import JsonFile, Quiet, finite


def search(
    out_dir: Annotated[Path, typer.Argument(help="A folder of results, or its catalog.sqlite.")],
    words: Annotated[str, typer.Argument(help="All of them; car* finds cars too.")] = "",
    from_time: Annotated[str | None, typer.Option("--from", help="12.5 or 1:02:03.5")] = None,
    to_time: Annotated[str | None, typer.Option("--to", help="12.5 or 1:02:03.5")] = None,
    stream: Annotated[str | None, typer.Option(help="The id of one stream.")] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            metavar="FILE:NAME|POINTS",
            help="Half inside a zone of a rule file, or of [[x, y], ...], at some moment.",
        ),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(metavar="[STREAM#]TRACK", help="Beside that track at some moment."),
    ] = None,
    within: Annotated[
        float, typer.Option(min=0.0, help="How near, as a share of the picture's diagonal.")
    ] = 0.05,
    like: Annotated[
        str | None,
        typer.Option(metavar="[STREAM#]TRACK", help="Tracks that look like that one first."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    pictures: Annotated[
        bool | None,
        typer.Option(
            help="Thumbnails in the terminal; by default where textual-image is installed.",
            show_default=False,
        ),
    ] = None,
    json_path: JsonFile = None,
) -> None:
    """Find captions by their words, by where their tracks were, and by how they look.

    Examples: `streamer search out 'red car' --from 1:00`, `streamer search out person --near
    gate#3`, `streamer search out --zone surveillance:middle`, `streamer search out --like gate#3`.
    """
    from streamer.commands.search import search_catalog

    code = search_catalog(
        out_dir, words, from_time=from_time, to_time=to_time, stream=stream, zone=zone, near=near,
        within=within, like=like, limit=limit, pictures=pictures, json_path=json_path,
    )  # fmt: skip
    raise typer.Exit(code)


def retry(
    folder: Annotated[Path, typer.Argument(help="The --out folder of a batch.")],
    only_list: Annotated[bool, typer.Option("--list", help="Only show them.")] = False,
) -> None:
    """Show the inputs of a batch that were set aside and why, and let them wait again."""
    from streamer.commands.batch import retry as again

    raise typer.Exit(again(folder, only_list=only_list))


def deliver(
    out_dir: Annotated[Path, typer.Argument(help="A folder of results, or one *.outbox.")],
    dead: Annotated[
        bool, typer.Option("--dead", help="Also what was refused: *.outbox.dead.jsonl.")
    ] = False,
    wait_s: Annotated[
        float,
        typer.Option(
            "--wait", min=0.1, callback=finite, help="Give up after so many seconds of no progress."
        ),
    ] = 10.0,
    json_path: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Send what waits in outboxes because a broker was away or the run was killed.

    An outbox says where to, as a configuration does: deliver those of your own runs.

    Exit code 0: nothing waits; 2: an outbox cannot be used; 3: some records still wait or were
    refused; 130: stopped. A run with the same outbox delivers it too.
    """
    from streamer.commands.deliver import deliver as send

    raise typer.Exit(send(out_dir, dead=dead, wait_s=wait_s, json_path=json_path, quiet=quiet))


def export(
    run_path: Annotated[Path, typer.Argument(metavar="RUN", help="OUT, OUT/STEM, or a file.")],
    coco: Annotated[Path | None, typer.Option(metavar="FILE", help="COCO instances.")] = None,
    mot: Annotated[Path | None, typer.Option(metavar="FOLDER", help="MOT Challenge text.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="records.parquet and tracks.parquet.")
    ] = None,
) -> None:
    """Write the stored tracks and captions of a run for other tools; nothing is decoded.

    Example: `streamer export out/gate --coco gate.coco.json --mot mot`.
    """
    from streamer.commands.export import export as write

    raise typer.Exit(write(run_path, coco=coco, mot=mot, parquet=parquet))
