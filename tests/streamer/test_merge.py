"""The merge: any interleaving of the senders gives the same order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.executors.merge import Merge
from streamer.executors.parcel import Parcel
from streamer.records import Event

SENDERS = ["first", "second", "third"]


def parcels(sender: str, times: list[int]) -> list[Parcel]:
    made = []
    for n, time_ns in enumerate(sorted(times)):
        event = Event(stream_id="s", time_ns=time_ns, kind=f"{sender} {n}")
        made.append(Parcel(sender, "s", time_ns, ((time_ns, event),)))
    return [*made, Parcel(sender, "s", 100, (), end=True)]


@given(*[st.lists(st.integers(0, 9), max_size=6)] * 3, st.data())
def test_order_does_not_depend_on_arrival(
    a: list[int], b: list[int], c: list[int], data: st.DataObject
) -> None:
    queues = [parcels(name, times) for name, times in zip(SENDERS, (a, b, c), strict=True)]
    everything = [
        (p.records[0][0], i, n) for i, q in enumerate(queues) for n, p in enumerate(q[:-1])
    ]
    merge = Merge(SENDERS)
    got, ended = [], 0
    while any(queues):
        i = data.draw(st.sampled_from([i for i, queue in enumerate(queues) if queue]))
        out = merge.push(queues[i].pop(0))
        got += [record.kind for _, record in out.records if isinstance(record, Event)]
        ended += out.end
    assert got == [f"{SENDERS[i]} {n}" for _, i, n in sorted(everything)]
    assert ended == 1


def test_one_sender_passes_at_once() -> None:
    merge = Merge(["only"])
    (parcel, end) = parcels("only", [5])
    assert merge.push(parcel) is parcel
    assert merge.push(end).end
