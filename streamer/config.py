"""YAML -> a checked pipeline. The constructors' signatures are the schema.

    source: {use: streamer.sources.video_file.VideoFile, with: {path: "${input}"}}
    steps:
      track:   {use: operators.track.Track}
      caption: {use: operators.caption.CaptionRegions, from: select, workers: 2}
    sinks:
      - {use: streamer.sinks.jsonl.JsonLines, from: [track, caption], with: {path: a.jsonl}}

A step reads the step above it unless it says `from`, a sink the last step. Mistakes are found
before anything is opened or loaded, and named with their line in the file.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, cast

import pydantic

from streamer.errors import ConfigError
from streamer.interfaces import Operator, Resources, Sink, Source
from streamer.pipeline import SOURCE, Output, Pipeline, Step
from streamer.yaml_places import Document, nearest, parse_value, parse_yaml

_PART_KEYS = {"use", "with"}
_STEP_KEYS = {"from", "workers", "max_workers", "resources"}
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def load_pipeline(
    path: Path, *, variables: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> Pipeline:
    """Read a configuration.

    Args:
        path: the YAML file.
        variables: values for `${name}` in it.
        overrides: `step.key=value` settings that replace or add to what the file says; the
            value is read as YAML, `step.workers=2` and `step.use=CLASS` set the step's own keys.

    Raises:
        ConfigError: in one line, with the place, what is wrong and what to do.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    document = parse_yaml(text, str(path))
    for override in overrides:
        _override(document, override)
    return _build(document, variables or {})


def _build(document: Document, variables: Mapping[str, str]) -> Pipeline:
    data = document.data
    _check_keys(document, (), data, {"source", "steps", "sinks"}, required=("source", "sinks"))
    make_source, _ = _part(document, ("source",), Source, set(), variables)
    steps: list[Step] = []
    previous = SOURCE
    names = data.get("steps") or {}
    if not isinstance(names, dict):
        raise ConfigError(f"{document.place(('steps',))}: steps maps names to steps")
    for name in names:
        at = ("steps", name)
        make, kind = _part(document, at, Operator, _STEP_KEYS, variables)
        workers = _count(document, at, "workers") or 1
        most = _count(document, at, "max_workers")
        inputs = _inputs(document, at, data["steps"][name], previous)
        steps.append(
            Step(
                name=str(name),
                operator=kind,
                make=make,
                inputs=inputs,
                workers=workers,
                max_workers=most,
                resources=_resources(document, at, kind.resources),
            )
        )
        previous = str(name)
    outputs: list[Output] = []
    if not isinstance(data["sinks"], list) or not data["sinks"]:
        raise ConfigError(f"{document.place(('sinks',))}: sinks is a list with at least one sink")
    for i, item in enumerate(data["sinks"]):
        at2 = ("sinks", i)
        make2, kind2 = _part(document, at2, Sink, {"from", "name"}, variables)
        if (path := make2.keywords.get("path")) and path == make_source.keywords.get("path"):
            place = document.place((*at2, "with", "path"))
            raise ConfigError(f"{place}: {path} is the input; write to another file")
        inputs = _inputs(document, at2, item, previous)
        outputs.append(
            Output(name=_sink_name(data["sinks"], i), sink=kind2, make=make2, inputs=inputs)
        )
    try:
        return Pipeline(make_source=make_source, steps=tuple(steps), outputs=tuple(outputs))
    except ConfigError as error:
        raise ConfigError(f"{document.name}: {error}") from None


def _part(
    document: Document,
    at: tuple[Any, ...],
    base: type,
    extra: set[str],
    variables: Mapping[str, str],
) -> tuple[partial[Any], type[Any]]:
    """How to make a source, step or sink: its class with checked arguments."""
    item = document.at(at)
    _check_keys(document, at, item, _PART_KEYS | extra, required=("use",))
    kind = _import(document, (*at, "use"), item["use"], base)
    given = item.get("with") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{document.place((*at, 'with'))}: with maps argument names to values")
    arguments = {
        key: _substitute(document, (*at, "with", key), value, variables)
        for key, value in given.items()
    }
    validated = _validate(document, at, kind, arguments)
    make: partial[Any] = partial(cast(Callable[..., Any], kind), **validated)
    try:
        make()
    except (ValueError, TypeError, ConfigError) as error:
        raise ConfigError(f"{document.place(at)}: {kind.__name__}: {error}") from None
    return make, kind


def _import(document: Document, at: tuple[Any, ...], use: Any, base: type) -> type[Any]:
    place = document.place(at)
    if not isinstance(use, str) or not re.fullmatch(r"\w+(\.\w+)+", use):
        raise ConfigError(f"{place}: use names a class as package.module.Class, not {use!r}")
    module_name, _, name = use.rpartition(".")
    if "" not in sys.path:  # a newcomer's operator lies in the folder the program is run from
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise ConfigError(f"{place}: there is no module {module_name!r} to import") from None
        raise ConfigError(
            f"{place}: {module_name} needs the package {missing!r}, which is not installed"
        ) from None
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{place}: {module_name} cannot be imported: {what}") from error
    kind = getattr(module, name, None)
    if kind is None:
        hint = nearest(name, [n for n in vars(module) if not n.startswith("_")])
        raise ConfigError(f"{place}: {module_name} has no {name!r}{hint}")
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigError(f"{place}: {use} is not a {base.__name__}")
    if inspect.isabstract(kind):
        raise ConfigError(f"{place}: {use} is abstract; name a class that implements it")
    return kind


