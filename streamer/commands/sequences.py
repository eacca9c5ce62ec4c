"""Folders of pictures with their truth beside them: masks in DAVIS layout, boxes as MOT text."""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamer.errors import InputError

_PICTURES = {".jpg", ".jpeg", ".png"}
_LAYOUTS = (
    "wanted are JPEGImages/NAME/*.jpg with Annotations/NAME/*.png (indexed masks), or pictures and "
    "masks of the same names in one folder (*.jpg, *.png), or NAME/img1/*.jpg with NAME/gt/gt.txt"
)


@dataclass(frozen=True, kw_only=True)
class MaskSequence:
    """Pictures in order, and the mask files by the index of their picture."""

    name: str
    pictures: tuple[Path, ...]
    masks: dict[int, Path]

    @property
    def dense(self) -> bool:
        """Whether every picture has its mask."""
        return len(self.masks) == len(self.pictures)

    def labels(self, index: int) -> NDArray[np.uint8]:
        """HxW ids of the objects in a picture that has a mask; 0 is background.

        Raises:
            InputError: when the file is no mask, or of another size than its picture.
        """
        file = self.masks[index]
        wanted = _read(self.pictures[index]).size
        try:
            with Image.open(file) as opened:
                if opened.mode not in ("P", "L", "1"):
                    raise InputError(
                        f"{file} is a picture of mode {opened.mode}, no mask; masks are indexed or "
                        "grayscale PNG files whose values are object ids"
                    )
                mask = opened.convert("L") if opened.mode == "1" else opened.copy()
        except (OSError, SyntaxError) as error:
            raise InputError(f"{file} cannot be read as a mask ({error}); replace it") from None
        # some annotations are a pixel narrower than their pictures
        if max(abs(a - b) for a, b in zip(mask.size, wanted, strict=True)) > 1:
            raise InputError(
                f"{file} has {mask.size[0]}x{mask.size[1]} px, its picture {wanted[0]}x{wanted[1]};"
                " give both at one size"
            )
        return np.array(mask.resize(wanted, Image.Resampling.NEAREST), np.uint8)


@dataclass(frozen=True, kw_only=True)
class BoxSequence:
    """Pictures in order, and their boxes: for the index of a picture, rows of id, x0, y0, x1, y1
    and 1 where the row counts (0: neither a hit nor a miss)."""

    name: str
    pictures: tuple[Path, ...]
    boxes: dict[int, NDArray[np.float64]]
    fps: float


def find_sequences(folder: Path) -> list[MaskSequence] | list[BoxSequence]:
    """The sequences of a folder in one of the three layouts, in the order of their names.

    Raises:
        InputError: when it has none, or one of them is not whole.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with pictures and their truth")
    mot = [d for d in (folder, *_folders(folder)) if (d / "gt").is_dir() or (d / "img1").is_dir()]
    if mot:
        return [_box_sequence(d) for d in mot]
    pictures, masks = folder / "JPEGImages", folder / "Annotations"
    if pictures.is_dir() != masks.is_dir():
        there, lacking = (pictures, masks) if pictures.is_dir() else (masks, pictures)
        raise InputError(f"{folder} has {there.name} but no {lacking.name}; {_LAYOUTS}")
    if pictures.is_dir():
        pictures, masks = _resolution(pictures), _resolution(masks)
        found = [_mask_sequence(d.name, pictures / d.name, d) for d in _folders(masks) if _files(d)]
    else:
        places = [folder, *_folders(folder)]
        found = [_mask_sequence(d.name, d, d) for d in places if _both(d)]
    if not found:
        raise InputError(f"{folder} has no sequence with its truth; {_LAYOUTS}")
    return found


def pictures(files: Iterable[Path]) -> Iterator[NDArray[np.uint8]]:
    """The pictures as HxWx3 uint8 RGB.

    Raises:
        InputError: when one cannot be read.
    """
    return (np.array(_read(file), np.uint8) for file in files)


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as opened:
            picture: Image.Image = opened.convert("RGB")
            return picture
    except (OSError, SyntaxError) as error:
        raise InputError(f"{file} cannot be read as a picture ({error}); replace it") from None


def _folders(folder: Path) -> list[Path]:
    return sorted(d for d in folder.iterdir() if d.is_dir())


def _files(folder: Path, *endings: str) -> list[Path]:
    wanted = set(endings) or _PICTURES
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in wanted)


def _both(folder: Path) -> bool:
    return bool(_files(folder, ".jpg", ".jpeg") and _files(folder, ".png"))


def _resolution(folder: Path) -> Path:
    """DAVIS-2016 and 2017 put a folder of the resolution between: 480p where there are several."""
    inner = _folders(folder)
    if not inner or any(_files(d) for d in inner):
        return folder
    return next((d for d in inner if d.name == "480p"), inner[0])


def _mask_sequence(name: str, picture_dir: Path, mask_dir: Path) -> MaskSequence:
    if not picture_dir.is_dir():
        raise InputError(f"{mask_dir} has masks, but there is no {picture_dir} with their pictures")
    same = picture_dir == mask_dir
    shown = _files(picture_dir, ".jpg", ".jpeg") if same else _files(picture_dir)
    index = {file.stem: i for i, file in enumerate(shown)}
    files = _files(mask_dir, ".png")
    for file in files:
        if file.stem not in index:
            raise InputError(f"{file}: {picture_dir} has no picture of that name; add it")
    if not files:
        raise InputError(f"{mask_dir} has no masks (*.png)")
    return MaskSequence(
        name=name, pictures=tuple(shown), masks={index[file.stem]: file for file in files}
    )


def _box_sequence(folder: Path) -> BoxSequence:
    truth, shown = folder / "gt" / "gt.txt", folder / "img1"
    if not truth.is_file():
        raise InputError(f"{folder} has no gt/gt.txt beside img1; {_LAYOUTS}")
    if not shown.is_dir() or not _files(shown):
        raise InputError(f"{folder} has no pictures in img1 for gt/gt.txt; {_LAYOUTS}")
    files = tuple(_files(shown))
    rows: dict[int, list[list[float]]] = {}
    for number, line in enumerate(truth.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            frame, key, x, y, width, height, *rest = (float(v) for v in line.split(","))
        except ValueError:
            raise InputError(
                f"{truth}, line {number}: {line[:60]!r} is not frame,id,x,y,width,height,..."
            ) from None
        if not 1 <= frame <= len(files) or frame % 1:
            raise InputError(
                f"{truth}, line {number}: frame {frame:g}, but img1 has frames 1 to {len(files)}"
            )
        counts = 0.0 if rest and rest[0] == 0 else 1.0
        row = [key, x, y, x + width, y + height, counts]
        rows.setdefault(int(frame) - 1, []).append(row)
    if not rows:
        raise InputError(f"{truth} has no boxes")
    boxes = {index: np.array(found) for index, found in rows.items()}
    return BoxSequence(name=folder.name, pictures=files, boxes=boxes, fps=_fps(folder))


def _fps(folder: Path) -> float:
    """The rate that seqinfo.ini names; 25 without it."""
    file = folder / "seqinfo.ini"
    if not file.is_file():
        return 25.0
    info = configparser.ConfigParser()
    try:
        info.read(file, encoding="utf-8")
        fps = info.getfloat("Sequence", "frameRate", fallback=25.0)
    except (configparser.Error, ValueError) as error:
        raise InputError(f"{file}: {str(error).splitlines()[0]}; mend or remove it") from None
    if not fps > 0:
        raise InputError(f"{file}: frameRate is {fps:g}; wanted more than 0")
    return fps
