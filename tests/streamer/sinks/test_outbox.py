"""The outbox: what waits survives, in order, bounded; what is refused is kept with the reason."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from streamer.errors import OutputError
from streamer.sinks.broker import Broker, Message, UnavailableError
from streamer.sinks.courier import Courier
from streamer.sinks.outbox import Outbox
from tests.streamer.sinks.brokers import wait_until


def message(n: int, stream_id: str = "a") -> Message:
    return Message(
        seq=0, key=f"{n:016x}", stream_id=stream_id, record="event", kind="seen", unix_ns=None,
        body=json.dumps({"n": n}),
    )  # fmt: skip


def numbers(messages: Sequence[Message]) -> list[int]:
    return [json.loads(m.body)["n"] for m in messages]


class Scripted(Broker):
    """Fails as often as it is told, refuses the numbers it is told, keeps the rest."""

    batch_size = 3
    shown = "scripted://"

    def __init__(self, failures: int = 0, refused: Sequence[int] = ()) -> None:
        self.failures = failures
        self.refused = set(refused)
        self.taken: list[int] = []
        self.at_s: list[float] = []
        self.wait_s = 0.0

    def ready(self) -> None:
        pass

    def connect(self) -> None:
        self.at_s.append(time.monotonic())

    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("is away", wait_s=self.wait_s)
        refused = {m.seq: "too odd" for m in messages if numbers([m])[0] in self.refused}
        self.taken += numbers([m for m in messages if m.seq not in refused])
        return refused

    def close(self) -> None:
        pass


def deliver(outbox: Outbox, broker: Broker, retry_s: float = 0.05) -> Courier:
    courier = Courier(outbox, broker, retry_s=retry_s)
    courier.start()
    wait_until(lambda: not outbox.waiting)
    courier.stop(1.0)
    return courier


def test_what_waits_is_delivered_in_order_and_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.put([message(n) for n in range(10)])
    outbox.put([message(n) for n in range(5)])  # the same records again
    assert outbox.waiting == 10
    broker = Scripted(failures=4)
    courier = deliver(outbox, broker)
    assert broker.taken == list(range(10))
    assert courier.delivered == 10
    assert not courier.trouble
    outbox.close()


def test_what_waits_is_there_for_the_next_process(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.about = {"broker": "x"}
    outbox.put([message(n) for n in range(4)])
    outbox.close()
    outbox = Outbox(tmp_path / "a.outbox")
    assert numbers(outbox.oldest(9)) == [0, 1, 2, 3]
    assert outbox.about == {"broker": "x"}
    outbox.settle(outbox.oldest(2), {})
    assert (outbox.waiting, numbers(outbox.oldest(9))) == (2, [2, 3])
    outbox.close()


_PUTS_FOR_EVER = """
import sys
from pathlib import Path
from streamer.sinks.outbox import Outbox
from tests.streamer.sinks.test_outbox import message
outbox = Outbox(Path(sys.argv[1]))
for n in range(10**6):
    outbox.put([message(n)])
    print(n, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_put(tmp_path: Path) -> None:
    path = tmp_path / "a.outbox"
    process = subprocess.Popen(
        [sys.executable, "-c", _PUTS_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    said = [int(next(lines)) for _ in range(200)]
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    outbox = Outbox(path)
    kept = numbers(outbox.oldest(10**6))
    assert kept[: len(said)] == said
    assert len(kept) <= len(said) + 1
    outbox.close()


def test_the_oldest_go_when_it_is_full(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox", max_waiting=5)
    assert sum(outbox.put([message(n)]) for n in range(12)) == 7
    assert (outbox.dropped, outbox.waiting) == (7, 5)
    assert numbers(outbox.oldest(9)) == [7, 8, 9, 10, 11]
    outbox.close()


def test_settling_what_was_dropped_meanwhile(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox", max_waiting=3)
    outbox.put([message(n) for n in range(3)])
    under_way = outbox.oldest(3)
    outbox.put([message(3), message(4)])
    outbox.settle(under_way, {})
    assert (outbox.waiting, numbers(outbox.oldest(9))) == (2, [3, 4])
    outbox.close()


def test_refused_records_become_dead_letters_and_may_come_back(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.put([message(n) for n in range(7)])
    broker = Scripted(refused=[1, 5])
    deliver(outbox, broker)
    assert broker.taken == [0, 2, 3, 4, 6]
    dead = [json.loads(line) for line in outbox.dead_path.read_text().splitlines()]
    assert [(d["body"]["n"], d["reason"]) for d in dead] == [(1, "too odd"), (5, "too odd")]
    assert outbox.buried == 2
    outbox.put([message(8)])
    assert outbox.revive() == 2
    assert not outbox.dead_path.exists()
    assert numbers(outbox.oldest(9)) == [8, 1, 5]
    outbox.settle(outbox.oldest(9), {})
    assert outbox.revive() == 0
    outbox.close()


def test_dead_letters_left_aside_by_a_break_come_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    for n in (1, 2):
        outbox.put([message(n)])
        outbox.settle(outbox.oldest(1), {outbox.oldest(1)[0].seq: "no"})
        if n == 1:
            outbox.dead_path.rename(tmp_path / ".a.outbox.dead.jsonl.again")
    assert outbox.revive() == 2
    assert numbers(outbox.oldest(9)) == [1, 2]
    outbox.close()


def test_a_damaged_dead_letter_is_named(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.dead_path.write_text('{"key": "1"}\n')
    with pytest.raises(OutputError, match=r"dead\.jsonl:1"):
        outbox.revive()
    outbox.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    with pytest.raises(OutputError, match="in use by another run"):
        Outbox(tmp_path / "a.outbox")
    outbox.close()
    Outbox(tmp_path / "a.outbox").close()


def test_what_is_no_outbox(tmp_path: Path) -> None:
    (tmp_path / "a.outbox").write_text("something else, long enough to be looked at\n" * 50)
    with pytest.raises(OutputError, match="is no outbox"):
        Outbox(tmp_path / "a.outbox")
    with pytest.raises(OutputError, match="cannot be written"):
        Outbox(tmp_path / "a.outbox" / "b.outbox")


def test_a_dead_broker_costs_its_caller_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    courier = Courier(outbox, Scripted(failures=10**9), retry_s=0.05)
    courier.start()
    begun_s = time.perf_counter()
    for n in range(500):
        outbox.put([message(n)])
        courier.wake()
    assert time.perf_counter() - begun_s < 5.0
    wait_until(lambda: courier.trouble == "is away")
    begun_s = time.perf_counter()
    courier.stop(60.0)
    assert time.perf_counter() - begun_s < 5.0  # one more attempt, and no waiting
    assert outbox.waiting == 500
    outbox.close()


def test_pauses_grow_up_to_their_limit_and_are_not_all_the_same(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.put([message(0)])
    broker = Scripted(failures=9)
    deliver(outbox, broker, retry_s=0.4)
    pauses = [b - a for a, b in zip(broker.at_s, broker.at_s[1:], strict=False)]
    assert len(pauses) == 9
    assert all(pause >= 0.1 for pause in pauses)
    assert max(pauses) < 0.4 + 1.0  # on a busy machine
    assert len({round(pause, 3) for pause in pauses}) > 3
    outbox.close()


def test_a_broker_may_ask_to_be_left_alone(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.put([message(0)])
    broker = Scripted(failures=1)
    broker.wait_s = 0.6
    deliver(outbox, broker)
    assert broker.at_s[1] - broker.at_s[0] >= 0.6
    outbox.close()


class Broken(Scripted):
    def send(self, messages: Sequence[Message]) -> dict[int, str]:
        raise KeyError("a secret")


def test_an_adapter_that_is_wrong_is_named_and_its_text_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    outbox = Outbox(tmp_path / "a.outbox")
    outbox.put([message(0)])
    courier = Courier(outbox, Broken(), retry_s=0.05)
    courier.start()
    wait_until(lambda: courier.trouble)
    courier.stop(1.0)
    assert outbox.waiting == 1
    outbox.close()
    assert "scripted://: KeyError in Broken; records wait" in caplog.text
    assert all("a secret" not in m for m in caplog.messages if "raise KeyError" not in m)


def test_putting_from_many_threads(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    threads = [
        threading.Thread(target=lambda s=s: [outbox.put([message(100 * s + n)]) for n in range(50)])
        for s in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = numbers(outbox.oldest(10**3))
    assert [n for n in taken if n < 100] == list(range(50))
    assert len(taken) == outbox.waiting == 200
    outbox.close()


def _put_many(outbox: Outbox) -> None:
    for n in range(1000):
        outbox.put([message(n)])


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "a.outbox")
    outbox._db.execute("PRAGMA max_page_count = 8")
    with pytest.raises(OutputError, match="full"):
        _put_many(outbox)
    waiting = outbox.waiting
    outbox.close()
    db = sqlite3.connect(tmp_path / "a.outbox")
    assert db.execute("SELECT count(*) FROM message").fetchone()[0] == waiting
    db.close()
    assert os.path.getsize(tmp_path / "a.outbox") <= 8 * 4096
