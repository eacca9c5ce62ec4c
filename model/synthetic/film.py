"""A film of the synthetic world, and the truth of every frame of it.

Two shots with a hard cut between them. In each, objects stand, drift, enter and leave; one passes
behind another; the camera pans and shakes a little, or stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from model.synthetic.backdrop import backdrop, light
from model.synthetic.captions import short_caption
from model.synthetic.palette import COLOURS, colour_counts
from model.synthetic.scene import SceneObject, paste, size_and_place
from model.synthetic.shapes import CATEGORIES, OBJECT
from model.synthetic.sprites import Sprite, draw_sprite

BoolMask = NDArray[np.bool_]
_MARGIN_PX = 140  # of backdrop around the picture, for the camera to pan over


@dataclass(frozen=True, kw_only=True, eq=False)
class FilmFrame:
    """A picture (HxWx3 uint8 RGB), the visible pixels of every object in it by its id, and the
    size of every such object's whole outline in pixels, hidden ones included."""

    index: int
    time_ns: int
    image: NDArray[np.uint8]
    masks: dict[int, BoolMask]
    outlines_px: dict[int, int]


@dataclass(frozen=True, eq=False)
class _Actor:
    """An object of a shot and its way: straight from `start` to `end` (left, top in px)
    between two moments (s), standing before and after."""

    object_id: int
    sprite: Sprite
    start: tuple[float, float]
    end: tuple[float, float]
    moves_s: tuple[float, float]
    sway_px: float

    def at(self, time_s: float) -> tuple[float, float, float]:
        """Left and top in px, and the tilt in degrees."""
        begin, finish = self.moves_s
        share = min(1.0, max(0.0, (time_s - begin) / (finish - begin)))
        x = self.start[0] + (self.end[0] - self.start[0]) * share
        y = self.start[1] + (self.end[1] - self.start[1]) * share
        swing = np.sin(1.7 * time_s + self.object_id)
        return x, y + self.sway_px * swing, 0.4 * self.sway_px * swing


@dataclass(frozen=True, eq=False)
class _Shot:
    backdrop: NDArray[np.uint8]
    actors: tuple[_Actor, ...]
    pan_px: float
    shake_px: float
    noise: NDArray[np.float32]


class Film:
    """A film decided by its seed.

    Args:
        seed: any int of at least 0.
        height_px, width_px: of the picture; both even, so that every codec takes them.
        fps: frames a second.
        seconds: its length; half of it before the cut.
        objects_per_shot: at least 3; ids run on from 1 through both shots. Up to 15 are all of
            different categories.
    """

    def __init__(
        self,
        seed: int,
        *,
        height_px: int = 720,
        width_px: int = 1280,
        fps: int = 25,
        seconds: float = 20.0,
        objects_per_shot: int = 5,
    ) -> None:
        if height_px % 2 or width_px % 2 or min(height_px, width_px) < 64:
            raise ValueError(f"a film of {width_px}x{height_px} px: both even and at least 64")
        if objects_per_shot < 3:
            raise ValueError("a shot needs at least 3 objects")
        self.seed = seed
        self.height_px = height_px
        self.width_px = width_px
        self.fps = fps
        self.n_frames = round(seconds * fps)
        if self.n_frames < 1:
            raise ValueError(f"a film of {seconds:g} s at {fps} frames a second has no frame")
        self.cut_index = self.n_frames // 2
        self.objects_per_shot = objects_per_shot

    def frames(self) -> Iterator[FilmFrame]:
        """All frames in order."""
        return (self.frame(index) for index in range(self.n_frames))

    def frame(self, index: int) -> FilmFrame:
        """The frame of an index in 0..n_frames-1; the same at every call."""
        second = int(index >= self.cut_index)
        rng = np.random.default_rng([self.seed, 78, index])
        return self._render(
            rng, self.shots[second], index, (index - second * self.cut_index) / self.fps
        )

    @cached_property
    def shots(self) -> tuple[_Shot, _Shot]:
        """Before and after the cut."""
        first_s = self.cut_index / self.fps
        return self._shot(0, first_s), self._shot(1, self.n_frames / self.fps - first_s)

    def _shot(self, number: int, length_s: float) -> _Shot:
        rng = np.random.default_rng([self.seed, 77, number])
        hw = (self.height_px + 2 * _MARGIN_PX, self.width_px + 2 * _MARGIN_PX)
        clutter = rng.uniform(0.15, 0.55)
        lit = light(rng, backdrop(rng, *hw, clutter), 0.5)
        behind = np.clip(lit, 0, 255).astype(np.uint8)
        thumb = np.ascontiguousarray(behind[::4, ::4])
        taken = colour_counts(thumb, np.ones(thumb.shape[:2], bool))
        # nobody can find a gray thing on a gray ground
        free = [c for i, c in enumerate(COLOURS) if taken[i] < 0.12 * taken.sum()]
        actors = self._cast(rng, number, length_s, free or list(COLOURS))
        moving = rng.random() < 0.6
        return _Shot(
            backdrop=behind,
            actors=actors,
            pan_px=rng.uniform(30, 0.8 * _MARGIN_PX) if moving else 0.0,
            shake_px=rng.uniform(0.3, 1.2) if moving else 0.0,
            # one sheet, laid over every frame at another offset
            noise=np.float32(rng.uniform(1.0, 3.5))
            * rng.standard_normal((hw[0], hw[1], 3), dtype=np.float32),
        )

    def _cast(
        self, rng: np.random.Generator, number: int, length_s: float, colours: list[str]
    ) -> tuple[_Actor, ...]:
        n = self.objects_per_shot
        known = [str(c) for c in np.resize(rng.permutation(CATEGORIES[:-1]), n)]
        known[int(rng.integers(n))] = OBJECT
        lanes = [int(v) for v in rng.permutation(n - 1)]
        lane_px = self.height_px / (n - 1)
        actors: list[_Actor] = []
        for i in range(n):
            side = float(rng.uniform(0.075, 0.19) * self.height_px)
            sprite = draw_sprite(rng, known[i], str(rng.choice(colours)), side)
            h, w = sprite.alpha.shape
            # the last one takes the lane of the first and passes behind it
            lane = lanes[i % (n - 1)]
            top = float(np.clip((lane + 0.5) * lane_px - h / 2, 4, self.height_px - h - 4))
            top += float(rng.uniform(-0.1, 0.1)) * lane_px
            x = float(rng.uniform(0.2, 0.8) * self.width_px - w / 2)
            crosses = i == n - 1 or (i > 0 and rng.random() < 0.45)
            if crosses:
                outside = (-w - _MARGIN_PX * 0.3, self.width_px + _MARGIN_PX * 0.3)
                start, end = outside if sprite.facing != "left" else outside[::-1]
                begin = float(rng.uniform(0.0, 0.15)) * length_s
                moves = (begin, begin + length_s * float(rng.uniform(0.65, 0.8)))
            else:
                start, end = x, x + float(rng.uniform(-0.12, 0.12)) * self.width_px
                moves = (0.0, length_s)
            actors.append(
                _Actor(
                    object_id=number * n + i + 1,
                    sprite=sprite,
                    start=(start, top),
                    end=(end, top + float(rng.uniform(-0.04, 0.04)) * self.height_px),
                    moves_s=moves,
                    sway_px=float(rng.uniform(0, 5)),
                )
            )
        return (actors[-1], *actors[:-1])  # painted in this order: the last one lies behind

    def _render(
        self, rng: np.random.Generator, shot: _Shot, index: int, time_s: float
    ) -> FilmFrame:
        height, width = self.height_px, self.width_px
        pan_x = shot.pan_px * np.sin(0.45 * time_s) + rng.normal(0, shot.shake_px)
        pan_y = 0.3 * shot.pan_px * np.sin(0.6 * time_s) + rng.normal(0, shot.shake_px)
        window = np.array([[1, 0, -_MARGIN_PX - pan_x], [0, 1, -_MARGIN_PX - pan_y]])
        image = cv2.warpAffine(shot.backdrop, window, (width, height), flags=cv2.INTER_LINEAR)
        image = image.astype(np.float32)
        owner = np.full((height, width), -1, np.int16)
        part = np.zeros((height, width), np.uint8)
        outlines = {}
        for actor in shot.actors:
            x, y, tilt = actor.at(time_s)
            outlines[actor.object_id] = paste(
                image, owner, part, actor.sprite, actor.object_id, x - pan_x, y - pan_y, tilt
            )
        dy, dx = (int(v) for v in rng.integers(0, 2 * _MARGIN_PX, 2))
        image += shot.noise[dy : dy + height, dx : dx + width]
        np.clip(image, 0, 255, out=image)
        masks = {key: owner == key for key in sorted(outlines)}
        masks = {key: mask for key, mask in masks.items() if mask.any()}
        return FilmFrame(
            index=index,
            time_ns=index * 1_000_000_000 // self.fps,
            image=image.astype(np.uint8),
            masks=masks,
            outlines_px={key: outlines[key] for key in masks},
        )


