"""Parquet, COCO, MOT and crops, read back with the tools they are for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.export import export
from streamer.commands.sequences import BoxSequence, find_sequences
from streamer.errors import ConfigError, OutputError
from streamer.records import Caption, Event, Record, TrackedFrame
from streamer.sinks import parquet
from streamer.sinks.coco import Coco
from streamer.sinks.crops import Crops
from streamer.sinks.jsonl import JsonLines
from streamer.sinks.jsonl import Tracks as TrackLines
from streamer.sinks.mot import Mot
from streamer.sinks.views import folder_of
from streamer.testing import check_sink
from tests.streamer.sinks.sink_records import (
    STREAM,
    caption,
    event,
    numbered_frames,
    region,
    tracked,
)


def a_run() -> list[Record]:
    """Eight frames; track 1 moves through them, track 2 is in the last four."""
    records: list[Record] = []
    for n, frame in enumerate(numbered_frames(8)):
        regions = [region((10 + 10 * n, 20, 50 + 10 * n, 60))]
        if n >= 4:
            regions.append(region((100, 80, 130, 110), track_id=2))
        records.append(tracked(frame, *regions) if n else tracked(frame))
    records.append(caption(0.04, 0.2, "a red car"))
    records.append(caption(0.2, None, "a blue dog"))
    records.append(caption(0.2, 0.28, "a blue dog"))
    records.append(event(0.28, "track_end", 1, frames=7))
    return records


def of(*kinds: type) -> list[Any]:
    return [record for record in a_run() if isinstance(record, kinds)]


def test_records_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.parquet"
    made = check_sink(
        lambda: parquet.Records(str(path)), [STREAM], of(Caption, Event),
        lambda: pq.read_table(path).to_pylist(),
    )  # fmt: skip
    wanted = [r for r in of(Caption, Event) if isinstance(r, Event) or r.end_ns is not None]
    assert [(row["id"], row["record"]) for row in made] == [
        (r.id, r.to_json()["record"]) for r in wanted
    ]
    assert made[0]["text"] == "a red car"
    assert made[0]["mask_counts"] == wanted[0].mask.counts
    assert json.loads(made[-1]["data"]) == {"frames": 7}
    assert pq.read_schema(path).metadata[b"streamer.schema"] == b"1"
    assert not path.with_name("a.parquet.parts").exists()


def test_tracks_in_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    monkeypatch.setattr(parquet, "_PART_ROWS", 3)
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 5)
    made = check_sink(
        lambda: parquet.Tracks(str(path)), [STREAM], of(TrackedFrame),
        lambda: pq.read_table(path).to_pylist(),
    )  # fmt: skip
    assert [(row["frame_index"], row["track_id"]) for row in made] == [
        (t.frame.index, r.track_id) for t in of(TrackedFrame) for r in t.regions
    ]
    assert [made[0][k] for k in ("x0_px", "y0_px", "x1_px", "y1_px")] == [20, 20, 60, 60]
    assert pq.ParquetFile(path).num_row_groups == 3


def test_nothing_to_write_is_a_table_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    sink = parquet.Records(str(path))
    sink.open([STREAM])
    sink.close()
    assert pq.read_table(path).num_rows == 0


_WRITES_FOR_EVER = """
import sys
from streamer.sinks import parquet
from tests.streamer.sinks.sink_records import STREAM, event
parquet._PART_ROWS = 50
sink = parquet.Records(sys.argv[1])
sink.open([STREAM])
for n in range(10**6):
    sink.write(event(n, "cut"))
    print(n, flush=True)
