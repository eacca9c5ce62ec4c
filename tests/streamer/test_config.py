"""YAML -> pipeline: what is understood, and one clear line with its place for every mistake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.config import load_pipeline
from streamer.errors import ConfigError
from streamer.pipeline import Output, Pipeline
from streamer.sinks.jsonl import JsonLines
from streamer.yaml_places import parse_yaml

GOOD = """\
source:
  use: streamer.sources.video_file.VideoFile
  with:
    path: "${input}"
    start: 1.5
steps:
  track:
    use: operators.track.Track
    with: {max_tracks: 5}
  select:
    use: operators.select.Select
sinks:
  - use: streamer.sinks.jsonl.JsonLines
    from: [track, select]
    with: {path: "${out}/a.jsonl"}
  - {use: streamer.sinks.jsonl.Tracks, from: track, name: tracks, with: {path: t.jsonl}}
"""
VARIABLES = {"input": "a.mp4", "out": "results"}
OPERATOR = """\
from __future__ import annotations
from collections.abc import Sequence
from streamer.interfaces import Operator
from streamer.records import Event, Frame

class Own(Operator[Frame | Event, Event]):
    def __init__(self, names: list[str], level: float = 1.0) -> None:
        self.names, self.level = names, level

    def process(self, items: Sequence[Frame | Event]) -> list[Event]:
        return [item for item in items if isinstance(item, Event)]
