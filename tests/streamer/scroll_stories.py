"""Findings made by hand, for tests of what is made of a walk."""

from __future__ import annotations

import numpy as np

from streamer.mask import Mask
from streamer.records import Caption, Event
from streamer.scroll.findings import Finding, Findings

Box = tuple[int, int, int, int]


def region(
    number: int, box: Box, text: str = "", window: Box = (0, 0, 400, 200)
) -> list[Event | Caption]:
    mask = Mask.encode(np.ones((box[3] - box[1], box[2] - box[0]), np.uint8))
    event = Event(
        stream_id="s", time_ns=number * 1000, kind="region", track_id=number,
        data={
            "box_xyxy": list(box), "mask": mask.to_json(), "scale": 1.0,
            "window_xyxy": list(window), "asked_xyxy": list(window), "first_ns": 0, "last_ns": 10,
            "windows": 2, "sure": 1.0, "joined": False,
        },
    )  # fmt: skip
    if not text:
        return [event]
    caption = Caption(
        stream_id="s", track_id=number, start_ns=0, end_ns=None, text=text,
        detail=f"{text}, striped", asked_ns=number, frame_index=0, frame_time_ns=0, mask=mask,
        mean_logprob=-0.1, model="m", weights_hash="h",
    )  # fmt: skip
    return [event, caption]


def found(*regions: list[Event | Caption]) -> list[Finding]:
    findings = Findings()
    for records in regions:
        for record in records:
            findings.add(record)
    return findings.all()


LONG = (200, 4000)
BRIDGE, BOAT, CARS = (3700, 80, 3760, 120), (3500, 90, 3550, 130), 3


def story() -> list[Finding]:
    return found(
        region(1, BRIDGE, "a brown bridge"),
        region(2, BOAT, "a small boat"),
        *(region(3 + i, (500 + 80 * i, 100, 540 + 80 * i, 130), "a red car") for i in range(CARS)),
    )
