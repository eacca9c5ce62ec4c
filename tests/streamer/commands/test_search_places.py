"""`streamer search --zone` and `--near`: where tracks were while their words held."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.errors import ConfigError, InputError, StreamerError
from streamer.sinks.catalog import Catalog
from tests.streamer.sinks.sink_records import STREAM, caption, numbered_frames, region, tracked

RULES = """\
zones:
  left: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
  corner: [[0.9, 0.9], [1, 0.9], [1, 1], [0.9, 1]]
rules:
  - {name: in, kind: zone_enter, zone: left}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """Ten frames, 40 ms apart, of 160x120 px: the car (1) goes right, the dog (2) rests at the
    right, the cat (3) rests at the lower left."""
    path = tmp_path / "catalog.sqlite"
    sink = Catalog(str(path))
    sink.open([STREAM])
    for n, frame in enumerate(numbered_frames(10)):
        x = 12 * n
        sink.write(
            tracked(
                frame,
                region((x, 40, x + 20, 60)),
                region((130, 40, 150, 60), track_id=2),
                region((0, 100, 10, 120), track_id=3),
            )
        )
    sink.write(caption(0.0, 0.16, "a red car"))
    sink.write(caption(0.2, 0.36, "a blue car"))
    sink.write(caption(0.0, 0.36, "a dog", track_id=2))
    sink.write(caption(0.0, 0.36, "a cat", track_id=3))
    sink.close()
    (tmp_path / "rules.yaml").write_text(RULES)
    return path


def search(catalog: Path, *arguments: object) -> set[str]:
    done = CliRunner().invoke(
        app, ["search", str(catalog), *map(str, arguments)], catch_exceptions=False
    )
    assert done.exit_code == 0
    names = {name for name in ("red car", "blue car", "dog", "cat") if f"a {name}" in done.stdout}
    assert f"{len(names)} found" in done.stdout
    return names


def test_zones(catalog: Path) -> None:
    rules = catalog.parent / "rules.yaml"
    assert search(catalog, "--zone", f"{rules}:left") == {"red car", "blue car", "cat"}
    assert search(catalog, "car", "--zone", f"{rules}:left") == {"red car", "blue car"}
    # at 0.2 s the car's middle is at x = 70, at 0.24 s at 82: no longer left
    assert search(catalog, "--zone", f"{rules}:left", "--from", 0.23) == {"cat"}
    assert search(catalog, "--zone", f"{rules}:corner") == set()
    assert search(catalog, "--zone", "[[0.75, 0], [1, 0], [1, 1], [0.75, 1]]") == {"dog"}
    assert search(catalog, "--zone", "[[100, 30], [128, 30], [128, 70], [100, 70]]") == {"blue car"}


def test_near(catalog: Path) -> None:
    # the last car is 2 px from the dog, of a diagonal of 200 px
    assert search(catalog, "--near", "test#2") == {"blue car"}
    assert search(catalog, "--near", 2, "--within", 0.005) == set()
    assert search(catalog, "--near", 1) == {"dog"}
    assert search(catalog, "--near", 1, "--within", 0.3) == {"dog", "cat"}
    assert search(catalog, "--near", 1, "--within", 0.3, "--to", 0.1) == {"cat"}
    assert search(catalog, "--near", 1, "--within", 1, "--limit", 1) == {"dog"}


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ConfigError, "write FILE:NAME", ["--zone", "left"]),
        (ConfigError, "no zone 'lefd'; did you mean 'left'", ["--zone", "RULES:lefd"]),
        (ConfigError, "no such", ["--zone", "nowhere.yaml:left"]),
        (ConfigError, "3 at least", ["--zone", "[[0, 0], [1, 1]]"]),
        (ConfigError, "crosses", ["--zone", "[[0, 0], [1, 1], [1, 0], [0, 0.9]]"]),
        (ConfigError, "outside", ["--zone", "[[0, 0], [999, 0], [0, 99]]"]),
        (ConfigError, "--zone", ["--zone", "[1, 2"]),
        (ConfigError, "STREAM#ID", ["--near", "gate"]),
        (InputError, "no masks of such a track", ["--near", "9"]),
        (InputError, "no stream 'tset'; did you mean 'test'", ["--near", "tset#1"]),
    ],
)
def test_mistakes(
    error: type[StreamerError], match: str, arguments: list[str], catalog: Path
) -> None:
    arguments = [a.replace("RULES", str(catalog.parent / "rules.yaml")) for a in arguments]
    with pytest.raises(error, match=match):
        search(catalog, *arguments)


def test_a_catalog_without_masks(tmp_path: Path) -> None:
    sink = Catalog(str(tmp_path / "a.sqlite"), masks=False)
    sink.open([STREAM])
    sink.write(caption(0.0, 1.0))
    sink.close()
    with pytest.raises(InputError, match="keeps no masks"):
        search(tmp_path / "a.sqlite", "--near", "1")
