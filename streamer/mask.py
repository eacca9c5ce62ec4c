"""Masks travel as COCO run-length codes, never as dense arrays.

The coding is pycocotools' own (column-major runs, LEB128-like text), so files written here are
read by every COCO tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from streamer.geometry import BoxXYXY

BoolMask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A binary mask of `height_px` x `width_px` pixels as a COCO run-length code."""

    height_px: int
    width_px: int
    counts: str

    def __post_init__(self) -> None:
        if self.height_px <= 0 or self.width_px <= 0:
            raise ValueError(f"mask of {self.height_px}x{self.width_px} px has no pixels")
        if not isinstance(self.counts, str):
            raise TypeError("mask counts are the COCO run-length text (str)")

    @classmethod
    def encode(cls, dense: NDArray[Any]) -> Mask:
        """Encode a dense mask.

        Args:
            dense: HxW, bool or 0/1 integers; anything non-zero is inside.

        Raises:
            ValueError: when the array is not two-dimensional or has no pixels.
        """
        if dense.ndim != 2 or dense.size == 0:
            raise ValueError(f"a mask is a non-empty HxW array, not one of shape {dense.shape}")
        code = coco.encode(np.asfortranarray(dense.astype(bool), dtype=np.uint8))
        return cls(
            height_px=int(dense.shape[0]),
            width_px=int(dense.shape[1]),
            counts=code["counts"].decode("ascii"),
        )

    @classmethod
    def encode_box(cls, crop: NDArray[Any], x_px: int, y_px: int, hw: tuple[int, int]) -> Mask:
        """Encode a dense crop that lies at (x, y) in a picture of `hw` = (height, width) pixels;
        the same as `encode` on the whole picture, at the cost of the crop."""
        return cls.encode_boxes([(crop, x_px, y_px)], hw)[0]

    @classmethod
    def encode_boxes(
        cls, crops: Sequence[tuple[NDArray[Any], int, int]], hw: tuple[int, int]
    ) -> list[Mask]:
        """`encode_box` of many crops (dense, x, y) of one picture at once, which is much cheaper
        than one after the other."""
        height, width = hw
        changes: list[NDArray[np.int64]] = []
        for crop, x_px, y_px in crops:
            if not (0 <= x_px <= width - crop.shape[1] and 0 <= y_px <= height - crop.shape[0]):
                raise ValueError(f"a crop of {crop.shape} at ({x_px}, {y_px}) leaves {hw} px")
            framed = np.zeros((crop.shape[1], crop.shape[0] + 2), bool)
            framed[:, 1:-1] = crop.T
            # where a run begins or ends, counted in rows of the framed crop
            changes.append(np.flatnonzero(framed[:, 1:] != framed[:, :-1]))
        if not changes:
            return []
        sizes = np.array([len(places) for places in changes])
        rows, left, top = (
            np.repeat(of_crop, sizes)
            for of_crop in np.array([(crop.shape[0], x, y) for crop, x, y in crops]).T
        )
        column, row = np.divmod(np.concatenate(changes), rows + 1)
        edges = (column + left) * height + row + top
        # a run that reaches the bottom goes on at the top of the next column
        owner = np.repeat(np.arange(len(sizes)), sizes)
        same = owner[1:-1:2] == owner[2::2]
        go_on = np.flatnonzero(same & (edges[1:-1:2] == edges[2::2]))
        kept = np.ones(len(edges), bool)
        kept[2 * go_on + 1] = kept[2 * go_on + 2] = False
        edges, sizes = edges[kept], np.bincount(owner[kept], minlength=len(sizes))
        # every mask's runs lie between 0, its edges and the end of the picture
        last = np.cumsum(sizes + 2) - 1
        bounds = np.zeros(len(edges) + 2 * len(sizes), np.int64)
        bounds[last] = height * width
        inner = np.ones(len(bounds), bool)
        inner[last] = inner[last - sizes - 1] = False
        bounds[inner] = edges
        counts = np.append(bounds[1:] - bounds[:-1], 0)
        full = counts[last - 1] == 0  # the inside reaches the very end: no run of 0 after it
        is_run = np.ones(len(counts), bool)
        is_run[last] = False
        is_run[last[full] - 1] = False
        texts = _run_texts(counts[is_run], sizes + 1 - full)
        return [cls(height_px=height, width_px=width, counts=text) for text in texts]

    def decode(self) -> BoolMask:
        """The dense HxW bool mask."""
        return np.asarray(coco.decode(self._coco())).astype(bool)

    def decode_box(self) -> tuple[BoxXYXY, NDArray[np.uint8]]:
        """The tight box and the 0/1 pixels in it; cheaper than `decode` for a small region."""
        x0, y0, x1, y1 = box = self.box_xyxy
        if x0 == x1:
            return box, np.zeros((0, 0), np.uint8)
        edges = np.cumsum(self._runs()) - x0 * self.height_px
        steps = np.zeros((x1 - x0) * self.height_px + 1, np.int8)
        steps[edges[0::2][: len(edges) // 2]] = 1  # a run of 0 ends where one of 1 starts
        np.subtract.at(steps, edges[1::2], 1)
        inside = np.cumsum(steps[:-1], dtype=np.int8).reshape(x1 - x0, self.height_px)
        return box, np.ascontiguousarray(inside[:, y0:y1].T.view(np.uint8))

    @property
    def hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height_px, self.width_px

    @property
    def area_px(self) -> int:
        """Number of pixels inside, without decoding."""
        return int(coco.area(self._coco()))

    @property
    def box_xyxy(self) -> BoxXYXY:
        """Tight half-open box; (0, 0, 0, 0) for an empty mask."""
        x, y, width, height = (int(v) for v in coco.toBbox(self._coco()))
        return (x, y, x + width, y + height) if width and height else (0, 0, 0, 0)

    def iou(self, other: Mask) -> float:
        """Intersection over union in 0..1, without decoding.

        Raises:
            ValueError: when the two masks have different sizes.
        """
        if self.hw != other.hw:
            raise ValueError(f"masks of {self.hw} and {other.hw} px cannot be compared")
        return float(coco.iou([self._coco()], [other._coco()], [0])[0, 0])

    def shift(self, dx_px: int, dy_px: int) -> Mask:
        """Move the inside by whole pixels; what leaves the picture is lost."""
        dense = self.decode()
        moved = np.zeros_like(dense)
        height, width = self.hw
        x0, x1 = max(0, dx_px), min(width, width + dx_px)
        y0, y1 = max(0, dy_px), min(height, height + dy_px)
        if x0 < x1 and y0 < y1:
            moved[y0:y1, x0:x1] = dense[y0 - dy_px : y1 - dy_px, x0 - dx_px : x1 - dx_px]
        return Mask.encode(moved)

    def crop(self, box_xyxy: BoxXYXY) -> Mask:
        """The part inside a half-open box that lies within the picture.

        Raises:
            ValueError: when the box is empty or leaves the picture.
        """
        x0, y0, x1, y1 = box_xyxy
        if not (0 <= x0 < x1 <= self.width_px and 0 <= y0 < y1 <= self.height_px):
            raise ValueError(f"box {box_xyxy} is empty or leaves the mask of {self.hw} px")
        return Mask.encode(self.decode()[y0:y1, x0:x1])

    def to_json(self) -> dict[str, Any]:
        """COCO's own JSON form: {"size": [height, width], "counts": "..."}."""
        return {"size": [self.height_px, self.width_px], "counts": self.counts}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Mask:
        """The inverse of `to_json`."""
        height, width = data["size"]
        return cls(height_px=int(height), width_px=int(width), counts=data["counts"])

    def _runs(self) -> NDArray[np.int64]:
        """Lengths of the runs, of 0 and 1 in turn: what `rleFrString` of COCO's maskApi.c does,
        for all runs at once."""
        code = np.frombuffer(self.counts.encode("ascii"), np.uint8).astype(np.int64) - 48
        last = (code & 32) == 0  # 5 bits a character, the lowest first; bit 5: more follow
        number = np.cumsum(last) - last
        starts = np.flatnonzero(np.r_[True, last[:-1]])
        shift = 5 * (np.arange(len(code)) - starts[number])
        runs = np.zeros(len(starts), np.int64)
        np.add.at(runs, number, (code & 31) << shift)
        runs[(code[last] & 16) != 0] -= (np.int64(1) << (shift[last] + 5))[(code[last] & 16) != 0]
        # from the third on, a run is coded as the difference to the one before the last
        runs[1::2] = np.cumsum(runs[1::2])
        runs[2::2] = np.cumsum(runs[2::2])
        return runs

    def _coco(self) -> dict[str, Any]:
        return {"size": [self.height_px, self.width_px], "counts": self.counts.encode("ascii")}

    def __repr__(self) -> str:
        return f"Mask({self.height_px}x{self.width_px}, {self.area_px} px)"


def _run_texts(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[str]:
    """COCO's text of run lengths: what `rleToString` of maskApi.c does, for many masks at once;
    `lengths` says how many of the values are each mask's."""
    first = np.cumsum(lengths) - lengths
    place = np.arange(len(values)) - np.repeat(first, lengths)
    # from the third on, a run is coded as the difference to the one before the last
    coded = values.copy()
    coded[2:] -= np.where(place[2:] > 2, values[:-2], 0)
    chars = np.zeros((len(values), 13), np.uint8)  # 5 bits a character, the lowest first
    rest, open_ = coded, np.ones(len(coded), bool)
    used = np.zeros(len(coded), np.int64)
    for i in range(chars.shape[1]):
        bits = rest & 31
        rest = rest >> 5
        more = np.where(bits & 16, rest != -1, rest != 0)
        chars[:, i] = np.where(open_, bits + 32 * more + 48, 0)
        used += open_
        open_ &= more
        if not open_.any():
            break
    text = chars[chars > 0].tobytes().decode("ascii")
    ends = np.cumsum(np.add.reduceat(used, first))
    return [text[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
