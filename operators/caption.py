"""Words for regions: one encoder pass and one prefill per image, shared by all its regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from streamer.errors import ConfigError, WeightsError
from streamer.interfaces import Operator, Resources
from streamer.records import Caption, CaptionRequest, Event

if TYPE_CHECKING:
    from model.osprey.captioner import OspreyCaptioner


class CaptionRegions(Operator[CaptionRequest | Event, Caption | Event]):
    """Asks Osprey about the regions of each request; events pass through in their place.

    Stateless, so it may run as a pool. The captions come out open (`end_ns=None`);
    `operators.intervals.Intervals` behind it closes them.

    Args:
        weights: the name of a model in `model/weights/`, or a folder in the released layout.
        prompt: the template for `Caption.text`.
        detail_prompt: the template for `Caption.detail`; "" asks for no details.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        max_new_tokens: the longest answer, in tokens.
    """

    resources = Resources(cpus=1)

    def __init__(
        self,
        weights: str = "osprey-nano",
        prompt: str = "demo_short",
        detail_prompt: str = "demo_detailed",
        device: str = "auto",
        max_new_tokens: int = 64,
    ) -> None:
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; at least 1")
        self.weights = weights
        self.prompt = prompt
        self.detail_prompt = detail_prompt
        self.device = device
        self.max_new_tokens = max_new_tokens
        self._captioner: OspreyCaptioner | None = None

    def setup(self) -> None:
        """Load the weights.

        Raises:
            WeightsError: when they are missing or do not fit, or there is no such device.
            ConfigError: when a prompt asks about no region or about several.
        """
        from model.osprey.captioner import OspreyCaptioner
        from model.osprey.prompt import REGION, build_prompt
        from model.weights import weights_folder

        for prompt in filter(None, (self.prompt, self.detail_prompt)):
            try:
                regions = build_prompt(prompt).count(REGION)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            if regions != 1:
                raise ConfigError(f"prompt {prompt!r} asks about {regions} regions; ask about one")
        try:
            self._captioner = OspreyCaptioner.from_folder(
                weights_folder(self.weights), device=self.device
            )
        except (OSError, ValueError) as error:
            raise WeightsError(f"weights {self.weights!r} cannot be loaded: {error}") from error

    def process(self, items: Sequence[CaptionRequest | Event]) -> list[Caption | Event]:
        outputs: list[Caption | Event] = []
        for item in items:
            if isinstance(item, Event):
                outputs.append(item)
            else:
                outputs.extend(self._describe(item))
        return outputs

    def _describe(self, request: CaptionRequest) -> list[Caption]:
        captioner = self._captioner
        if captioner is None:
            raise RuntimeError("setup() has to run before process()")
        masks = np.stack([region.mask.decode() for region in request.regions])
        (features,) = captioner.encode([request.frame.image])
        texts = captioner.describe(
            captioner.prefill(features, self.prompt), masks, max_new_tokens=self.max_new_tokens
        )
        details = [""] * len(texts)
        if self.detail_prompt:
            prefix = captioner.prefill(features, self.detail_prompt)
            answers = captioner.describe(prefix, masks, max_new_tokens=self.max_new_tokens)
            details = [answer.text for answer in answers]
        return [
            Caption(
                stream_id=request.stream_id,
                track_id=region.track_id,
                start_ns=start_ns,
                end_ns=None,
                text=text.text,
                detail=detail,
                why=why,
                asked_ns=request.asked_ns,
                frame_index=request.frame.index,
                frame_time_ns=request.frame.time_ns,
                mask=region.mask,
                mean_logprob=text.mean_logprob,
                model=captioner.name,
                weights_hash=captioner.weights_hash,
            )
            for region, start_ns, why, text, detail in zip(
                request.regions, request.start_ns, request.why, texts, details, strict=True
            )
        ]

    def close(self) -> None:
        self._captioner = None
