"""A stream under watch: from frames and captions to what the rules of a book find.

What ends a track takes effect with the next frame, and so does a caption: results then depend on
media times only, not on the order in which steps happened to speak, and rules that are applied to
stored records find the same to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from operators.rulebook.book import Book, Entry
from operators.rulebook.rule import Found, Rule, to_ns
from operators.rulebook.seen import Moment, Seen, Sight
from operators.rulebook.wanted import Heard, hear
from streamer.records import Caption, Event, TrackedFrame

_PATIENCE_NS = 60 * 10**9  # how long what is found may wait for words


@dataclass(eq=False)
class Watch:
    """What is remembered of a stream: its tracks, and the rules that are on."""

    known: dict[int, Seen] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    last_ns: int = 0
    hw: tuple[int, int] | None = None
    shapes: tuple[dict[str, Any], dict[str, Any]] = field(default_factory=lambda: ({}, {}))
    cut: bool = False
    heard: dict[int, tuple[int, Heard]] = field(default_factory=dict)
    captions: list[Caption] = field(default_factory=list)
    waiting: list[tuple[str, Found]] = field(default_factory=list)
    begun_ns: dict[int, int] = field(default_factory=dict)

    def note(self, event: Event) -> None:
        """An event of the tracking step; takes effect with the next frame."""
        if event.kind == "cut":
            self.cut = True
        elif event.kind == "track_end" and event.track_id in self.known:
            self.known[event.track_id].ended_ns = event.time_ns
        elif event.kind == "track_start" and event.track_id is not None:
            # it is shown when it was proposed several times; it was there at the first
            self.begun_ns[event.track_id] = int(event.data.get("start_ns", event.time_ns))

    def frame(self, book: Book, entries: Sequence[Entry], tracked: TrackedFrame) -> list[Event]:
        """What the rules find in a frame."""
        before_ns, now_ns = self.last_ns, tracked.frame.time_ns
        self.last_ns = now_ns
        events = self._settle(book, entries, tracked.stream_id, now_ns)
        if self.cut:
            events += self._last_look(book, entries, tracked.stream_id, before_ns)
            self.known.clear()
            self.rules.clear()
            self.begun_ns.clear()
            self.cut = False
        regions = [region for region in tracked.regions if region.mask.area_px]
        if regions and regions[0].mask.hw != self.hw:
            self.hw = regions[0].mask.hw
            self.shapes = book.bind(self.hw)
            self.rules.clear()
        visible: dict[int, Seen] = {}
        for region in regions:
            mask = region.mask
            sight = Sight(now_ns, mask, region.box_xyxy, mask.area_px, before_ns)
            seen = self.known.get(region.track_id)
            if seen is None:
                begun_ns = self.begun_ns.pop(region.track_id, now_ns)
                seen = Seen(region.track_id, min(begun_ns, now_ns), sight, float(sight.area_px))
                self.known[region.track_id] = seen
            else:
                seen.see(sight)
            visible[region.track_id] = seen
        gone = [
            seen
            for track_id, seen in self.known.items()
            if track_id not in visible and self._is_gone(seen, book, now_ns)
        ]
        for seen in gone:
            del self.known[seen.track_id]
        times_ns = (now_ns, before_ns)
        return events + self._look(book, entries, tracked.stream_id, times_ns, visible, gone)

    def finish(self, book: Book, entries: Sequence[Entry], stream_id: str) -> list[Event]:
        """The end of the stream, as at a cut: who went out of sight at the picture's edge has
        gone; who is still there, or hidden, has not."""
        events = self._settle(book, entries, stream_id, self.last_ns + 1)
        return events + self._last_look(book, entries, stream_id, self.last_ns)

    def _last_look(
        self, book: Book, entries: Sequence[Entry], stream_id: str, shown_ns: int
    ) -> list[Event]:
        hidden = [seen for seen in self.known.values() if seen.last_ns < shown_ns]
        gone = [seen for seen in hidden if seen.sight.at_edge]
        return self._look(book, entries, stream_id, (self.last_ns, shown_ns), {}, gone)

    def _is_gone(self, seen: Seen, book: Book, now_ns: int) -> bool:
        ended = seen.ended_ns is not None and seen.ended_ns < now_ns
        return ended or now_ns - seen.last_ns > to_ns(book.lost_s)

    def _look(
        self,
        book: Book,
        entries: Sequence[Entry],
        stream_id: str,
        times_ns: tuple[int, int],
        visible: dict[int, Seen],
        gone: list[Seen],
    ) -> list[Event]:
        if self.hw is None:
            return []
        now_ns = times_ns[0]
        moment = Moment(*times_ns, self.hw[0], visible, gone, self.known, *self.shapes)
        begins = book.begins(stream_id)
        events = []
        for entry in entries:
            if not entry.is_on(stream_id, now_ns, begins):
                self.rules.pop(entry.name, None)  # outside its schedule a rule sees nothing
                continue
            rule = self.rules.setdefault(entry.name, entry.fresh())
            shown = self._only_wanted(entry, moment) if rule.counts and entry.of else moment
            for found in rule.look(shown):
                events += self._judged(entry, found, stream_id, now_ns)
        return events

    def _judged(self, entry: Entry, found: Found, stream_id: str, now_ns: int) -> list[Event]:
        """An event when words fit or none are wanted; else none, and what lacks words waits."""
        for wanted, track_id in ((entry.of, found.track_id), (entry.other, found.other_track_id)):
            if wanted is None or entry.prototype.counts or track_id is None:
                continue
            if track_id not in self.heard:
                self.waiting.append((entry.name, found))
                return []
            if not wanted.fits(self.heard[track_id][1]):
                return []
        data: dict[str, Any] = {"rule": entry.name, **found.data}
        if found.other_track_id is not None:
            data["other_track_id"] = found.other_track_id
        if found.time_ns != now_ns:
            data["known_ns"] = now_ns
        kind = entry.prototype.kind
        return [
            Event(
                stream_id=stream_id,
                time_ns=found.time_ns,
                kind=kind,
                track_id=found.track_id,
                data=data,
            )
        ]

    def _settle(
        self, book: Book, entries: Sequence[Entry], stream_id: str, now_ns: int
    ) -> list[Event]:
        """Take in the captions asked for before this moment, and look at what waited for them."""
        due = [caption for caption in self.captions if caption.asked_ns < now_ns]
        if not due:
            return []
        self.captions = [caption for caption in self.captions if caption.asked_ns >= now_ns]
        begins = book.begins(stream_id)
        at_ns = min(now_ns, self.last_ns)
        events = []
        for caption in sorted(due, key=lambda c: (c.asked_ns, c.track_id)):
            track_id = caption.track_id
            now = hear(caption, book.categories)
            _, before = self.heard.get(track_id, (0, now))
            self.heard[track_id] = (caption.asked_ns, now)
            for entry in entries:
                if entry.is_on(stream_id, caption.asked_ns, begins):
                    for found in entry.prototype.hear(
                        track_id, before.said, now.said, caption.asked_ns
                    ):
                        events += self._judged(entry, found, stream_id, at_ns)
        by_name = {entry.name: entry for entry in entries}
        waiting, self.waiting = self.waiting, []
        for name, found in waiting:
            if now_ns - found.time_ns < _PATIENCE_NS:
                events += self._judged(by_name[name], found, stream_id, at_ns)
        for track_id, (asked_ns, _) in list(self.heard.items()):
            if track_id not in self.known and now_ns - asked_ns > _PATIENCE_NS:
                del self.heard[track_id]
        return events

    def _only_wanted(self, entry: Entry, moment: Moment) -> Moment:
        """The tracks whose words fit."""
        assert entry.of is not None
        fitting = {i for i, (_, heard) in self.heard.items() if entry.of.fits(heard)}
        return replace(
            moment,
            seen={i: seen for i, seen in moment.seen.items() if i in fitting},
            gone=[seen for seen in moment.gone if seen.track_id in fitting],
            known={i: seen for i, seen in moment.known.items() if i in fitting},
        )
