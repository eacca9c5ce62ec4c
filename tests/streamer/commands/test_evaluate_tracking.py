"""Annotated folders in the three layouts, and a clear error for each wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from streamer.commands.evaluate_tracking import evaluate_tracking
from streamer.commands.sequences import BoxSequence, MaskSequence, find_sequences
from streamer.errors import InputError

HW = (120, 200)
COLOURS = {1: (200, 40, 40), 2: (40, 60, 210)}


def boxes(index: int) -> dict[int, tuple[int, int, int, int]]:
    """x, y, width, height: one from the start on, the other from picture 4 on."""
    found = {1: (20 + 3 * index, 20, 40, 30)}
    return found if index < 4 else {**found, 2: (140 - 3 * index, 70, 30, 36)}


def picture(index: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    image = cv2.resize(rng.normal(120, 15, (6, 10, 3)).astype(np.float32), HW[::-1])
    labels = np.zeros(HW, np.uint8)
    for key, (x, y, w, h) in boxes(index).items():
        image[y : y + h, x : x + w] = COLOURS[key]
        image[y + 6 : y + 12, x + 6 : x + 14] = 20
        labels[y : y + h, x : x + w] = key
    return np.clip(image, 0, 255).astype(np.uint8), labels


def save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image)
    if image.ndim == 2:
        picture = picture.convert("P")
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    picture.save(path, quality=95) if path.suffix == ".jpg" else picture.save(path)


def davis(folder: Path, *, masks: tuple[int, ...] = tuple(range(10)), between: str = "") -> Path:
    for i in range(10):
        image, labels = picture(i)
        save(image, folder / "JPEGImages" / between / "two" / f"{i:05d}.jpg")
        if i in masks:
            save(labels, folder / "Annotations" / between / "two" / f"{i:05d}.png")
    return folder


def mot(folder: Path, n: int = 20) -> Path:
    lines = []
    for i in range(n):
        save(picture(i)[0], folder / "img1" / f"{i + 1:06d}.jpg")
        lines += [f"{i + 1},{key},{x},{y},{w},{h},1,1,1" for key, (x, y, w, h) in boxes(i).items()]
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
    return folder


def score(folder: Path, tmp_path: Path, **options: object) -> dict[str, object]:
    settings = {"names": None, "there_and_back": False, "work_height_px": 120, **options}
    path = tmp_path / "figures.json"
    assert evaluate_tracking(folder, json_path=path, quiet=True, **settings) == 0  # type: ignore
    return json.loads(path.read_text())


@pytest.mark.parametrize("between", ["", "480p"])
def test_davis_layout_with_an_object_that_appears_later(tmp_path: Path, between: str) -> None:
    (sequence,) = find_sequences(davis(tmp_path / "d", between=between))
    assert isinstance(sequence, MaskSequence)
    assert (sequence.name, len(sequence.pictures), sequence.dense) == ("two", 10, True)
    np.testing.assert_array_equal(sequence.labels(7), picture(7)[1])
    result = score(tmp_path / "d", tmp_path)
    (row,) = result["sequences"]  # type: ignore[misc]
    assert set(row["objects"]) == {"1", "2"}
    assert row["j"] > 0.9
    assert row["jf"] == pytest.approx((row["j"] + row["f"]) / 2)


def test_masks_of_some_pictures_beside_them_in_one_folder(tmp_path: Path) -> None:
    source = davis(tmp_path / "d", masks=(0, 4, 9))
    folder = tmp_path / "judo"
    folder.mkdir()
    for file in source.rglob("*.*"):
        file.rename(folder / file.name)
    (sequence,) = find_sequences(folder)
    assert isinstance(sequence, MaskSequence)
    assert (sorted(sequence.masks), len(sequence.pictures)) == ([0, 4, 9], 10)
    (row,) = score(folder, tmp_path)["sequences"]  # type: ignore[misc]
    assert row["objects"]["1"]["j"] > 0.9
    assert row["objects"]["2"]["j"] > 0.9


def test_one_mask_alone_is_compared_by_playing_back(tmp_path: Path) -> None:
    folder = davis(tmp_path / "d", masks=(0,))
    assert score(folder, tmp_path)["all"]["j"] is None  # type: ignore[index]
    back = score(folder, tmp_path, there_and_back=True)["all"]
    assert back["j"] > 0.9  # type: ignore[index]


def test_mot_text(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    mot(folder / "seq")
    (sequence,) = find_sequences(folder)
    assert isinstance(sequence, BoxSequence)
    assert sequence.fps == 25
    assert sequence.boxes[5][1].tolist() == [2, 125, 70, 155, 106, 1]
    (row,) = score(folder, tmp_path)["sequences"]  # type: ignore[misc]
    assert (row["objects"], row["tracks"], row["id_switches"], row["false_tracks"]) == (2, 2, 0, 0)
    # a track needs three searches, of which there is one in five pictures
    assert row["idf1"] >= 0.5


def test_ignored_boxes_are_neither_hits_nor_misses(tmp_path: Path) -> None:
    folder = mot(tmp_path / "seq")
    text = (folder / "gt" / "gt.txt").read_text().splitlines()
    kept = [",".join([*f[:6], "0", *f[7:]]) if f[1] == "2" else ",".join(f) for f in
            (line.split(",") for line in text)]  # fmt: skip
    (folder / "gt" / "gt.txt").write_text("\n".join(kept))
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=12.5\n")
    assert find_sequences(folder)[0].fps == 12.5  # type: ignore[union-attr]
    (row,) = score(folder, tmp_path)["sequences"]  # type: ignore[misc]
    assert (row["objects"], row["false_tracks"]) == (1, 0)


def test_only_the_listed_sequences(tmp_path: Path) -> None:
    folder = davis(tmp_path / "d")
    names = tmp_path / "val.txt"
    names.write_text("two\n")
    assert len(score(folder, tmp_path, names=names)["sequences"]) == 1  # type: ignore[arg-type]
    names.write_text("three\n")
    with pytest.raises(InputError, match="there is no sequence three"):
        score(folder, tmp_path, names=names)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "no such folder"),
        ("empty", "has no sequence with its truth; wanted are JPEGImages"),
        ("no masks", "has JPEGImages but no Annotations"),
        ("stray mask", "has no picture of that name"),
        ("no pictures", "there is no .*JPEGImages.two"),
        ("size", "99x120 px, its picture 200x120"),
        ("colours", "is a picture of mode RGB, no mask"),
        ("broken mask", "cannot be read as a mask"),
        ("broken picture", "cannot be read as a picture"),
        ("background", "all background"),
    ],
)
def test_wrong_mask_folders(tmp_path: Path, damage: str, message: str) -> None:
    folder = davis(tmp_path / "d")
    masks = folder / "Annotations" / "two"
    if damage == "missing":
        folder = tmp_path / "nowhere"
    elif damage == "empty":
        (tmp_path / "none").mkdir()
        folder = tmp_path / "none"
    elif damage == "no masks":
        (folder / "Annotations").rename(tmp_path / "away")
    elif damage == "stray mask":
        save(picture(0)[1], masks / "00777.png")
    elif damage == "no pictures":
        (folder / "JPEGImages" / "two").rename(folder / "JPEGImages" / "too")
    elif damage == "size":
        save(picture(3)[1][:, :99], masks / "00003.png")
    elif damage == "colours":
        save(picture(3)[0], masks / "00003.png")
    elif damage == "broken mask":
        (masks / "00003.png").write_bytes(b"nothing")
    elif damage == "broken picture":
        file = folder / "JPEGImages" / "two" / "00005.jpg"
        file.write_bytes(file.read_bytes()[:400])
    elif damage == "background":
        for i in range(10):
            save(np.zeros(HW, np.uint8), masks / f"{i:05d}.png")
    with pytest.raises(InputError, match=message):
        score(folder, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3\n", "line 1: '1,2,3' is not frame,id"),
        ("1,1,5,5,9,9,1\nx,1,5,5,9,9,1\n", "line 2"),
        ("99,1,5,5,9,9,1\n", "frame 99, but img1 has frames 1 to 20"),
        ("1,1,5,5,9,9,1\n1,1,6,6,9,9,1\n", "an id comes twice"),
        ("", "has no boxes"),
    ],
)
def test_wrong_mot_text(tmp_path: Path, text: str, message: str) -> None:
    folder = mot(tmp_path / "seq")
    (folder / "gt" / "gt.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        score(folder, tmp_path)


def test_a_part_of_the_mot_layout_is_lacking(tmp_path: Path) -> None:
    folder = mot(tmp_path / "seq")
    (folder / "gt" / "gt.txt").unlink()
    with pytest.raises(InputError, match=r"no gt/gt\.txt beside img1"):
        find_sequences(folder)


def test_judo(media_dir: Path, tmp_path: Path) -> None:
    """Real footage, one annotated person at a time; those who stand come back to their mask."""
    result = score(media_dir / "annotated", tmp_path, there_and_back=True, work_height_px=360)[
        "all"
    ]
    assert result["j"] > 0.8  # type: ignore[index]
