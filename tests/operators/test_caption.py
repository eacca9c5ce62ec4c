"""Captions with the bundled weights, and their intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.synthetic.captions import parse_caption
from model.synthetic.scene import sample_scene
from operators.caption import CaptionRegions
from operators.intervals import Intervals
from streamer.errors import ConfigError, WeightsError
from streamer.mask import Mask
from streamer.records import Caption, CaptionRequest, Event, Record, Region
from streamer.testing import check_operator, frames_of
from tests.streamer.example_parts import caption

S = 10**9


def test_words_of_unseen_scenes() -> None:
    items: list[Record] = []
    colours = []
    for seed in range(8):
        rng = np.random.default_rng([424242, seed])
        scene = sample_scene(
            rng, 360, 640, difficulty=0.2, n_objects=6, short_side_px=(50.0, 110.0)
        )
        (frame,) = frames_of([scene.image], first_ns=seed * S)
        masks = [Mask.encode(item.mask) for item in scene.objects]
        colours += [item.colour for item in scene.objects]
        regions = tuple(
            Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=i + 1)
            for i, mask in enumerate(masks)
        )
        many = len(regions)
        items.append(
            CaptionRequest(
                frame=frame,
                asked_ns=frame.time_ns,
                regions=regions,
                why=("new",) * many,
                start_ns=(frame.time_ns,) * many,
            )
        )
    made = [r for r in check_operator(CaptionRegions, items) if isinstance(r, Caption)]
    assert len(made) == len(colours) > 20
    said = [parse_caption(c.text)["colour"] for c in made]
    assert np.mean([a == b for a, b in zip(said, colours, strict=True)]) > 0.75
    assert all(c.mean_logprob <= 0 and c.model == "osprey-nano" for c in made)
    assert np.mean([bool(parse_caption(c.detail)["place"]) for c in made]) > 0.9


def test_what_is_counted() -> None:
    image = np.full((64, 96, 3), 200, np.uint8)
    image[20:40, 30:60] = (200, 30, 30)
    inside = np.zeros((64, 96), np.bool_)
    inside[20:40, 30:60] = True
    mask = Mask.encode(inside)
    regions = tuple(
        Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=i) for i in (1, 2, 3)
    )
    (frame,) = frames_of([image])
    request = CaptionRequest(
        frame=frame, asked_ns=0, regions=regions, why=("new",) * 3, start_ns=(0,) * 3
    )
    operator = CaptionRegions()
    operator.setup()
    assert dict(operator.counted()) == {}
    operator.process([request])
    once = dict(operator.counted())
    assert (once["encoder_passes"], once["regions"]) == (1, 3)
    assert once["tokens"] >= 3 * 4
    operator.process([request])
    assert dict(operator.counted()) == {what: 2 * number for what, number in once.items()}
    operator.close()


def test_missing_weights_are_named() -> None:
    with pytest.raises(WeightsError, match="bundled: osprey-nano"):
        CaptionRegions(weights="nowhere").setup()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "What is <mask>? " + "a " * 1440}, "the model has 2048"),
        ({"max_new_tokens": 1300}, "max_new_tokens is 1300; 1[12].. fit the context"),
    ],
)
def test_prompts_without_room_for_an_answer(settings: dict[str, Any], message: str) -> None:
    operator = CaptionRegions(device="cpu", **settings)
    with pytest.raises(WeightsError, match=message):
        operator.setup()
    operator.close()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        CaptionRegions(max_new_tokens=0)
    with pytest.raises(WeightsError, match=r"'cuda:77' cannot be used here .*; take 'auto'"):
        CaptionRegions(device="cuda:77").setup()
    with pytest.raises(WeightsError, match="'banana' cannot be used here"):
        CaptionRegions(device="banana").setup()
    with pytest.raises(ConfigError, match="neither names a template"):
        CaptionRegions(prompt="what is it?").setup()
    with pytest.raises(ConfigError, match="asks about 2 regions"):
        CaptionRegions(detail_prompt="Compare <mask><pos> with <mask><pos>.").setup()


def test_intervals() -> None:
    (frame,) = frames_of([np.zeros((4, 6, 3), np.uint8)])
    first = replace(caption(frame), end_ns=None)
    same = replace(first, start_ns=2 * S, asked_ns=2 * S)
    other = replace(first, start_ns=3 * S, asked_ns=3 * S, text="a bus")
    second = replace(first, track_id=2, asked_ns=3 * S, start_ns=3 * S)
    end = Event(
        stream_id="test", time_ns=6 * S, kind="track_end", track_id=1, data={"end_ns": 5 * S}
    )
    operator = Intervals()
    made = [r for item in (first, same, other, second, end) for r in operator.process([item])]
    made += operator.flush("test")
    closed = [(c.track_id, c.text, c.start_ns, c.end_ns) for c in made if c.end_ns is not None]
    assert closed == [
        (1, "a red car", 0, 3 * S),
        (1, "a bus", 3 * S, 5 * S),
        (2, "a red car", 3 * S, 6 * S),
    ]
    assert [c.text for c in made if c.end_ns is None] == ["a red car", "a bus", "a red car"]
