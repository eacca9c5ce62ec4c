"""A rule file: zones, lines, schedules and rules, read and checked before anything runs.

units: share                       # of width and height, 0..1; or px, then picture_wh helps
zones: {yard: [[0.1, 0.5], [0.6, 0.5], [0.6, 0.95], [0.1, 0.95]]}
lines: {door: [[0.7, 0.2], [0.7, 0.9]]}
rules:
  - {name: in, kind: line_cross, line: door, direction: right}
  - {name: red-car, kind: dwell, zone: yard, for_s: 30, of: {category: car, colour: red}}
"""

from __future__ import annotations

import copy
import inspect
import typing
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pydantic

from operators.rulebook import line_rules, pair_rules, track_rules, zone_rules
from operators.rulebook.reading import BUNDLED, Reader, read_text
from operators.rulebook.rule import Rule
from operators.rulebook.schedule import Span, read_clock, read_span
from operators.rulebook.shapes import Line, Zone
from operators.rulebook.wanted import Wanted, read_wanted
from streamer.errors import ConfigError
from streamer.yaml_places import nearest, parse_yaml

KINDS: dict[str, type[Rule]] = {
    kind.kind: kind
    for kind in (
        zone_rules.Enter, zone_rules.Leave, zone_rules.Dwell, zone_rules.Count, zone_rules.Density,
        line_rules.Cross, track_rules.Stop, track_rules.Speed, track_rules.Occluded,
        track_rules.Appear, track_rules.Disappear, track_rules.LookChange, pair_rules.Contact,
        pair_rules.LeftBehind, pair_rules.TakenAway,
    )
}  # fmt: skip
_KEYS = {"units", "picture_wh", "zones", "lines", "geojson", "categories", "lost_s", "clocks",
         "schedules", "rules"}  # fmt: skip
