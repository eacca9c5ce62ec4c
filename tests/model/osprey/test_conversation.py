"""Conversations give the tokens of the plain forward pass, whatever the cache kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.osprey.captioner import OspreyCaptioner
from model.osprey.conversation import Conversation, ask
from model.osprey.model import Osprey
from model.osprey.processor import preprocess
from model.osprey.prompt import (
    SYSTEM,
    TEMPLATES,
    TRAINED_SYSTEM,
    conversation_prompt,
    image_question,
    official_postprocess,
    regions_question,
    tokenize_prompt,
)
from tests.model.osprey.small_models import small_model, small_tokenizer


@pytest.fixture(scope="module")
def model() -> Osprey:
    return small_model(seed=3)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return small_tokenizer()


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)


def some_masks(n: int) -> NDArray[np.bool_]:
    masks = np.zeros((n, 90, 120), np.bool_)
    for i in range(n):
        masks[i, 10 + 9 * i : 40 + 9 * i, 5 + 20 * i : 50 + 20 * i] = True
    return masks


def plain_tokens(
    model: Osprey, tokenizer: Any, image: Any, masks: Any, prompt: str, many: int
) -> list[int]:
    """Argmax of the official forward pass, run anew for every token."""
    ids = tokenize_prompt(prompt, tokenizer)
    pixels = preprocess(image, 128)[None]
    made: list[int] = []
    with torch.inference_mode():
        while len(made) < many:
            row = torch.tensor([ids + made])
            logits = model(pixels, row, [torch.from_numpy(masks)]).logits[0, -1]
            if int(logits.argmax()) == tokenizer.eos_token_id:
                break
            made.append(int(logits.argmax()))
    return made


SEVERAL = regions_question("What is region1 ?", 2)
CASES: dict[str, tuple[int, list[str]]] = {
    "one region": (1, ["short"]),
    "several regions": (2, [SEVERAL]),
    "turns": (3, [SEVERAL, "What is <mask> ?", "And what is on the left ?"]),
    "no region": (0, [image_question("What is on the left ?"), "And the blue car ?"]),
}


@pytest.mark.parametrize("case", CASES)
def test_same_tokens_as_the_forward_pass(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8], case: str
) -> None:
    count, questions = CASES[case]
    masks = some_masks(count)
    answers = ask(model, tokenizer, image, masks, questions, max_new_tokens=6)
    turns: list[tuple[str, str | None]] = []
    for question, answer in zip(questions, answers, strict=True):
        text = TEMPLATES[question].text if question in TEMPLATES else question
        prompt = conversation_prompt([*turns, (text, None)], system=TRAINED_SYSTEM)
        mentioned = prompt.count("<mask>")
        wanted = plain_tokens(model, tokenizer, image, masks[:mentioned], prompt, 6)
        assert list(answer.token_ids) == wanted
        assert all(p <= 0 for p in answer.token_logprobs)
        turns.append((text, answer.text))
    assert len({answer.token_ids for answer in answers}) == len(answers)


def test_regions_matter_and_take_their_masks_by_order(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8]
) -> None:
    masks = some_masks(3)
    one, other = (
        ask(model, tokenizer, image, order, [regions_question("What is region1 ?", 3)])[0]
        for order in (masks, masks[::-1].copy())
    )
    assert one.token_ids != other.token_ids


def test_later_turns_run_only_what_is_new(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Conversation(model, tokenizer, image, some_masks(1))
    steps: list[int] = []
    advance = talk._advance
    monkeypatch.setattr(
        talk, "_advance", lambda embeds: steps.append(len(embeds)) or advance(embeds)
    )
    talk.ask("What is <mask> ?", max_new_tokens=4)
    first = steps[0]
    steps.clear()
    talk.ask("And the car ?", max_new_tokens=4)
    assert first > 64
    assert steps[0] < 20


def test_a_region_says_the_same_alone_and_among_64(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8]
) -> None:
    rng = np.random.default_rng(2)
    masks = np.zeros((64, 90, 120), np.bool_)
    for mask in masks:
        y, x, h, w = *rng.integers(0, (70, 90)), *rng.integers(8, 30, 2)
        mask[y : y + h, x : x + w] = True
    captioner = OspreyCaptioner(model, tokenizer, name="small", weights_hash="0")
    together = captioner.caption(image, masks, "demo_short", max_new_tokens=6)
    assert len({answer.token_ids for answer in together}) > 8
    for i in range(0, 64, 7):
        (alone,) = captioner.caption(image, masks[i : i + 1], "demo_short", max_new_tokens=6)
        talk = Conversation(model, tokenizer, image, masks[i : i + 1], system=SYSTEM)
        asked = talk.ask("demo_short", max_new_tokens=6)
        assert together[i].token_ids == alone.token_ids == asked.token_ids
        np.testing.assert_allclose(together[i].token_logprobs, asked.token_logprobs, atol=1e-4)


def test_postprocessing_is_a_switch(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8]
) -> None:
    plain, cut = (
        ask(model, tokenizer, image, some_masks(1), ["short"], postprocess=switch)[0]
        for switch in (False, True)
    )
    assert plain.token_ids == cut.token_ids
    assert cut.text == official_postprocess(plain.text) != plain.text


def test_answers_end_where_the_context_does(tokenizer: Any, image: NDArray[np.uint8]) -> None:
    short = small_model(seed=3, max_position_embeddings=125)
    talk = Conversation(short, tokenizer, image, some_masks(1))
    used = (
        64
        - 1
        + len(tokenize_prompt(conversation_prompt([(TEMPLATES["short"].text, None)]), tokenizer))
    )
    answer = talk.ask("short", max_new_tokens=100)
    assert len(answer.token_ids) <= 125 - used
    with pytest.raises(ValueError, match="the model has 125"):
        talk.ask("What is on the left ? " * 9)
    assert len(talk.turns) == 1


@pytest.mark.parametrize(
    ("change", "questions", "message"),
    [
        (lambda m: m[:, :80], ["short"], r"masks are R x 90 x 120 like the picture, not \(1, 80"),
        (lambda m: m & False, ["short"], r"without a pixel .*: \[0\]"),
        (lambda m: m.astype(np.float32) * np.nan, ["short"], r"NaN or infinite values: \[0\]"),
        (lambda m: m, ["short", "What is <mask> ?"], "2 <mask> in the questions for 1 regions"),
        (lambda m: m, ["What is this ?"], "0 <mask> in the questions for 1 regions"),
        (lambda m: m[0], ["short"], "masks are R x"),
    ],
)
def test_mistakes(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8], change: Any, questions: list[str],
    message: str,
) -> None:  # fmt: skip
    with pytest.raises(ValueError, match=message):
        ask(model, tokenizer, image, change(some_masks(1)), questions)


def test_more_marks_than_regions_leave_the_conversation_as_it_was(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8]
) -> None:
    talk = Conversation(model, tokenizer, image, some_masks(1))
    with pytest.raises(ValueError, match=r"2 <mask> up to .* but 1 regions were given"):
        talk.ask("Is <mask> left of <mask> ?")
    fresh = Conversation(model, tokenizer, image, some_masks(1))
    assert talk.ask("short") == fresh.ask("short")


def test_weights_that_are_no_numbers(tokenizer: Any, image: NDArray[np.uint8]) -> None:
    damaged = small_model()
    torch.nn.init.constant_(damaged.language.model.norm.weight, float("nan"))
    with pytest.raises(ValueError, match=r"NaN.*weights are damaged"):
        Conversation(damaged, tokenizer, image, some_masks(1)).ask("short")


def test_an_answer_that_reads_differently_is_run_anew(
    model: Osprey, tokenizer: Any, image: NDArray[np.uint8]
) -> None:
    """What the cache has of an answer goes where the next prompt parts from it."""
    talk = Conversation(model, tokenizer, image, some_masks(1))
    talk.ask("short", max_new_tokens=6)
    talk.turns = [(talk.turns[0][0], "a red car")]
    after = talk.ask("on the left?", max_new_tokens=6)
    anew = Conversation(model, tokenizer, image, some_masks(1))
    anew.turns = talk.turns[:1]
    assert after.token_ids == anew.ask("on the left?", max_new_tokens=6).token_ids
