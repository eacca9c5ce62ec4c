"""Questions about a picture: it is encoded once, whatever is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.osprey.captioner import OspreyCaptioner
from model.osprey.conversation import Conversation
from model.osprey.prompt import SYSTEM, TEMPLATES, regions_question
from model.sam.segmenter import Everything, Segmenter
from operators.asking import OspreyAsker, _without_specks
from streamer.errors import ConfigError, WeightsError
from streamer.viewer.asking import Point, Turn
from tests.model.osprey.small_models import small_model, small_tokenizer
from tests.model.sam.small_models import picture, small_nano, sure_sam


class Counting:
    """How often a module runs."""

    def __init__(self, module: Any) -> None:
        self.passes = 0
        module.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.passes += 1


@pytest.fixture(scope="module")
def captioner() -> OspreyCaptioner:
    return OspreyCaptioner(small_model(), small_tokenizer(), name="small", weights_hash="0")


def asker_of(captioner: OspreyCaptioner, sam: Any) -> OspreyAsker:
    everything = Everything(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    return OspreyAsker(captioner, Segmenter(sam, everything=everything), max_new_tokens=6)


def test_the_picture_is_encoded_once_however_many_questions_follow(
    captioner: OspreyCaptioner,
) -> None:
    asker = asker_of(captioner, small_nano())
    tower = Counting(captioner.model.vision_tower)
    sam_tower = Counting(asker.segmenter.predictor.model.image_encoder)
    look = asker.look(picture())
    found = [look.region([Point(x_px=30, y_px=30)], None), look.region([], (10, 12, 60, 50))]
    masks = np.stack([np.eye(90, 130, dtype=bool), picture()[..., 1] > 120])
    first = look.describe(masks, "short") + look.describe(masks, "detailed")
    turns = [first[0]]
    for question in ("What is the car?", "on the left?", "a bus?"):
        turns.append(look.answer(masks[0], turns, question))
    look.answer(masks[1], [], "What is ?")
    look.everything()
    assert (tower.passes, sam_tower.passes) == (1, 1)
    assert all(item is None or item.mask.shape == (90, 130) for item in found)
    asker.look(picture(1)).describe(masks, "short")
    assert tower.passes == 2


def test_the_prompt_up_to_the_picture_is_run_once_too(
    captioner: OspreyCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later questions cost the language model no pass over the picture's tokens."""
    asker = asker_of(captioner, small_nano())
    look = asker.look(picture(3))
    mask = picture(3)[..., 1] > 120
    look.describe(mask[None], "short")
    read: list[int] = []
    extend = captioner.runner.extend

    def counted(kept: Any, embeds: Any) -> Any:
        read.append(len(embeds))
        return extend(kept, embeds)

    monkeypatch.setattr(captioner.runner, "extend", counted)
    look.answer(mask, [], "What is the car?")
    look.answer(mask, [Turn(asked="What is the car?", answer="a bus")], "on the left?")
    tokens = captioner.model.config.image_tokens
    assert read
    assert max(read) < tokens


def test_a_conversation_says_what_the_plain_procedure_says(captioner: OspreyCaptioner) -> None:
    look = asker_of(captioner, small_nano()).look(picture())
    mask = picture()[..., 1] > 120
    turns: list[Turn] = []
    for question in ("short", "What is the car?", "on the left?"):
        if question == "short":
            turns += look.describe(mask[None], "short")
        else:
            turns.append(look.answer(mask, turns, question))
    texts = [TEMPLATES["demo_short"].text, "What is the car?", "on the left?"]
    for n, turn in enumerate(turns):
        plain = Conversation(
            captioner.model, captioner.tokenizer, picture(), mask[None], system=SYSTEM
        )
        plain.turns = [(text, t.answer) for text, t in zip(texts, turns[:n], strict=False)]
        assert plain.ask(texts[n], max_new_tokens=6).text == turn.answer
    alone = Conversation(
        captioner.model, captioner.tokenizer, picture(), mask[None], system=SYSTEM
    ).ask(regions_question("What is ?", 1), max_new_tokens=6)
    assert look.answer(mask, [], "What is ?").answer == alone.text


def test_specks_are_dropped_parts_are_kept() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:30, 10:30] = mask[10:30, 40:50] = True
    whole = mask.copy()
    mask[50:55, 60:65] = True
    assert (_without_specks(mask) == whole).all()
    assert (_without_specks(whole) == whole).all()
    assert not _without_specks(np.zeros((4, 4), bool)).any()


def test_everything_is_ordered_and_bounded(captioner: OspreyCaptioner) -> None:
    found = asker_of(captioner, sure_sam()).look(picture()).everything()
    assert 0 < len(found) <= 64
    assert [f.quality for f in found] == sorted((f.quality for f in found), reverse=True)
    assert all(f.mask.any() and 0 <= f.quality <= 1 for f in found)


@pytest.mark.parametrize("question", ["<mask> what", "is <IMAGE> this", "end </s> it"])
def test_marks_of_the_prompt_are_refused(captioner: OspreyCaptioner, question: str) -> None:
    look = asker_of(captioner, small_nano()).look(picture())
    with pytest.raises(ConfigError, match="plain words"):
        look.answer(np.ones((90, 130), bool), [], question)


def test_a_conversation_that_is_too_long_is_named(captioner: OspreyCaptioner) -> None:
    look = asker_of(captioner, small_nano()).look(picture())
    turns = [Turn(asked="What is the car? " * 60, answer="a bus") for _ in range(8)]
    with pytest.raises(ConfigError, match="anew"):
        look.answer(np.ones((90, 130), bool), turns, "and now?")


def test_weights_that_are_not_there() -> None:
    with pytest.raises(WeightsError, match="'nothing'"):
        OspreyAsker.load("nothing")
    with pytest.raises(WeightsError, match=r"nothing\.pth: no such SAM checkpoint"):
        OspreyAsker.load("osprey-nano", "nothing.pth")
