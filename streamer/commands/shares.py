"""Counts and shares as the evaluations show them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from streamer.commands.running import out


def show_shares(rows: Iterable[tuple[str, int, int]]) -> None:
    """Print a row for every name, count and number judged."""
    table = Table(box=None, pad_edge=False)
    for column in ("of", "right", "", "share"):
        table.add_column(column, justify="left" if column == "of" else "right")
    for name, count, judged in rows:
        share = f"{count / judged:.1%}" if judged else "-"
        table.add_row(name, str(count), f"of {judged}", share)
    out.print(table)
