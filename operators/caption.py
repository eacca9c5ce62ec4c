"""Words for regions, from whichever captioner the configuration names."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from operators.captioning.base import Captioner, Picture, Refusal, Words
from streamer.errors import ConfigError
from streamer.interfaces import Operator, Resources
from streamer.records import Caption, CaptionRequest, Event

CAPTIONERS = {
    "osprey": "operators.captioning.osprey.OspreyCaptions",
    "endpoint": "operators.captioning.endpoint.EndpointCaptions",
    "clip": "operators.captioning.clip.ClipLabels",
}


class CaptionRegions(Operator[CaptionRequest | Event, Caption | Event]):
    """Asks a captioner about the regions of each request; events pass through in their place.

    Stateless, so it may run as a pool. The captions come out open (`end_ns=None`);
    `operators.intervals.Intervals` behind it closes them. A region that gets no words becomes an
    Event of kind `caption_error` that says why.

    Args:
        captioner: osprey, endpoint, clip, or package.module.Class of one's own.
        settings: what the captioner's constructor takes: see
            `operators.captioning.osprey.OspreyCaptions` (the default),
            `operators.captioning.endpoint.EndpointCaptions` and
            `operators.captioning.clip.ClipLabels`.
    """

    resources = Resources(cpus=1)

    def __init__(self, captioner: str = "osprey", **settings: Any) -> None:
        self.captioner = captioner_class(captioner)(**settings)
        self._counted: Counter[str] = Counter()

    @classmethod
    def settings_class(cls, given: Mapping[str, Any]) -> type[Captioner]:
        """The class whose constructor takes the settings; see `streamer.config`."""
        return captioner_class(given.get("captioner", "osprey"))

    def setup(self) -> None:
        """Load the captioner.

        Raises:
            StreamerError: when its weights are missing or do not fit, or its service is not there.
        """
        self.captioner.setup()

    def process(self, items: Sequence[CaptionRequest | Event]) -> list[Caption | Event]:
        requests = [item for item in items if isinstance(item, CaptionRequest)]
        pictures = [
            Picture(
                image=request.frame.image,
                masks=[region.mask.decode() for region in request.regions],
            )
            for request in requests
        ]
        described = self.captioner.describe(pictures)
        self._count(described)
        answers = iter(described)
        outputs: list[Caption | Event] = []
        for item in items:
            if isinstance(item, Event):
                outputs.append(item)
            else:
                outputs.extend(self._records(item, next(answers)))
        return outputs

    def counted(self) -> Mapping[str, int]:
        """Encoder passes (one a picture, however many regions it has), regions and tokens."""
        return self._counted

    def _count(self, described: Sequence[Sequence[Words | Refusal]]) -> None:
        for words in described:
            said = [one for one in words if isinstance(one, Words)]
            self._counted["encoder_passes"] += bool(said)
            self._counted["regions"] += len(said)
            self._counted["tokens"] += sum(one.tokens for one in said)

    def _records(
        self, request: CaptionRequest, answers: Sequence[Words | Refusal]
    ) -> list[Caption | Event]:
        records: list[Caption | Event] = []
        for i, (region, answer) in enumerate(zip(request.regions, answers, strict=True)):
            if isinstance(answer, Refusal):
                records.append(
                    Event(
                        stream_id=request.stream_id,
                        time_ns=request.asked_ns,
                        kind="caption_error",
                        track_id=region.track_id,
                        data={"reason": answer.reason},
                    )
                )
                continue
            records.append(
                Caption(
                    stream_id=request.stream_id,
                    track_id=region.track_id,
                    start_ns=request.start_ns[i],
                    end_ns=None,
                    text=answer.text,
                    detail=answer.detail,
                    why=request.why[i],
                    asked_ns=request.asked_ns,
                    frame_index=request.frame.index,
                    frame_time_ns=request.frame.time_ns,
                    mask=region.mask,
                    mean_logprob=answer.mean_logprob,
                    model=self.captioner.name,
                    weights_hash=self.captioner.weights_hash,
                )
            )
        return records

    def close(self) -> None:
        self.captioner.close()


def captioner_class(name: str) -> type[Captioner]:
    """The class of a captioner's name.

    Raises:
        ConfigError: when there is no such captioner.
    """
    known = ", ".join(CAPTIONERS)
    module_name, _, class_name = CAPTIONERS.get(name, str(name)).rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError):
        raise ConfigError(
            f"there is no captioner {name!r}; take {known}, or package.module.Class of your own"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Captioner)):
        raise ConfigError(f"{name} is not a Captioner (operators.captioning.base)")
    return found
