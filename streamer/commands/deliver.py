"""`streamer deliver`: what waits in outboxes goes to its brokers, without running anything else."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from streamer.commands.running import (
    OK,
    PARTIAL,
    STOPPED,
    USER_ERROR,
    err,
    interruptible,
    notice,
    out,
    write_json,
)
from streamer.errors import InputError, OutputError
from streamer.sinks.courier import Courier
from streamer.sinks.delivered import broker_of
from streamer.sinks.outbox import ENDING, Outbox

_RETRY_S = 2.0


@dataclass(kw_only=True)
class Delivery:
    """What became of an outbox: how many of its records were delivered, refused by the broker
    for themselves, and still wait, with the reason."""

    outbox: str
    broker: str = ""
    delivered: int = 0
    refused: int = 0
    waiting: int = 0
    reason: str = ""


def deliver(folder: Path, *, dead: bool, wait_s: float, json_path: Path | None, quiet: bool) -> int:
    """Deliver every outbox of a folder, one after the other; one that fails does not keep the
    others waiting. `dead` lets the dead letters wait again first."""
    found: list[Delivery] = []
    code = OK
    with interruptible() as stop:
        for path in find_outboxes(folder):
            if stop.is_set():
                break
            delivery = Delivery(outbox=str(path))
            found.append(delivery)
            try:
                _deliver(path, delivery, dead=dead, wait_s=wait_s, stop=stop, quiet=quiet)
            except OutputError as error:
                delivery.reason = str(error)
                notice("error", "red", error)
                code = USER_ERROR
                continue
            _say(delivery)
            if delivery.waiting or delivery.refused:
                code = max(code, PARTIAL) if code != USER_ERROR else code
        stopped = stop.is_set()
    write_json(json_path, [asdict(delivery) for delivery in found])
    return STOPPED if stopped else code


def find_outboxes(path: Path) -> list[Path]:
    """The outboxes of a folder and those below it, or the one named.

    Raises:
        InputError: when there is none.
    """
    found = [path] if path.is_file() else sorted(path.rglob(f"*{ENDING}"))
    if not found:
        raise InputError(
            f"{path}: no *{ENDING} in it; sinks with an outbox (Mqtt, Webhook, ...) write one"
        )
    return found


def _deliver(
    path: Path,
    delivery: Delivery,
    *,
    dead: bool,
    wait_s: float,
    stop: threading.Event,
    quiet: bool,
) -> None:
    outbox = Outbox(path)
    try:
        broker = broker_of(outbox.about, path)
        delivery.broker = broker.shown
        broker.ready()
        if dead:
            outbox.revive()
        if outbox.waiting:
            courier = Courier(outbox, broker, retry_s=_RETRY_S)
            try:
                _watch(courier, wait_s, stop, quiet)
            finally:
                courier.stop(0.0)
                delivery.delivered, delivery.reason = courier.delivered, courier.trouble
            if courier.failure is not None:
                raise courier.failure
    finally:
        delivery.waiting, delivery.refused = outbox.waiting, outbox.buried
        outbox.close()


def _watch(courier: Courier, wait_s: float, stop: threading.Event, quiet: bool) -> None:
    """Until nothing waits, or nothing was taken for so long."""
    outbox = courier.outbox
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet) as bar:
        total = outbox.waiting
        task = bar.add_task(courier.broker.shown.replace("[", "\\["), total=total)
        courier.start()
        last, end_s = total, time.monotonic() + wait_s
        while (waiting := outbox.waiting) and courier.running and not stop.is_set():
            bar.update(task, completed=total - waiting)
            if waiting < last:
                last, end_s = waiting, time.monotonic() + wait_s
            elif time.monotonic() >= end_s:
                break
            stop.wait(0.05)


def _say(delivery: Delivery) -> None:
    if not (delivery.delivered or delivery.refused or delivery.waiting):
        out.print(f"{delivery.outbox}: nothing waits", markup=False)
        return
    line = f"{delivery.outbox}: {delivery.delivered} delivered to {delivery.broker}"
    if delivery.refused:
        line += f", {delivery.refused} refused (see {delivery.outbox}.dead.jsonl)"
    if delivery.waiting:
        line += f", {delivery.waiting} wait"
    if delivery.reason:
        line += f": it {delivery.reason}"
    out.print(line, markup=False, soft_wrap=True)
