"""`streamer rules`: rules on stored tracks, and a look at zones and lines."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.commands.running import out
from streamer.errors import ConfigError, InputError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamer.interfaces import Source

rules_app = typer.Typer(no_args_is_help=True, help="Events from zones, lines and the like.")
RulesFile = Annotated[
    str, typer.Argument(help="A rule file, or the name of one that comes along: surveillance.")
]


@rules_app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="OUT, OUT/STEM, or OUT/STEM.tracks.jsonl.")],
    rules: RulesFile,
    out_path: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="JSON Lines, else stdout.")
    ] = None,
) -> None:
    """Apply rules to the stored tracks of a run: the events a live run would have given.

    Nothing is decoded and nothing captioned. Example:
    `streamer rules replay out/gate gate.yaml -o events.jsonl`.
    """
    from operators.rules import replay as replayed
    from streamer.sinks.jsonl import JsonLines
    from streamer.stored import find_run, read_records, read_tracks

    tracks, records = find_run(run)
    if out_path is not None and out_path.resolve() in (tracks.resolve(), records.resolve()):
        raise OutputError(f"{out_path} is what is read here; choose another file")
    events = replayed(rules, read_tracks(tracks), read_records(records))
    if out_path is None:
        for event in events:
            typer.echo(json.dumps(event.to_json(), ensure_ascii=False, separators=(",", ":")))
        return
    sink = JsonLines(str(out_path))
    sink.open(())
    try:
        for event in events:
            sink.write(event)
        sink.flush()
    finally:
        sink.close()
    found = Counter(str(event.data["rule"]) for event in events)
    for name, count in sorted(found.items()):
        out.print(f"{name}: {count}", markup=False)
    out.print(f"{len(events)} events in {out_path}", markup=False)


@rules_app.command()
def draw(
    file: Annotated[Path, typer.Argument(help="A film or a picture.")],
    rules: RulesFile,
    out_path: Annotated[Path, typer.Option("-o", "--out", metavar="PNG", help="The still.")],
    at: Annotated[str, typer.Option(help="Which moment, 12.5 or 1:02.5.")] = "0",
) -> None:
    """Draw zones and lines on a still of a film, lines with an arrow to their right side."""
    from PIL import Image

    from operators.rulebook.book import read_book
    from operators.rulebook.picture import draw_book
    from streamer.sinks.files import prepare, writing

    book = read_book(rules)
    picture = draw_book(_still(file, at), book)
    prepare(out_path)
    with writing(out_path):
        Image.fromarray(picture).save(out_path, format="PNG")
    out.print(
        f"drawn in {out_path}: {', '.join((*book.zones, *book.lines)) or 'nothing'}", markup=False
    )


@rules_app.command()
def kinds() -> None:
    """List the kinds of rules with their keys."""
    from operators.rulebook.book import KINDS

    for name, kind in KINDS.items():
        out.print(f"[bold]{name}[/bold]")
        out.print(inspect.cleandoc(kind.__doc__ or ""), markup=False)
        out.print()


def _still(file: Path, at: str) -> NDArray[np.uint8]:
    """The frame of a film at a time, or a picture."""
    from streamer.clock import parse_time_ns
    from streamer.records import Frame
    from streamer.sources.images import PICTURE_ENDINGS, Images
    from streamer.sources.video_file import VideoFile

    try:
        start_s = parse_time_ns(at) / 1e9
    except ValueError as error:
        raise ConfigError(f"--at {at}: {error}") from None
    picture = file.suffix.lower() in PICTURE_ENDINGS
    source: Source = Images(str(file)) if picture else VideoFile(str(file), start=start_s)
    try:
        source.open()
        frame = next((r for r in source.read() if isinstance(r, Frame)), None)
    finally:
        source.close()
    if frame is None:
        raise InputError(f"{file}: no frame at {at}; choose an earlier moment with --at")
    return frame.image