def _validate(
    document: Document, at: tuple[Any, ...], kind: type[Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    """The arguments as the constructor's annotations want them.

    A class that hands settings on to another (`**settings`) says to which one by a class method
    `settings_class(arguments)`; that one's constructor then belongs to the schema.
    """
    takers = [kind]
    if hasattr(kind, "settings_class"):
        try:
            takers.append(kind.settings_class(arguments))
        except ConfigError as error:
            raise ConfigError(f"{document.place((*at, 'with'))}: {error}") from None
    parameters: list[inspect.Parameter] = []
    hints: dict[str, Any] = {}
    for taker in takers:
        init = cast(Callable[..., Any], taker.__init__)
        own = list(inspect.signature(init).parameters.values())[1:]
        parameters += own
        try:
            hints |= typing.get_type_hints(init) if own else {}
        except (NameError, TypeError) as error:
            place = document.place((*at, "use"))
            raise ConfigError(
                f"{place}: an annotation of {taker.__name__}() cannot be read: {error}"
            ) from None
    fields: dict[str, Any] = {
        p.name: (hints.get(p.name, Any), ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    for key in arguments:
        if key not in fields:
            place = document.place((*at, "with", key))
            raise ConfigError(f"{place}: {kind.__name__} has no {key!r}{nearest(key, fields)}")
    config = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
    model = pydantic.create_model(kind.__name__, __config__=config, **fields)
    try:
        checked = model.model_validate(arguments)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "missing":
            raise ConfigError(
                f"{document.place(at)}: {kind.__name__} needs {key!r} under with:"
            ) from None
        wanted = inspect.formatannotation(hints.get(key, Any))
        raise ConfigError(
            f"{document.place((*at, 'with', key))}: {key} is {arguments[key]!r}, "
            f"but {kind.__name__} wants {wanted}"
        ) from None
    return {key: getattr(checked, key) for key in arguments}


def _count(document: Document, at: tuple[Any, ...], key: str) -> int | None:
    """A number of workers."""
    count = document.at(at).get(key)
    if count is None:
        return None
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigError(f"{document.place((*at, key))}: {key} is a number from 1 on")
    return count


def _resources(document: Document, at: tuple[Any, ...], usual: Resources) -> Resources | None:
    """What a step's workers get where they are processes; None: what its class says."""
    given = document.at(at).get("resources")
    if given is None:
        return None
    place = (*at, "resources")
    _check_keys(document, place, given, {field.name for field in fields(Resources)}, required=())
    try:
        return pydantic.TypeAdapter(Resources).validate_python({**asdict(usual), **given})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "resources"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{document.place(place)}: {key}: {message}") from None


def _inputs(
    document: Document, at: tuple[Any, ...], item: dict[str, Any], previous: str
) -> tuple[str, ...]:
    given = item.get("from", previous)
    inputs = given if isinstance(given, list) else [given]
    if not inputs or not all(isinstance(name, str) for name in inputs):
        raise ConfigError(
            f"{document.place((*at, 'from'))}: from is a step's name or a list of them"
        )
    return tuple(inputs)


def _sink_name(sinks: list[Any], index: int) -> str:
    def base(item: Any) -> str:
        return str(item.get("name") or str(item.get("use")).rpartition(".")[2].lower())

    name = base(sinks[index])
    before = sum(base(item) == name for item in sinks[:index] if isinstance(item, dict))
    return f"{name}{before + 1}" if before else name


def _override(document: Document, text: str) -> None:
    head, equals, raw = text.partition("=")
    target, dot, key = head.strip().partition(".")
    if not (equals and dot and target and key):
        raise ConfigError(f"--set {text!r}: write step.key=value")
    try:
        value = parse_value(raw)
    except ValueError as error:
        raise ConfigError(f"--set {text!r}: {error}") from None
    steps: Any = document.data.get("steps")
    sinks: Any = document.data.get("sinks")
    parts: dict[str, tuple[Any, ...]] = {"source": ("source",)}
    parts |= {str(name): ("steps", name) for name in (steps if isinstance(steps, dict) else {})}
    for i, item in enumerate(sinks if isinstance(sinks, list) else []):
        if isinstance(item, dict):
            parts[_sink_name(sinks, i)] = ("sinks", i)
    if target not in parts:
        raise ConfigError(f"--set {text!r}: there is no step {target!r}{nearest(target, parts)}")
    at = parts[target]
    part: Any = document.at(at) if at[0] in document.data else None
    given = (part.get("with") or {}) if isinstance(part, dict) else None
    if not isinstance(given, dict):
        return  # the file is wrong there, which is said when it is read
    if key in _STEP_KEYS or key == "use":
        part[key] = value
        document.overridden[(*at, key)] = f"--set {text}"
    else:
        part["with"] = {**given, key: value}
        document.overridden[(*at, "with", key)] = f"--set {text}"


def _substitute(
    document: Document, at: tuple[Any, ...], value: Any, variables: Mapping[str, str]
) -> Any:
    if isinstance(value, list):
        return [_substitute(document, (*at, i), v, variables) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {k: _substitute(document, (*at, k), v, variables) for k, v in value.items()}
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables:
            known = ", ".join(f"${{{v}}}" for v in variables) or "none here"
            raise ConfigError(
                f"{document.place(at)}: ${{{name}}} has no value (known: {known}); "
                f"give one with --var {name}=..."
            )
        return variables[name]

    return _VARIABLE.sub(one, value)


def _check_keys(
    document: Document, at: tuple[Any, ...], item: Any, known: set[str], required: Sequence[str]
) -> None:
    if not isinstance(item, dict):
        keys = ", ".join(sorted(known))
        raise ConfigError(f"{document.place(at)}: a mapping is wanted here, with the keys {keys}")
    for key in item:
        if key not in known:
            place = document.place((*at, key))
            raise ConfigError(f"{place}: unknown key {key!r}{nearest(str(key), sorted(known))}")
    for key in required:
        if key not in item:
            raise ConfigError(f"{document.place(at)}: {key!r} is missing")
