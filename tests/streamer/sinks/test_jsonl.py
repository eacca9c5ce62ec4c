from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamer.errors import ContractError, OutputError
from streamer.mask import Mask
from streamer.records import Caption, Event
from streamer.sinks.jsonl import JsonLines, Tracks
from streamer.testing import check_sink
from tests.streamer.sinks.sink_records import (
    STREAM,
    caption,
    event,
    numbered_frames,
    region,
    tracked,
)

RECORDS: list[Caption | Event] = [
    caption(0.2),
    event(0.3, "cut"),
    caption(0.2, 1.0),
    event(1.0, "track_end", 1, start_ns=0, end_ns=10**9, frames=25),
    caption(1.5, text="ein „rotes“ Auto\nmit Dach"),
]


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_only_what_is_final_in_the_order_received(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.jsonl"
    found = check_sink(lambda: JsonLines(str(path)), [STREAM], RECORDS, lambda: lines(path))
    assert found == [r.to_json() for r in RECORDS[1:4]]


def test_partial_writes_a_caption_again_when_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    found = check_sink(
        lambda: JsonLines(str(path), partial=True), [STREAM], RECORDS, lambda: lines(path)
    )
    assert found == [r.to_json() for r in RECORDS]
    assert found[0]["id"] == found[2]["id"]
    assert [found[0]["end_ns"], found[2]["end_ns"]] == [None, 10**9]
    assert "„rotes“" in path.read_text(encoding="utf-8")


def test_lines_are_there_before_the_sink_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    sink = JsonLines(str(path))
    sink.open([STREAM])
    sink.write(RECORDS[1])
    assert len(lines(path)) == 1
    sink.close()


def test_a_crash_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    program = f"""
import os
from streamer.sinks.jsonl import JsonLines
from tests.streamer.sinks.sink_records import STREAM, caption
sink = JsonLines({str(path)!r})
sink.open([STREAM])
for second in range(50):
    sink.write(caption(second, second + 1, text="x" * 3000))
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    assert done.returncode == 9
    assert len(lines(path)) == 50


def test_a_new_run_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("from an earlier run\n")
    sink = JsonLines(str(path))
    sink.open([STREAM])
    assert path.read_text(), "nothing new yet, so the old is kept"
    sink.flush()
    sink.close()
    assert path.read_text() == ""


def test_regions_of_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first, second = numbered_frames(2)
    records = [tracked(first, region((10, 20, 30, 50), 4)), tracked(second)]
    found = check_sink(lambda: Tracks(str(path)), [STREAM], records, lambda: lines(path))
    assert [(r["frame_index"], r["time_ns"], len(r["regions"])) for r in found] == [
        (0, 0, 1),
        (1, 40_000_000, 0),
    ]
    (written,) = found[0]["regions"]
    assert (written["track_id"], written["box_xyxy"]) == (4, [10, 20, 30, 50])
    assert Mask.from_json(written["mask"]) == records[0].regions[0].mask


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; give the path of a file"):
        JsonLines(str(tmp_path)).open([STREAM])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        JsonLines(str(tmp_path / "file" / "a.jsonl")).open([STREAM])
    with pytest.raises(OutputError, match="cannot be written"):
        JsonLines("/proc/a.jsonl").open([STREAM])


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    sink = JsonLines("/dev/full")
    sink.open([STREAM])
    with pytest.raises(OutputError, match=r"/dev/full cannot be written \(No space left"):
        sink.write(RECORDS[1])


def test_a_pipe_will_do(tmp_path: Path) -> None:
    program = """
from streamer.sinks.jsonl import JsonLines
from tests.streamer.sinks.sink_records import STREAM, event
sink = JsonLines("/dev/stdout")
sink.open([STREAM])
sink.write(event(1, "cut"))
sink.flush()
sink.close()
"""
    if not os.path.exists("/dev/stdout"):
        pytest.skip("no /dev/stdout here")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == event(1, "cut").to_json()


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_data_that_is_not_json_names_its_record(tmp_path: Path, value: object) -> None:
    sink = JsonLines(str(tmp_path / "a.jsonl"))
    sink.open([STREAM])
    wrong = event(1, "sensor", value=value)
    with pytest.raises(ContractError, match=f"event {wrong.id} is not JSON"):
        sink.write(wrong)
    sink.close()
    assert lines(tmp_path / "a.jsonl") == []


def test_ids_are_not_remembered_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.sinks.jsonl._REMEMBERED", 10)
    sink = JsonLines(str(tmp_path / "a.jsonl"))
    sink.open([STREAM])
    for second in (*range(20), *range(10, 20)):
        sink.write(event(second, "cut"))
    sink.close()
    assert len(lines(tmp_path / "a.jsonl")) == 20
    assert len(sink._lines._written) == 10