"""


def test_what_a_killed_process_wrote_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITES_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and int(line) < 180:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists()
    table = pq.read_table(path.with_name("a.parquet.parts"))
    assert table.num_rows >= 150
    assert table.num_rows % 50 == 0
    assert table["time_ns"].to_pylist() == [n * 10**9 for n in range(table.num_rows)]


def test_coco(tmp_path: Path) -> None:
    path = tmp_path / "a.coco.json"
    text = check_sink(
        lambda: Coco(str(path), pictures=True), [STREAM], of(TrackedFrame, Caption), path.read_text
    )
    coco = COCO(str(path))
    assert len(coco.imgs) == 8
    assert len(coco.anns) == 7 + 4
    names = {c["id"]: c["name"] for c in coco.cats.values()}
    assert {(a["track_id"], names[a["category_id"]]) for a in coco.anns.values()} == {
        (1, "dog"), (2, "object"),
    }  # fmt: skip
    regions = [(t.frame.index, r) for t in of(TrackedFrame) for r in t.regions]
    for annotation, (index, given) in zip(coco.anns.values(), regions, strict=True):
        assert (coco.annToMask(annotation) == given.mask.decode()).all()
        assert annotation["area"] == given.mask.area_px
        image = coco.imgs[annotation["image_id"]]
        assert image["frame_index"] == index
        shown = Image.open(tmp_path / "a.coco.images" / image["file_name"])
        assert shown.size == (image["width"], image["height"]) == (160, 120)
    assert json.loads(text)["info"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.coco.images", "a.coco.json"]
    results = [{**a, "score": 0.9} for a in coco.anns.values()]
    assert len(coco.loadRes(results).anns) == 11


def test_mot_is_read_by_the_evaluation(tmp_path: Path) -> None:
    def read_back() -> list[Any]:
        (sequence,) = find_sequences(tmp_path / "mot")
        assert isinstance(sequence, BoxSequence)
        return [
            sequence.name, len(sequence.pictures), sequence.fps,
            {frame: rows.tolist() for frame, rows in sequence.boxes.items()},
        ]  # fmt: skip

    make = lambda: Mot(str(tmp_path / "mot"), pictures=True)  # noqa: E731
    name, pictures, fps, boxes = check_sink(make, [STREAM], of(TrackedFrame), read_back)
    assert (name, pictures, fps) == ("test", 8, 25.0)
    assert boxes == {
        n: [[r.track_id, *map(float, r.box_xyxy), 1.0] for r in t.regions]
        for n, t in enumerate(of(TrackedFrame))
        if t.regions
    }


@pytest.mark.parametrize("format", ["jpg", "png"])
def test_crops(tmp_path: Path, format: str) -> None:
    def read_back() -> dict[str, tuple[int, int]]:
        return {
            str(p.relative_to(tmp_path)): Image.open(p).size for p in tmp_path.rglob(f"*.{format}")
        }

    def make() -> Crops:
        return Crops(str(tmp_path / "crops"), format=format, margin=0.25)

    sizes = check_sink(make, [STREAM], of(TrackedFrame, Event), read_back)
    # 40 px and 10 px around; 30 px, 8 px around but for the picture's edge
    assert sizes == {f"crops/test/00001.{format}": (60, 60), f"crops/test/00002.{format}": (46, 46)}
    frame = numbered_frames(2)[1]
    shown = np.asarray(Image.open(tmp_path / "crops" / "test" / f"00001.{format}").convert("RGB"))
    difference = np.abs(shown.astype(int) - frame.image[10:70, 10:70]).mean()
    assert difference < (0.01 if format == "png" else 6)


def test_the_best_view_is_taken_and_cut_out(tmp_path: Path) -> None:
    frames = numbered_frames(4)
    boxes = [(60, 40, 70, 50), (60, 40, 100, 80), (0, 0, 60, 60), (60, 40, 65, 45)]
    sink = Crops(str(tmp_path), format="png", margin=0.0, cut_out=True)
    sink.open([STREAM])
    for frame, box in zip(frames, boxes, strict=True):
        sink.write(tracked(frame, region(box)))  # type: ignore[arg-type]
    sink.write(event(1.0, "track_end", 1))
    picture = np.asarray(Image.open(tmp_path / "test" / "00001.png"))
    assert picture.shape == (40, 40, 4)
    assert (picture[..., 3] == 255).all()
    assert (picture[..., :3] == frames[1].image[40:80, 60:100]).all()
    sink.close()


def test_a_new_run_replaces_the_pictures_of_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    (folder / "00009.jpg").touch()
    (folder / "mine.jpg").touch()
    sink = Crops(str(tmp_path))
    sink.open([STREAM])
    sink.write(tracked(numbered_frames(1)[0], region((1, 1, 30, 30))))
    sink.close()
    assert sorted(p.name for p in folder.iterdir()) == ["00001.jpg", "mine.jpg"]


def test_streams_have_folders_that_lead_nowhere_else(tmp_path: Path) -> None:
    for name in ("../../etc/x", "/etc/x", "..", "a/b", "a\0b", "x" * 300, "", "ü.b"):
        folder = folder_of(name)
        assert "/" not in folder
        assert folder.strip(".")
        assert len(folder) < 100
        frame = replace(numbered_frames(1)[0], stream_id=name)
        for sink in (Crops(str(tmp_path / "c")), Mot(str(tmp_path / "m"), pictures=True)):
            sink.open([])
            sink.write(tracked(frame, region((1, 1, 30, 30))))
            sink.close()
    assert folder_of("a/b") != folder_of("a_b") == "a_b"
    assert sorted(os.listdir(tmp_path)) == ["c", "m"]
    assert len(os.listdir(tmp_path / "c")) == len(os.listdir(tmp_path / "m")) == 8


@pytest.mark.parametrize("make", [Crops, Mot, Coco, parquet.Records, parquet.Tracks])
def test_outputs_that_cannot_be_written(make: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        make(str(tmp_path / "file" / "a")).open([STREAM])
    assert "\n" not in str(caught.value)


def test_stored_tracks_are_exported_by_the_command(tmp_path: Path) -> None:
    for sink, kinds in (
        (TrackLines(str(tmp_path / "out" / "a.tracks.jsonl")), (TrackedFrame,)),
        (JsonLines(str(tmp_path / "out" / "a.jsonl")), (Caption, Event)),
    ):
        sink.open([STREAM])
        for record in of(*kinds):
            sink.write(record)
        sink.close()
    paths = {name: tmp_path / name for name in ("c.json", "mot", "tables")}
    export(tmp_path / "out", coco=paths["c.json"], mot=paths["mot"], parquet=paths["tables"])
    coco = COCO(str(tmp_path / "c.json"))
    assert {(i["width"], i["height"]) for i in coco.imgs.values()} == {(160, 120)}
    assert len(coco.anns) == 11
    rows = (tmp_path / "mot" / "test" / "gt" / "gt.txt").read_text().splitlines()
    assert rows[0] == "2,1,20,20,40,40,1,1,1"
    assert len(rows) == 11
    assert pq.read_table(tmp_path / "tables" / "tracks.parquet").num_rows == 11
    assert pq.read_table(tmp_path / "tables" / "records.parquet").num_rows == 3
    nothing = CliRunner().invoke(app, ["export", str(tmp_path / "out")])
    assert isinstance(nothing.exception, ConfigError)
    assert "nothing to write" in str(nothing.exception)