"""


def load(path: Path, text: str = GOOD, *overrides: str, **variables: str) -> Pipeline:
    path = path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return load_pipeline(path, variables=VARIABLES | variables, overrides=overrides)


def message(path: Path, text: str, *overrides: str) -> str:
    """What is said about a file that is wrong, without the folder in front."""
    with pytest.raises(ConfigError) as caught:
        load(path, text, *overrides)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400
    return line.replace(f"{path}/", "")


def path_of(output: Output) -> Path:
    sink: Any = output.make()
    path: Path = sink._lines.path
    return path


def test_a_file_becomes_a_pipeline(tmp_path: Path) -> None:
    pipeline = load(tmp_path)
    source: Any = pipeline.make_source()
    assert (str(source.path), source.start_ns) == ("a.mp4", 1_500_000_000)
    track, select = pipeline.steps
    assert (track.inputs, select.inputs) == (("source",), ("track",))
    assert track.make().config.max_tracks == 5
    assert track.make() is not track.make()
    first, second = pipeline.outputs
    assert (first.name, first.inputs) == ("jsonlines", ("track", "select"))
    assert isinstance(first.make(), JsonLines)
    assert str(path_of(first)) == "results/a.jsonl"
    assert (second.name, second.inputs) == ("tracks", ("track",))


def test_sinks_of_one_class_get_numbers(tmp_path: Path) -> None:
    again = "  - {use: streamer.sinks.jsonl.JsonLines, with: {path: b.jsonl}}\n"
    pipeline = load(tmp_path, GOOD + again + again, "jsonlines3.path=c.jsonl")
    names = [output.name for output in pipeline.outputs]
    assert names == ["jsonlines", "tracks", "jsonlines2", "jsonlines3"]
    assert str(path_of(pipeline.outputs[3])) == "c.jsonl"
    assert pipeline.outputs[2].inputs == ("select",)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("source:", "sourze:", ("my.yaml:1:", "unknown key 'sourze'; did you mean 'source'?")),
        ("steps:", "1:", ("my.yaml:6:", "unknown key 1; there are: sinks, source, steps")),
        ("  with:\n", "  wiht:\n", ("my.yaml:3:", "'wiht'; did you mean 'with'?")),
        ("start:", "strat:", ("my.yaml:5:", "VideoFile has no 'strat'; did you mean 'start'?")),
        ("start: 1.5", "start: soon", ("my.yaml:5:", "start is 'soon', but VideoFile wants float")),
        ("start: 1.5", "start: true", ("my.yaml:5:", "start is True", "float")),
        ("max_tracks: 5", "max_tracks: 5.5", ("my.yaml:9:", "max_tracks is 5.5", "wants int")),
        ("max_tracks: 5", "max_tracks: 0", ("my.yaml:7:", "Track: max_tracks is at least 1")),
        ('    path: "${input}"\n', "", ("my.yaml:1:", "VideoFile needs 'path' under with:")),
        ("{max_tracks: 5}", "[5]", ("my.yaml:9:", "with maps argument names to values")),
        ("${input}", "${imput}", ("my.yaml:4:", "${imput} has no value", "${input}", "--var")),
        ("operators.track.Track", "Track", ("my.yaml:8:", "package.module.Class, not 'Track'")),
        ("operators.track.Track", ".Track", ("my.yaml:8:", "package.module.Class")),
        ("operators.track.Track", "a..Track", ("my.yaml:8:", "package.module.Class")),
        ("operators.track.Track", "[1]", ("my.yaml:8:", "package.module.Class, not [1]")),
        ("operators.track", "operators.trak", ("my.yaml:8:", "no module 'operators.trak'")),
        ("track.Track", "track.Trak", ("my.yaml:8:", "no 'Trak'; did you mean 'Track'?")),
        ("operators.track.Track", "operators.track._ended", ("my.yaml:8:", "not a Operator")),
        ("operators.track.Track", "streamer.sinks.jsonl.Tracks", ("my.yaml:8:", "not a Operator")),
        (
            "operators.track.Track",
            "streamer.interfaces.Operator",
            ("my.yaml:8:", "Operator is abstract"),
        ),
        ("  track:\n", "  track: &t\n", ()),
        ("  select:\n", "  track:\n", ("my.yaml:10:", "the key 'track' is given twice")),
        ("  select:\n", "  source:\n", ("my.yaml: the name 'source' is reserved",)),
        ("name: tracks", "name: track", ("my.yaml: the name 'track' is given twice",)),
        ("select.Select", "select.Select\n    from: trak", ("'trak'", "did you mean 'track'?")),
        ("select.Select", "select.Select\n    from: 3", ("my.yaml:12:", "a step's name or a list")),
        ("track.Track", "track.Track\n    from: select", ("'track', 'select'", "circle")),
        ("track.Track", "track.Track\n    from: track", ("'track'", "circle")),
        ("track.Track", "track.Track\n    from: []", ("my.yaml:9:", "a step's name or a list")),
        ("[track, select]", "[track, track]", ("'jsonlines'", "each step once")),
        ("[track, select]", "nowhere", ("'nowhere', which is not a step", "track")),
        ("track.Track", "track.Track\n    workers: 0", ("my.yaml:9:", "a number from 1 on")),
        ("track.Track", "track.Track\n    workers: yes", ("my.yaml:9:", "a number from 1 on")),
        ("from: track, name", "from: select, name", ("emits", "takes only")),
        ("    use: operators.select.Select\n", "", ("my.yaml:10:", "a mapping is wanted here")),
        ("    use: operators.track.Track\n", "", ("my.yaml:7:", "'use' is missing")),
        ("max_tracks: 5", "max_tracks: 2026-13-45", ("my.yaml:9:", "'2026-13-45'", "timestamp")),
        ("max_tracks: 5", "max_tracks: !!int many", ("my.yaml:9:", "'many' is no int")),
        ("{max_tracks: 5}", "{max_tracks: 5", ("my.yaml:", "not valid YAML")),
        ("  with: {max", "\twith: {max", ("my.yaml:9:", "not valid YAML")),
        ("{max_tracks: 5}", "&a {max_tracks: *a}", ("an anchor holds itself",)),
        ("{max_tracks: 5}", "*nobody", ("my.yaml:9:", "undefined alias")),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_with_their_place(
    tmp_path: Path, old: str, new: str, said: tuple[str, ...]
) -> None:
    assert GOOD.count(old) >= 1
    changed = GOOD.replace(old, new, 1)
    if not said:
        load(tmp_path, changed)
        return
    line = message(tmp_path, changed)
    assert line.startswith("my.yaml")
    for part in said:
        assert part in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a mapping with source, steps and sinks is wanted"),
        ("# nothing\n", "a mapping with source, steps and sinks is wanted"),
        ("- a\n- b\n", "a mapping with source, steps and sinks is wanted"),
        ("just words", "a mapping with source, steps and sinks is wanted"),
        ("a: 1\n---\nb: 2\n", "my.yaml:2: not valid YAML: but found another document"),
        ("a: \x07", "not valid YAML"),
        ("{}", "my.yaml:1: 'source' is missing"),
        (GOOD.partition("sinks:")[0], "my.yaml:1: 'sinks' is missing"),
        (GOOD.partition("sinks:")[0] + "sinks: []", "my.yaml:12: sinks is a list with at least"),
        (GOOD.partition("sinks:")[0] + "sinks: {a: b}", "my.yaml:12: sinks is a list"),
        (GOOD.partition("sinks:")[0] + "sinks: [a]", "my.yaml:12: a mapping is wanted here"),
        ("source: a.mp4\nsinks: []", "my.yaml:1: a mapping is wanted here"),
        (GOOD.replace("steps:\n", "steps: [1]\nx:\n"), "my.yaml:7: unknown key 'x'"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, said: str) -> None:
    assert said in message(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "film.yaml").write_bytes(b"\x00\xff\xfe film")
    for name, said in (("no.yaml", "no such file"), ("film.yaml", "read"), (".", "read")):
        with pytest.raises(ConfigError, match=said) as caught:
            load_pipeline(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_settings_of_the_command_line(tmp_path: Path) -> None:
    pipeline = load(
        tmp_path, GOOD, "track.max_tracks=9", "select.max_age_s=3.5", "select.workers=2",
        "source.start=0", "tracks.path=${out}/u.jsonl", "jsonlines.from=track",
    )  # fmt: skip
    track, select = pipeline.steps
    assert track.make().config.max_tracks == 9
    assert select.workers == 2
    source: Any = pipeline.make_source()
    assert source.start_ns == 0
    assert pipeline.outputs[0].inputs == ("track",)
    assert str(path_of(pipeline.outputs[1])) == "results/u.jsonl"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["track"], "--set 'track': write step.key=value"),
        (["track=3"], "write step.key=value"),
        (["track.=3"], "write step.key=value"),
        ([".x=3"], "write step.key=value"),
        (["trak.x=3"], "--set 'trak.x=3': there is no step 'trak'; did you mean 'track'?"),
        (["track.x=[3"], "'[3' is not a YAML value"),
        (["track.x=2026-13-45"], "'2026-13-45' is not a YAML value"),
        (["track.max_track=3"], "--set track.max_track=3: Track has no 'max_track'"),
        (["track.max_tracks=many"], "--set track.max_tracks=many: max_tracks is 'many'"),
        (["track.bad=1", "select.max_age_s=3"], "--set track.bad=1: Track has no 'bad'"),
        (["select.workers=0"], "--set select.workers=0: workers is a number from 1 on"),
        (["select.from=nowhere"], "'nowhere', which is not a step"),
        (["tracks.path=${huh}"], "--set tracks.path=${huh}: ${huh} has no value"),
        (["source.workers=2"], "--set source.workers=2: unknown key 'workers'"),
    ],
)
def test_mistakes_of_the_command_line(tmp_path: Path, overrides: list[str], said: str) -> None:
    assert said in message(tmp_path, GOOD, *overrides)


def test_a_setting_for_a_broken_file_still_names_the_file(tmp_path: Path) -> None:
    no_use = GOOD.replace("use: streamer.sinks.jsonl.JsonLines", "name: a")
    assert message(tmp_path, no_use, "tracks.path=b").startswith("my.yaml:13: 'use' is missing")
    listed = GOOD.replace("{max_tracks: 5}", "[5]")
    assert message(tmp_path, listed, "track.max_tracks=5").startswith("my.yaml:9: with maps")
    assert "'source' is missing" in message(tmp_path, "sinks: [a]", "source.path=b")


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `own_part` as a user would write it, that is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_part", raising=False)
    (tmp_path / "own_part.py").write_text(OPERATOR)
    return tmp_path / "own_part.py"


OWN = GOOD.replace("operators.select.Select", "own_part.Own\n    from: source").replace(
    "[track, select]", "[track]"
)


def test_an_operator_of_ones_own(tmp_path: Path, own_module: Path) -> None:
    text = OWN.replace("from: source", 'from: source\n    with: {names: [a, "${out}/b"], level: 2}')
    own: Any = load(tmp_path, text).steps[1].make()
    assert (own.names, own.level) == (["a", "results/b"], 2)
    assert "Own needs 'names'" in message(tmp_path, OWN)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("class Own", "class Own(", "own_part cannot be imported: SyntaxError"),
        ("import Sequence", "import Sequenz", "own_part cannot be imported: ImportError"),
        ("class Own", "1 / 0\nclass Own", "own_part cannot be imported: ZeroDivisionError"),
        ("class Own", "import nowhere\nclass Own", "own_part needs the package 'nowhere'"),
        ("names: list[str]", "names: Names", "an annotation of Own() cannot be read"),
        ("(Operator[Frame | Event, Event])", "(Operator)", "does not say which records it takes"),
    ],
)
def test_mistakes_in_an_operator_of_ones_own(
    tmp_path: Path, own_module: Path, old: str, new: str, said: str
) -> None:
    own_module.write_text(OPERATOR.replace(old, new, 1))
    text = OWN.replace("from: source", "from: source\n    with: {names: [a]}")
    line = message(tmp_path, text)
    assert said in line
    assert line.startswith("my.yaml")


def test_lines_of_nested_values() -> None:
    document = parse_yaml("a:\n  - b\n  - c:\n      d: 1\n", "f")
    assert document.place(("a", 1, "c", "d")) == "f:4"
    assert document.place(("a", 0)) == "f:2"
    assert document.place(("a", 1, "c", "missing")) == "f:3"
    assert document.at(("a", 1, "c")) == {"d": 1}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_file_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 12))
        new = data.draw(st.text(alphabet="[]{}:,-&*!|>'\"# \n\tax1.?%@$", max_size=4))
        text = text[:at] + new + text[at + gone :]
    overrides = data.draw(st.sampled_from([[], ["track.max_tracks=3"], ["tracks.path=x"]]))
    try:
        load(tmp_path_factory.getbasetemp(), text, *overrides)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a mistake that hurts nobody is allowed
