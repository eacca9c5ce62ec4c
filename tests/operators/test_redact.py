"""What is chosen is covered in every frame, in the film that is written too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.synthetic.film import Film
from operators.redact import Redact
from streamer.commands.evaluate_rules import true_regions
from streamer.geometry import Viewport
from streamer.mask import Mask
from streamer.records import Caption, Event, Frame, Record, Region, StreamInfo, TrackedFrame
from streamer.sinks.overlay_video import OverlayVideo
from streamer.testing import check_operator
from tests.operators.rulebook.scenes import disc, mark, said, write_rules

HW = (200, 320)
FILL = (255, 0, 255)
NOISE = np.random.default_rng(5).integers(0, 200, (*HW, 3)).astype(np.uint8)
BoolMask = NDArray[np.bool_]


def frame_with(index: int, masks: dict[int, BoolMask]) -> TrackedFrame:
    """Noise with regions, 25 frames a second."""
    frame = Frame(
        stream_id="test", index=index, time_ns=index * 40_000_000, image=NOISE,
        viewport=Viewport.whole(*HW),
    )  # fmt: skip
    codes = {key: Mask.encode(dense) for key, dense in masks.items()}
    regions = tuple(
        Region(mask=code, box_xyxy=code.box_xyxy, score=1.0, track_id=key)
        for key, code in codes.items()
    )
    return TrackedFrame(frame=frame, regions=regions)


def covered(made: Record) -> BoolMask:
    assert isinstance(made, TrackedFrame)
    return np.asarray((made.frame.image != NOISE).any(2))


def run(items: list[Record], **settings: Any) -> list[BoolMask]:
    """The covered pixels of every frame; on noise everything stands out, so that is left aside."""
    settings = {"unexplained": False, **settings}
    operator = Redact(how="fill", fill_rgb=list(FILL), **settings)
    made = [*operator.process(items), *operator.flush("test")]  # type: ignore[arg-type]
    return [covered(r) for r in made if isinstance(r, TrackedFrame)]


@pytest.mark.parametrize("how", ["blur", "pixelate", "fill"])
def test_the_mask_and_its_margin_are_covered_and_nothing_else(how: Any) -> None:
    star = disc(100, 100, 30) & ~disc(125, 100, 20)
    operator = Redact(how=how, margin=0.02, unexplained=False, delay_s=0.0)
    (made,) = operator.process([frame_with(0, {1: star})])
    hidden = covered(made)
    away_px = cv2.distanceTransform((~star).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    grown = away_px <= 0.02 * HW[0]
    assert not hidden[~grown].any()
    assert hidden[grown].mean() > 0.99  # a covered pixel may keep its value by chance
    assert isinstance(made, TrackedFrame)
    assert made.regions[0].mask == Mask.encode(star)
    if how != "fill":
        # hardly anything of the detail is left
        inside = made.frame.image[star].astype(float)
        assert inside.std() < 0.35 * NOISE[star].astype(float).std()
    assert NOISE.max() < 200  # nobody wrote into the shared picture


def test_it_keeps_the_contract() -> None:
    items: list[Record] = []
    for i in range(12):
        masks = {1: disc(60 + 4 * i, 80), 2: disc(200, 120)} if i not in (5, 6) else {}
        items.append(frame_with(i, masks))
    items += [said(2, 0.4, "a red car"), mark("track_end", 0.3, 1), mark("cut", 0.36)]
    rank = {Event: 0, TrackedFrame: 1, Caption: 2}
    items.sort(key=lambda item: (item.order_ns, rank[type(item)]))
    made = check_operator(Redact, items)
    assert [type(r) for r in made].count(Event) == 2


def test_words_uncover_and_only_sure_ones() -> None:
    masks = {i: disc(50 * i, 100, 12) for i in range(1, 6)}
    words = [
        said(1, 0.0, "a man in a red shirt"),
        said(2, 0.0, "a red car"),
        said(3, 0.0, "a red car", math.log(0.5)),
        said(4, 0.0, "a gray object"),
    ]
    at_once = {"delay_s": 0.0}
    items = [frame_with(0, masks), *words, frame_with(1, masks)]
    first, second = run(items, margin=0.0, **at_once)
    assert all(first[disc(50 * i, 100, 10)].all() for i in range(1, 6))  # nothing is known yet
    assert [bool(second[disc(50 * i, 100, 10)].all()) for i in range(1, 6)] == [
        True, False, True, True, True,
    ]  # fmt: skip
    assert not second[disc(100, 100, 10)].any()
    later = [said(2, 0.04, "a person"), frame_with(2, masks), said(2, 0.08, "a car"),
             frame_with(3, masks)]  # fmt: skip
    *_, third, fourth = run([*items, *later], **at_once)
    assert third[disc(100, 100, 10)].all()
    assert fourth[disc(100, 100, 10)].all()  # once a person, always covered
    everything = run(items, categories=[])
    assert everything[1][disc(100, 100, 10)].all()


def test_only_in_zones(tmp_path: Path) -> None:
    path = write_rules(tmp_path, {"kind": "appear"})
    (hidden,) = run([frame_with(0, {1: disc(195, 100), 2: disc(60, 100)})], zones=path)
    assert hidden[disc(195, 100)].all()  # it touches the zone: the whole of it
    assert not hidden[disc(60, 100)].any()


def test_no_flicker_while_a_track_is_missed() -> None:
    """A walking track that is missed for half a second stays covered all the way."""
    where = [disc(50 + 3 * i, 100) for i in range(40)]
    missed = range(15, 27)
    items: list[Record] = [
        frame_with(i, {} if i in missed else {1: dense}) for i, dense in enumerate(where)
    ]
    shares = [h[dense].mean() for h, dense in zip(run(items), where, strict=True)]
    assert min(shares) > 0.99
    assert not run([*items[:16], *(frame_with(i, {}) for i in range(16, 60))])[-1].any()
    cut = [*items[:16], mark("cut", 0.64), frame_with(16, {})]
    assert not run(cut)[-1].any()


def test_a_track_is_covered_before_it_is_seen(tmp_path: Path) -> None:
    """It walks for a while before it is found; a cut in that time is the end of looking back."""
    where = [disc(50 + 3 * i, 100) for i in range(40)]
    items: list[Record] = [
        frame_with(i, {} if i < 9 else {1: dense}) for i, dense in enumerate(where)
    ]
    shares = [h[dense].mean() for h, dense in zip(run(items), where, strict=True)]
    assert min(shares) > 0.99
    shares = [h[dense].mean() for h, dense in zip(run(items, delay_s=0.2), where, strict=True)]
    assert not any(shares[:3])  # longer before than is looked
    assert min(shares[5:]) > 0.99  # with two sights it is known how it moves
    cut = run([*items[:5], mark("cut", 0.2), *items[5:]])
    assert not any(hidden.any() for hidden in cut[:5])
    assert cut[5][where[5]].all()
    known = said(1, 0.3, "a red car")
    assert not any(hidden.any() for hidden in run([*items[:9], known, *items[9:]])[:8])


def plain(index: int, things: BoolMask, masks: dict[int, BoolMask]) -> TrackedFrame:
    """Dark things on plain ground, and which of them are tracked."""
    made = frame_with(index, masks)
    image = np.full((*HW, 3), 180, np.uint8)
    image[things] = (60, 40, 30)
    return replace(made, frame=replace(made.frame, image=image))


def filled(made: Record) -> BoolMask:
    assert isinstance(made, TrackedFrame)
    return np.asarray((made.frame.image == FILL).all(2))


def test_what_no_track_explains_is_covered_too(tmp_path: Path) -> None:
    first, second, third = disc(60, 60), disc(150, 60), disc(250, 150)
    stem = np.zeros(HW, bool)
    stem[160:195, 246:254] = True  # belongs to the third, and its track does not know
    things = first | second | third | stem
    items: list[Record] = [
        said(2, 0.0, "a red car"),
        *(plain(i, things, {2: second, 3: third}) for i in range(3)),
    ]
    fill: dict[str, Any] = {"how": "fill", "fill_rgb": list(FILL), "delay_s": 0.0}
    hidden = filled(Redact(**fill).process(items)[-1])  # type: ignore[arg-type]
    assert hidden[first].all()  # nobody tracks it
    assert not hidden[second].any()  # known, and not chosen
    assert hidden[third].all()
    assert hidden[stem].all()
    assert hidden.mean() < 0.1
    path = write_rules(tmp_path, {"kind": "appear"})  # the zone holds the third only
    hidden = filled(Redact(zones=path, **fill).process(items)[-1])  # type: ignore[arg-type]
    assert not hidden[first].any()
    assert hidden[third | stem].all()
    hidden = filled(Redact(unexplained=False, **fill).process(items)[-1])  # type: ignore[arg-type]
    assert not hidden[first].any()


def test_what_moves_is_covered_on_busy_ground() -> None:
    """Everything stands out of it, so only its own motion tells a thing from the ground."""
    ground = cv2.resize(NOISE[::4, ::4], (HW[1], HW[0]))
    made: list[Record] = []
    operator = Redact(how="fill", fill_rgb=list(FILL), delay_s=0.0)
    shares = []
    for i in range(10):
        item = frame_with(i, {})
        thing = disc(60 + 4 * i, 100, 20)
        image = ground.copy()
        image[thing] = np.roll(ground, 4 * i, axis=1)[thing]
        made = operator.process([replace(item, frame=replace(item.frame, image=image))])
        hidden = filled(made[0])
        shares.append(float(hidden[thing].mean()))
    assert min(shares[2:]) > 0.9
    assert hidden.mean() < 0.3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"margin": -1}, "margin is"),
        ({"delay_s": 3.0}, "delay_s is 3.0"),
        ({"how": "smear"}, "'smear'; blur, pixelate or fill"),
        ({"fill_rgb": [1, 2]}, "three numbers"),
        ({"categories": ["preson"]}, "did you mean 'person'"),
    ],
)
def test_mistakes(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Redact(**settings)


def test_the_written_film_shows_nothing_of_what_is_chosen(tmp_path: Path) -> None:
    """Cars and the like of a synthetic film, of which words say what they are; every tenth mask
    of the tracks is missing."""
    film = Film(6001, height_px=180, width_px=320, seconds=4.0)
    names = {a.object_id: a.sprite.category for shot in film.shots for a in shot.actors}
    chosen = sorted(set(names.values()) - {"object"})[::2]
    hidden_ids = {key for key, name in names.items() if name in (*chosen, "object")}
    operator = Redact(categories=chosen, how="fill", fill_rgb=list(FILL), unexplained=False)
    path = tmp_path / "film.mp4"
    sink = OverlayVideo(str(path), crf=12, preset="veryfast")
    sink.open([StreamInfo(stream_id="film", uri="", width_px=320, height_px=180, fps=25.0)])

    def write(made: Sequence[Record]) -> None:
        for record in made:
            if isinstance(record, TrackedFrame):
                # the overlay's own outlines would lie over what is looked at here
                sink.write(TrackedFrame(frame=record.frame, regions=()))

    seen: list[tuple[dict[int, BoolMask], set[int]]] = []
    shown: set[int] = set()
    for picture in film.frames():
        frame = Frame(
            stream_id="film", index=picture.index, time_ns=picture.time_ns, image=picture.image,
            viewport=Viewport.whole(180, 320),
        )  # fmt: skip
        regions = true_regions(picture)
        kept = tuple(
            r for r in regions if (r.track_id + picture.index) % 10 or r.track_id not in shown
        )
        items: list[Any] = [TrackedFrame(frame=frame, regions=kept)]
        for region in regions:
            if region.track_id not in shown:
                text = f"a red {names[region.track_id]}"
                words = said(region.track_id, picture.time_ns / 1e9, text)
                items.append(Caption(**{**vars(words), "stream_id": "film"}))
        if picture.index == film.cut_index:
            items.insert(0, Event(stream_id="film", time_ns=picture.time_ns, kind="cut"))
        shown |= {r.track_id for r in regions}
        write(operator.process(items))
        seen.append((picture.masks, {r.track_id for r in kept}))
    write(operator.flush("film"))
    sink.close()
    tracked, missed, bare = [], [], []
    with av.open(str(path)) as container:
        for (masks, ids), decoded in zip(seen, container.decode(video=0), strict=True):
            image = decoded.to_ndarray(format="rgb24").astype(int)
            filled = np.abs(image - FILL).max(2) < 60
            for object_id, mask in masks.items():
                share = float(filled[mask].mean())
                inside = not (mask[[0, -1]].any() or mask[:, [0, -1]].any())
                if object_id not in hidden_ids:
                    bare.append(share)
                elif object_id in ids:
                    tracked.append(share)
                elif inside:  # how fast something comes in is not known yet
                    missed.append(share)
    assert len(tracked) > 200
    assert min(tracked) >= 0.99
    assert len(missed) > 20
    assert np.mean(missed) >= 0.98
    assert np.mean(bare) < 0.1  # what is not chosen is seen, but where it is beside the chosen
