"""Questions about a picture: SAM finds the region, Osprey says what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.segmenting import load_segmenter
from streamer.errors import ConfigError, WeightsError
from streamer.geometry import BoxXYXY
from streamer.viewer.asking import MOST_REGIONS, Asker, Found, Look, Point, Turn

if TYPE_CHECKING:
    from model.osprey.asks import ImageFeatures, RegionError, RegionText
    from model.osprey.captioner import OspreyCaptioner
    from model.sam.segmenter import Segmenter

_FORMS = {"short": "demo_short", "detailed": "demo_detailed"}
_SPECK = 10
_SPECIAL = re.compile(r"<(?:image|mask|pos|/?s|unk|pad)>", re.IGNORECASE)


class OspreyAsker(Asker):
    """Asks models that are loaded.

    Args:
        max_new_tokens: the longest answer, in tokens.
    """

    def __init__(
        self, captioner: OspreyCaptioner, segmenter: Segmenter, *, max_new_tokens: int = 64
    ) -> None:
        self.captioner = captioner
        self.segmenter = segmenter
        self.max_new_tokens = max_new_tokens
        self.name = captioner.name
        self.weights_hash = captioner.weights_hash

    @classmethod
    def load(
        cls,
        weights: str = "osprey-nano",
        sam: str = "nano",
        sam_type: str = "vit_b",
        device: str = "auto",
    ) -> OspreyAsker:
        """Load both models.

        Args:
            weights: the name of an Osprey (`streamer models list`), or a folder as released.
            sam: nano, the folder of a sam-nano, or a sam_vit_*.pth file.
            sam_type: vit_b, vit_l or vit_h, of a .pth file.
            device: "auto", "cpu", "cuda", "cuda:1", ...

        Raises:
            WeightsError: when weights are missing or do not fit, or there is no such device.
        """
        segmenter = load_segmenter(sam, sam_type, device)
        from model.osprey.captioner import OspreyCaptioner
        from model.weights import weights_folder

        try:
            captioner = OspreyCaptioner.from_folder(weights_folder(weights), device=device)
        except (OSError, ValueError) as error:
            raise WeightsError(f"weights {weights!r} cannot be used: {error}") from None
        return cls(captioner, segmenter)

    def look(self, image: NDArray[np.uint8]) -> Look:
        return _OspreyLook(self, image)


class _OspreyLook(Look):
    """A picture with what the tower saw of it, once somebody has asked for words."""

    def __init__(self, asker: OspreyAsker, image: NDArray[np.uint8]) -> None:
        self._asker = asker
        self._image = image
        self._features: ImageFeatures | None = None

    @property
    def _seen(self) -> ImageFeatures:
        if self._features is None:
            (self._features,) = self._asker.captioner.encode([self._image])
        return self._features

    def region(self, points: Sequence[Point], box_xyxy: BoxXYXY | None) -> Found | None:
        from model.sam.segmenter import Prompts

        places = np.array([[(p.x_px, p.y_px) for p in points]], np.float32)
        labels = np.array([[int(p.inside) for p in points]], np.intp)
        prompts = Prompts(
            points=places if points else None,
            labels=labels if points else None,
            boxes=None if box_xyxy is None else np.array([box_xyxy], np.float32),
        )
        # one point may mean a whole or a part; several, or a box, mean one thing
        three = box_xyxy is None and len(points) == 1
        answers = self._asker.segmenter.ask(self._image, prompts, three=three)
        mask = _without_specks(answers.best()[0])
        if not mask.any():
            return None
        return Found(mask=mask, quality=float(np.clip(answers.quality[0].max(), 0, 1)))

    def everything(self) -> list[Found]:
        found = self._asker.segmenter.everything(self._image)
        found.sort(key=lambda item: -item.predicted_iou)
        return [
            Found(mask=_without_specks(item.mask), quality=float(np.clip(item.predicted_iou, 0, 1)))
            for item in found[:MOST_REGIONS]
            if item.mask.any()
        ]

    def describe(self, masks: NDArray[np.bool_], asked: str) -> list[Turn]:
        from model.osprey.asks import Ask

        captioner = self._asker.captioner
        prefix = captioner.prefill(self._seen, _FORMS[asked])
        (outcomes,) = captioner.describe_all([Ask(prefix, masks, self._asker.max_new_tokens)])
        return [_turn(asked, outcome) for outcome in outcomes]

    def answer(self, mask: NDArray[np.bool_], turns: Sequence[Turn], question: str) -> Turn:
        from model.osprey.asks import Ask
        from model.osprey.prompt import SYSTEM, conversation_prompt, tokenize_prompt

        if found := _SPECIAL.search(question):
            raise ConfigError(f"a question is plain words; leave out {found[0]}")
        captioner = self._asker.captioner
        # the same head as the descriptions: what was run of the picture serves the question too
        said = [(_text(turn.asked, first=i == 0), turn.answer) for i, turn in enumerate(turns)]
        last = (_text(question, first=not turns), None)
        ids = tokenize_prompt(
            conversation_prompt([*said, last], system=SYSTEM), captioner.tokenizer
        )
        try:
            prefix = captioner.prefill_ids(self._seen, ids)
            if prefix.kv.length + len(prefix.suffix_ids) >= captioner.runner.context:
                raise ValueError("the conversation has become too long for the model")
        except ValueError as error:
            raise ConfigError(f"{error}; ask about the region anew") from None
        ((outcome,),) = captioner.describe_all(
            [Ask(prefix, mask[None], self._asker.max_new_tokens)]
        )
        return _turn(question, outcome)


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without islands of less than a tenth of the largest: a small SAM scatters them about."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    if count <= 2:
        return mask
    areas_px = stats[:, cv2.CC_STAT_AREA].copy()
    areas_px[0] = 0  # what is outside of all
    kept = areas_px * _SPECK >= areas_px.max()
    return np.asarray(kept[labels])


def _text(asked: str, *, first: bool) -> str:
    """What the model reads: the region is shown in the first turn only."""
    from model.osprey.prompt import MASK, TEMPLATES, regions_question

    if asked in _FORMS:
        text = TEMPLATES[_FORMS[asked]].text
        if first:
            return text
        # the region was shown before
        text = text.rpartition("\n")[2]
        return text.replace(f"{MASK}<pos>", "region1")
    return regions_question(asked, 1) if first else asked


def _turn(asked: str, outcome: RegionText | RegionError) -> Turn:
    from model.osprey.asks import RegionError

    if isinstance(outcome, RegionError):
        raise ConfigError(f"this region cannot be described: {outcome.reason}")
    return Turn(asked=asked, answer=outcome.text, mean_logprob=outcome.mean_logprob)
