"""The whole run on small pictures: stopped anywhere it goes on; the command line; exact truth."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("pyvips")

import pyvips

from model.synthetic.scroll import Scroll, write_scroll
from operators.canvas import TrackCanvas
from streamer.cli import app
from streamer.errors import ConfigError
from streamer.executors.resumable import run_resumable
from streamer.interfaces import Sink
from streamer.pipeline import Output, Pipeline, Step
from streamer.records import CaptionRequest, Event, StreamInfo
from streamer.report import Tally
from streamer.scroll.findings import Findings
from streamer.scroll.score import score_scroll
from streamer.sources.canvas import Canvas
from streamer.sources.pan_image import PanImage
from streamer.testing import ListSource


class Told(Sink[Event]):
    """Keeps events, and asks for a stop after so many regions."""

    def __init__(self, events: list[Event], stop: threading.Event, after: int) -> None:
        self.events, self.stop, self.after = events, stop, after

    def open(self, streams: Sequence[StreamInfo]) -> None:
        self.events.clear()

    def write(self, record: Event) -> None:
        self.events.append(record)
        if sum(event.kind == "region" for event in self.events) >= self.after:
            self.stop.set()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "boxes.png"
    rng = np.random.default_rng(2)
    image = np.full((120, 1500, 3), 200, np.float32) + rng.normal(0, 1.5, (120, 1500, 3))
    for i in range(9):
        x, y = 30 + 160 * i, 20 + 25 * (i % 3)
        cv2.rectangle(image, (x, y), (x + 44, y + 36), (180, 30 + 20 * i, 30), -1)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)
    return str(path)


def walk(picture: str, folder: Path, *, after: int = 99, key: str = "a") -> tuple[list[Event], int]:
    events: list[Event] = []
    stop = threading.Event()
    pipeline = Pipeline(
        make_source=partial(PanImage, picture, window_width=256, window_height=144),
        steps=(Step(name="track", operator=TrackCanvas, make=partial(TrackCanvas, picture)),),
        outputs=(
            Output(
                name="told", sink=Told, make=partial(Told, events, stop, after), inputs=("track",)
            ),
        ),
    )
    report = run_resumable(pipeline, folder, key=key, tally=Tally(), stop=stop)
    return events, report.frames


def test_stopped_and_gone_on_gives_the_same(tmp_path: Path, picture: str) -> None:
    whole, frames = walk(picture, tmp_path / "whole")
    assert sum(event.kind == "region" for event in whole) == 9
    seen = 0
    for after in (2, 5, 99):
        events, read = walk(picture, tmp_path / "parts", after=after)
        seen += read
        if after < 99:
            assert not any(event.kind == "stream_end" for event in events)
    assert [e.to_json() for e in events] == [e.to_json() for e in whole]
    assert seen == frames  # no window was looked at twice
    again, read = walk(picture, tmp_path / "parts")
    assert read == 0
    assert [e.id for e in again] == [e.id for e in whole]


def test_a_crash_goes_back_to_what_was_saved(tmp_path: Path, picture: str) -> None:
    whole, _ = walk(picture, tmp_path / "whole")
    walk(picture, tmp_path / "parts", after=3)
    journal = tmp_path / "parts" / "journal.jsonl"
    with journal.open("a") as file:  # written after the last saved position, and torn
        file.write('{"step": "track", "data": {"record": "ev')
    events, _ = walk(picture, tmp_path / "parts")
    assert [e.to_json() for e in events] == [e.to_json() for e in whole]


@pytest.mark.parametrize("damage", ["state", "journal", "other work"])
def test_what_does_not_belong_to_it_is_thrown_away(
    tmp_path: Path, picture: str, damage: str
) -> None:
    whole, frames = walk(picture, tmp_path / "whole")
    folder = tmp_path / "parts"
    walk(picture, folder, after=3)
    if damage == "state":
        (folder / "state.pickle").write_bytes(b"no pickle")
    elif damage == "journal":
        (folder / "journal.jsonl").write_bytes(b"")
    events, read = walk(picture, folder, key="b" if damage == "other work" else "a")
    assert read == frames
    assert [e.to_json() for e in events] == [e.to_json() for e in whole]


def test_only_sources_that_can_skip(tmp_path: Path, picture: str) -> None:
    pipeline = Pipeline(
        make_source=partial(ListSource, []),
        steps=(Step(name="track", operator=TrackCanvas, make=partial(TrackCanvas, picture)),),
        outputs=(
            Output(
                name="told", sink=Told, make=partial(Told, [], threading.Event(), 9),
                inputs=("track",),
            ),
        ),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="middle"):
        run_resumable(pipeline, tmp_path, key="a", tally=Tally(), stop=threading.Event())


def test_a_synthetic_scroll_is_exact_and_found(tmp_path: Path) -> None:
    path = tmp_path / "scroll.tif"
    scroll = Scroll(4, width_px=3000, height_px=400, objects=14, short_side_px=(40.0, 110.0))
    truth = write_scroll(scroll, path)
    canvas = Canvas(str(path))
    assert canvas.hw == (400, 3000)
    assert len(canvas.level_widths_px) > 3
    # a block is the same whether it is drawn alone or after others
    again = Scroll(4, width_px=3000, height_px=400, objects=14, short_side_px=(40.0, 110.0))
    assert (again.block(1) == list(scroll.blocks())[1]).all()
    part = canvas.window(2048, 0, 900, 400, (400, 900))
    assert np.abs(part.astype(int) - again.block(1)[:, :900]).mean() < 4
    source = PanImage(str(path), window_width=640, window_height=360)
    source.open()
    operator = TrackCanvas(str(path))
    operator.setup()
    findings = Findings()
    for record in [r for item in source.read() for r in operator.process([item])]:
        if not isinstance(record, CaptionRequest):
            findings.add(record)
    for record in operator.flush(source.stream_id):
        if not isinstance(record, CaptionRequest):
            findings.add(record)
    result = score_scroll(findings.all(), truth)
    assert result["judged"] >= 12
    assert result["found"] >= 0.85 * result["judged"]
    assert result["median_iou"] > 0.85
    assert (result["doubled"], result["split"], result["cut"]) == (0, 0, 0)


def test_plan_draws_and_runs_nothing(tmp_path: Path, picture: str) -> None:
    result = CliRunner().invoke(app, ["scroll", picture, "--plan", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "right_to_left over 1500x120 px" in result.output
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["plan.png"]
    with Image.open(tmp_path / "out" / "plan.png") as plan:
        assert plan.width == 1500


def test_the_command_runs_it_all(tmp_path: Path, picture: str) -> None:
    out = tmp_path / "out"
    settings = [
        "caption.detail_prompt=''", "outputs.film_width=256", "outputs.film_height=144",
        "outputs.fps=4", "source.speed_px_s=800", "source.opening_s=0.5",
    ]  # fmt: skip
    flags = [flag for setting in settings for flag in ("--set", setting)]
    result = CliRunner().invoke(
        app, ["scroll", picture, "-o", str(out), "-q", "--json", str(tmp_path / "r.json"), *flags]
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["regions"], report["captions"]) == (9, 9)
    lines = [json.loads(line) for line in (out / "regions.jsonl").read_text().splitlines()]
    assert [line["region_id"] for line in lines] == list(range(1, 10))
    assert all(line["text"] for line in lines)
    for name in ("walk.mp4", "manifest.json", "narration.vtt", "page/index.html", "picture.jpg"):
        assert (out / name).stat().st_size > 0
    assert (out / "narration.vtt").read_text().startswith("WEBVTT")


def test_a_damaged_place_is_left_out_and_grey(tmp_path: Path) -> None:
    path = tmp_path / "hurt.tif"
    image = pyvips.Image.new_from_array(np.full((200, 20000, 3), 200, np.uint8))
    image.copy(interpretation="srgb").tiffsave(
        str(path), tile=True, tile_width=256, tile_height=256, pyramid=True, compression="jpeg"
    )
    with Image.open(path) as opened:
        start, length = opened.tag_v2[324][20], opened.tag_v2[325][20]  # of the tile at 5120, 0
    data = bytearray(path.read_bytes())
    data[start : start + length] = bytes((37 * i) % 251 for i in range(length))
    path.write_bytes(data)
    out = tmp_path / "out"
    settings = [
        "outputs.film_width=320", "outputs.film_height=64", "outputs.fps=1",
        "source.speed_px_s=2000",
    ]  # fmt: skip
    flags = [flag for setting in settings for flag in ("--set", setting)]
    result = CliRunner().invoke(app, ["scroll", str(path), "-o", str(out), "-q", *flags])
    assert result.exit_code == 3, result.output
    assert "decompress error" in " ".join(result.output.split())
    assert (out / "walk.mp4").stat().st_size > 0
    with Image.open(out / "page" / "tiles" / "15" / "10_0.jpg") as tile:  # 5120 .. 5632
        columns = np.asarray(tile).mean((0, 2))
    assert columns[10:246].mean() == pytest.approx(128, abs=3)
    assert columns[266:].mean() == pytest.approx(200, abs=3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.tif"], "no such picture"),
        (["text.tif"], "cannot be read as a picture"),
        (["ok.png", "--set", "source.walk=zigzag"], "zigzag"),
        (["ok.png", "--set", "source.waypoints=none.yaml"], "waypoints"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, picture: str, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tif").write_text("no picture")
    Image.new("RGB", (90, 30)).save(tmp_path / "ok.png")
    result = CliRunner().invoke(app, ["scroll", *arguments, "--plan"])
    assert result.exception is not None
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("line.png", (900, 1)),
        ("column.png", (1, 900)),
        ("dot.png", (1, 1)),
        ("small.png", (60, 40)),
        ("deep.png", (300, 100)),
        ("cmyk.jpg", (300, 100)),
        ("alpha.png", (300, 100)),
        ("grey.png", (300, 100)),
        ("turned.jpg", (300, 100)),
    ],
)
def test_odd_pictures_are_walked(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    modes = {"cmyk": "CMYK", "alpha": "RGBA", "grey": "L", "deep": "I;16"}
    image = Image.new(modes.get(name.partition(".")[0], "RGB"), size)
    exif = Image.Exif()
    if name.startswith("turned"):
        exif[0x0112] = 6  # a quarter turn
        size = size[::-1]
    image.save(tmp_path / name, **({"exif": exif} if name.endswith("jpg") else {}))
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["scroll", str(tmp_path / name), "--plan", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert f"over {size[0]}x{size[1]} px" in result.output
    assert (out / "plan.png").stat().st_size > 0
