"""YAML with the line of every key, so that a mistake can be named with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from streamer.errors import ConfigError

Path = tuple[Any, ...]


@dataclass
class Document:
    """A parsed file: plain data, the line of every path into it, and which paths were set by a
    `--set` of the command line."""

    name: str
    data: dict[str, Any]
    lines: dict[Path, int]
    overridden: dict[Path, str] = field(default_factory=dict)

    def at(self, path: Path) -> Any:
        """The value at a path of keys and indices."""
        value: Any = self.data
        for key in path:
            value = value[key]
        return value

    def place(self, path: Path) -> str:
        """`file:line` or `--set ...` of a path, or of the nearest one above it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.overridden:
                return self.overridden[path[:end]]
            if path[:end] in self.lines:
                return f"{self.name}:{self.lines[path[:end]]}"
        return self.name


def parse_yaml(text: str, name: str) -> Document:
    """Parse a file that holds one mapping.

    Raises:
        ConfigError: for broken YAML, doubled keys, or anything but a mapping.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Path, int] = {}
        data = _convert(node, (), lines, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply, or an anchor holds itself") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: a mapping with source, steps and sinks is wanted")
    return Document(name=name, data=data, lines=lines)


def parse_value(text: str) -> Any:
    """A YAML value, as on the right of a `--set`.

    Raises:
        ValueError: for text that is none.
    """
    try:
        return yaml.safe_load(text)
    except Exception as error:  # values that do not fit their tag raise all kinds
        raise ValueError(f"{text!r} is not a YAML value") from error


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of what there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(names)}" if names else "; it takes none"


def _convert(node: Any, path: Path, lines: dict[Path, int], name: str) -> Any:
    if node is None:
        return None
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, name)
            if key in mapping:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"{name}:{line}: the key {key!r} is given twice")
            lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = _convert(value_node, (*path, key), lines, name)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_convert(item, (*path, i), lines, name) for i, item in enumerate(node.value)]
    return _scalar(node, name)


def _scalar(node: Any, name: str) -> Any:
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node, deep=True)
    except yaml.YAMLError:
        raise
    except Exception:  # values that do not fit their tag raise all kinds: 2026-13-45
        line, kind = node.start_mark.line + 1, node.tag.rpartition(":")[2]
        raise ConfigError(
            f"{name}:{line}: {node.value!r} is no {kind}; put it in quotes if it is text"
        ) from None
    return value if not isinstance(value, (dict, list, set)) else str(value)