_COMMON = {"name", "kind", "of", "other", "streams", "schedule"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """A rule with its conditions: on words, on the stream, on the time."""

    name: str
    prototype: Rule
    of: Wanted | None
    other: Wanted | None
    streams: tuple[str, ...]
    spans: tuple[Span, ...] | None

    @property
    def needs_words(self) -> bool:
        return self.of is not None or self.other is not None or self.prototype.needs_words

    def fresh(self) -> Rule:
        """The rule without a memory."""
        return copy.deepcopy(self.prototype)

    def is_on(self, stream_id: str, time_ns: int, begins: datetime | None) -> bool:
        """Whether it looks at this moment of a stream.

        Raises:
            ConfigError: when it goes by the hours of the day and the stream has no clock.
        """
        if not any(fnmatchcase(stream_id, name) for name in self.streams):
            return False
        if self.spans is None:
            return True
        if begins is None and any(span.needs_clock(stream_id) for span in self.spans):
            raise ConfigError(
                f"rule {self.name!r} goes by the hours of the day, but clocks: of the rule file "
                f"does not say when stream {stream_id!r} begins; add it, or name streams:"
            )
        return any(span.holds(stream_id, time_ns, begins) for span in self.spans)


@dataclass(frozen=True, kw_only=True, eq=False)
class Book:
    """A rule file that was read. `lost_s`: a track unseen for so long is gone."""

    path: Path
    zones: dict[str, Zone]
    lines: dict[str, Line]
    categories: tuple[str, ...]
    lost_s: float
    clocks: dict[str, datetime]
    entries: tuple[Entry, ...]

    def begins(self, stream_id: str) -> datetime | None:
        """The wall time of a stream's media time 0."""
        return next((t for name, t in self.clocks.items() if fnmatchcase(stream_id, name)), None)

    def bind(self, hw: tuple[int, int]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Zones and lines in a picture of (height, width) pixels.

        Raises:
            ConfigError: naming the one that does not fit.
        """
        bound: list[dict[str, Any]] = []
        for what, shapes in (("zone", self.zones), ("line", self.lines)):
            made = {}
            for name, shape in shapes.items():
                try:
                    made[name] = shape.bind(hw)
                except ValueError as error:
                    raise ConfigError(f"{self.path}: {what} {name!r}: {error}") from None
            bound.append(made)
        return bound[0], bound[1]


def read_book(name_or_path: str) -> Book:
    """A rule file, or one that comes with the product by its name.

    Raises:
        ConfigError: in one line, with the place, what is wrong and what to do.
    """
    bundled = BUNDLED / f"{name_or_path}.yaml"
    path = bundled if bundled.is_file() else Path(name_or_path)
    text = read_text(path, "rule file")
    document = parse_yaml(text, str(path), "zones, lines and rules")
    return _Rules(document, path).book()


class _Rules(Reader):
    """Reads the rest of a rule file."""

    def book(self) -> Book:
        for key in self.data:
            if key not in _KEYS:
                raise self.error((key,), f"unknown key {key!r}{nearest(str(key), sorted(_KEYS))}")
        self.zones, self.lines = self.shapes()
        self.categories = self.strings("categories")
        lost_s = self.data.get("lost_s", 4.0)
        if not isinstance(lost_s, (int, float)) or isinstance(lost_s, bool) or lost_s <= 0:
            raise self.error(("lost_s",), f"lost_s is {lost_s!r}; seconds, more than 0, wanted")
        self.clocks = {
            str(name): self.checked(("clocks", name), read_clock, value)
            for name, value in self.mapping("clocks").items()
        }
        self.schedules = {
            name: tuple(
                self.checked(("schedules", name, i), read_span, span)
                for i, span in enumerate(self.entries(("schedules", name), spans))
            )
            for name, spans in self.mapping("schedules").items()
        }
        rules = self.entries(("rules",), self.data.get("rules"))
        entries = tuple(self._entry(i, rule) for i, rule in enumerate(rules))
        names = [entry.name for entry in entries]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise self.error(("rules", i, "name"), f"two rules have the name {name!r}")
        return Book(
            path=self.path, zones=self.zones, lines=self.lines, categories=self.categories,
            lost_s=float(lost_s), clocks=self.clocks, entries=entries,
        )  # fmt: skip

    def _entry(self, index: int, data: Any) -> Entry:
        at = ("rules", index)
        if not isinstance(data, dict) or not {"name", "kind"} <= data.keys():
            raise self.error(at, "a rule is a mapping with at least name and kind")
        kind = KINDS.get(str(data["kind"]))
        if kind is None:
            raise self.error(
                (*at, "kind"), f"unknown kind {data['kind']!r}{nearest(str(data['kind']), KINDS)}"
            )
        own = {key: value for key, value in data.items() if key not in _COMMON}
        rule = self._rule(at, kind, own)
        for key, known in (("zone", self.zones), ("line", self.lines)):
            name = own.get(key)
            if name and name not in known:
                raise self.error((*at, key), f"there is no {key} {name!r}{nearest(name, known)}")
        pair = kind in (pair_rules.Contact, pair_rules.LeftBehind, pair_rules.TakenAway)
        if "other" in data and not pair:
            raise self.error((*at, "other"), f"a rule of kind {kind.kind} is about one track only")
        wanted = {
            key: self.checked((*at, key), read_wanted, data[key], self.categories)
            for key in ("of", "other")
            if key in data
        }
        return Entry(
            name=str(data["name"]),
            prototype=rule,
            of=wanted.get("of"),
            other=wanted.get("other"),
            streams=self._patterns(at, data.get("streams", "*")),
            spans=self._spans(at, data),
        )

    def _rule(self, at: tuple[Any, ...], kind: type[Rule], own: dict[str, Any]) -> Rule:
        """The rule; its fields are its schema."""
        hints = typing.get_type_hints(kind)
        fields: dict[str, Any] = {
            p.name: (hints[p.name], ... if p.default is p.empty else p.default)
            for p in inspect.signature(kind).parameters.values()
        }
        for key in own:
            if key not in fields:
                known = sorted({*fields, *_COMMON})
                raise self.error((*at, key), f"{kind.kind} has no {key!r}{nearest(key, known)}")
        model = pydantic.create_model(kind.kind, **fields)
        try:
            checked = model.model_validate(own)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            if first["type"] == "missing":
                raise self.error(at, f"a rule of kind {kind.kind} needs {key!r}") from None
            wanted = inspect.formatannotation(hints[key])
            raise self.error(
                (*at, key), f"{key} is {own[key]!r}, but {kind.kind} wants {wanted}"
            ) from None
        arguments = {key: getattr(checked, key) for key in own}
        return typing.cast(Rule, self.checked(at, lambda given: kind(**given), arguments))

    def _spans(self, at: tuple[Any, ...], data: dict[str, Any]) -> tuple[Span, ...] | None:
        if "schedule" not in data:
            return None
        name = data["schedule"]
        if name not in self.schedules:
            hint = nearest(str(name), [str(s) for s in self.schedules])
            raise self.error((*at, "schedule"), f"there is no schedule {name!r}{hint}")
        spans = self.schedules[name]
        if any(span.media_ns is None for span in spans) and not self.clocks:
            raise self.error(
                (*at, "schedule"),
                f"{name!r} goes by the hours of the day; say under clocks: when streams begin",
            )
        return spans

    def _patterns(self, at: tuple[Any, ...], value: Any) -> tuple[str, ...]:
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) for name in names):
            raise self.error((*at, "streams"), "streams is a name, * and ? allowed, or a list")
        return tuple(names)
