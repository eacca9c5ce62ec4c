"""`streamer caption`: films in, captioned films, subtitles and records out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from streamer.clock import format_ns
from streamer.commands.running import (
    CONFIGS,
    OK,
    STOPPED,
    USER_ERROR,
    execute,
    exit_code,
    notice,
    out,
    show,
    write_json,
)
from streamer.config import load_pipeline
from streamer.errors import ConfigError, StreamerError


def find_config(name_or_path: str) -> Path:
    """A configuration that comes with the product, by its name, or a file.

    Raises:
        ConfigError: when there is neither.
    """
    bundled = CONFIGS / f"{name_or_path}.yaml"
    if bundled.is_file():
        return bundled
    path = Path(name_or_path)
    if path.is_file():
        return path
    names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
    raise ConfigError(f"{name_or_path}: no such configuration; give a file, or one of {names}")


def caption_files(
    files: list[Path],
    out_dir: Path,
    *,
    config: str,
    overrides: list[str],
    json_path: Path | None,
    quiet: bool,
) -> int:
    """Caption each file; an unreadable one does not keep the others from being done."""
    path = find_config(config)
    stems = _stems(files)
    reports: list[dict[str, Any]] = []
    worst = OK
    for file, stem in zip(files, stems, strict=True):
        if len(files) > 1:
            out.print(str(file), style="bold", markup=False)
        try:
            variables = {"input": str(file), "out": str(out_dir), "stem": stem}
            pipeline = load_pipeline(path, variables=variables, overrides=overrides)
            report = execute(pipeline, quiet=quiet)
        except StreamerError as error:
            if len(files) == 1:
                raise
            notice("error", "red", error)
            reports.append({"input": str(file), "error": str(error)})
            worst = USER_ERROR
            continue
        reports.append({"input": str(file), **report.to_json()})
        show_captions(out_dir / f"{stem}.jsonl")
        show(report)
        worst = max(worst, exit_code(report)) if worst != USER_ERROR else worst
        if report.stopped:
            worst = STOPPED
            break
    for stem in stems:
        made = sorted(p for p in out_dir.glob(f"{stem}.*") if p.is_file())
        if made:
            names = "  ".join(str(p) for p in made)
            out.print(f"written: {names}", soft_wrap=True, markup=False)
    write_json(json_path, reports)
    return worst


def show_captions(path: Path, limit: int = 40) -> None:
    """A table of the captions in a JSON Lines file, in the order of time."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    captions = sorted(
        (line for line in lines if line["record"] == "caption"),
        key=lambda line: (line["start_ns"], line["track_id"]),
    )
    if not captions:
        out.print("no captions: nothing was found that stays in the picture for long enough")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("from", "to", "track", "caption", "detail", "sure"):
        table.add_column(column, justify="right" if column in ("track", "sure") else "left")
    for line in captions[:limit]:
        table.add_row(
            format_ns(line["start_ns"]),
            format_ns(line["end_ns"]),
            f"#{line['track_id']}",
            escape(line["text"]),
            escape(line["detail"]),
            f"{2.718281828 ** line['mean_logprob']:.0%}",
        )
    out.print(table)
    if len(captions) > limit:
        out.print(f"... and {len(captions) - limit} more in {path}", markup=False)


def _stems(files: list[Path]) -> list[str]:
    """A name for the outputs of each file; files of the same name get numbers."""
    stems: list[str] = []
    for file in files:
        stem, n = file.stem, 2
        while stem in stems:
            stem, n = f"{file.stem}-{n}", n + 1
        stems.append(stem)
    return stems