class Truth:
    """The ground truth of a film, gathered while it is rendered; `to_json` is the format that
    `streamer.sinks.score.Score` reads."""

    def __init__(self, film: Film) -> None:
        self.film = film
        self._seen: dict[int, list[dict[str, Any]]] = {}
        self._colours: dict[int, NDArray[np.intp]] = {}
        self._best: dict[int, tuple[int, BoolMask]] = {}

    def add(self, frame: FilmFrame) -> None:
        """Take the next frame in."""
        for object_id, mask in frame.masks.items():
            area = int(mask.sum())
            code = coco.encode(np.asfortranarray(mask, np.uint8))
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            self._seen.setdefault(object_id, []).append(
                {
                    "index": frame.index,
                    "counts": code["counts"].decode("ascii"),
                    "short_side_px": int(min(np.ptp(rows), np.ptp(columns))) + 1,
                    "visible": round(area / max(1, frame.outlines_px[object_id]), 3),
                }
            )
            counts = colour_counts(frame.image, mask)
            self._colours[object_id] = self._colours.get(object_id, 0 * counts) + counts
            if area > self._best.get(object_id, (0, mask))[0]:
                self._best[object_id] = (area, mask)

    def to_json(self) -> dict[str, Any]:
        """What was shown: every object with its words and its mask in every frame."""
        film = self.film
        sprites = {a.object_id: a.sprite for shot in film.shots for a in shot.actors}
        return {
            "format": "streamer-truth/1",
            "seed": film.seed,
            "width_px": film.width_px,
            "height_px": film.height_px,
            "fps": film.fps,
            "frames": film.n_frames,
            "cut_indices": [film.cut_index],
            "vocabulary": {"categories": list(CATEGORIES), "colours": list(COLOURS)},
            "objects": [self._object(key, sprites[key]) for key in sorted(self._seen)],
        }

    def _object(self, object_id: int, sprite: Sprite) -> dict[str, Any]:
        mask = self._best[object_id][1]
        size, place = size_and_place(mask)
        shown = SceneObject(
            mask=mask, colours=self._colours[object_id], category=sprite.category, size=size,
            place=place, texture=sprite.texture, facing=sprite.facing,
        )  # fmt: skip
        return {
            "object_id": object_id,
            "category": sprite.category,
            "colour": shown.colour,
            "caption": short_caption(shown),
            "frames": self._seen[object_id],
        }
