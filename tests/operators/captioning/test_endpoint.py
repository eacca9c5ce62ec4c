"""The endpoint captioner against a server that answers, fails, hangs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from operators.captioning.base import Refusal, Words
from operators.captioning.endpoint import EndpointCaptions, crop_with_outline
from streamer.errors import ServiceError
from tests.operators.captioning.chat_server import ChatServer, chat_server
from tests.operators.captioning.scenes import squares


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


def asked(server: ChatServer, **settings: Any) -> list[Words | Refusal]:
    given = {"url": server.url, "model": "seen", "backoff_s": 0.01, "timeout_s": 5.0} | settings
    captioner = EndpointCaptions(**given)
    captioner.setup()
    try:
        return captioner.describe([squares(1)[0]])[0]
    finally:
        captioner.close()


def texts(answers: list[Words | Refusal]) -> list[str]:
    return [answer.text if isinstance(answer, Words) else "-" for answer in answers]


WANTED = [f"a {name} thing" for name in squares(1)[1]]


def test_the_server_sees_each_region(server: ChatServer) -> None:
    answers = asked(server, detail_prompt="Tell me more.", logprobs=True)
    assert texts(answers) == WANTED
    assert [a.detail for a in answers if isinstance(a, Words)] == WANTED
    assert [a.mean_logprob for a in answers if isinstance(a, Words)] == [-0.25] * 3
    assert len(server.requests) == 6
    body = server.requests[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("seen", 0, 128)


def test_the_key_comes_from_the_environment(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked(server)
    monkeypatch.setenv("MY_KEY", "k1")
    asked(server, api_key_env="MY_KEY")
    assert server.keys == [None] * 3 + ["Bearer k1"] * 3


def test_requests_run_side_by_side_and_no_more_than_allowed(server: ChatServer) -> None:
    server.delay_s = 0.15
    asked(server, concurrency=3)
    assert server.most == 3
    server.most = 0
    asked(server, concurrency=1)
    assert server.most == 1


@pytest.mark.parametrize("fault", [503, 429, 500, "cut"])
def test_what_may_pass_is_tried_again(server: ChatServer, fault: int | str) -> None:
    server.faults = [fault, fault]
    assert texts(asked(server, concurrency=1)) == WANTED
    assert len(server.requests) == 5


def test_a_server_that_hangs_once(server: ChatServer) -> None:
    server.faults = ["hang"]
    assert texts(asked(server, timeout_s=0.3)) == WANTED


def test_a_server_that_hangs_for_good(server: ChatServer) -> None:
    server.always = "hang"
    start_s = time.monotonic()
    answers = asked(server, timeout_s=0.2, retries=1)
    assert time.monotonic() - start_s < 5
    for answer in answers:
        assert isinstance(answer, Refusal)
        assert answer.reason == f"{server.url}: no answer within 0.2 s (after 2 attempts)"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (400, "status 400: told to say 400"),
        ("html", "no choices[0].message.content"),
        ("empty", "the answer is empty"),
    ],
)
def test_one_bad_answer_harms_no_other(server: ChatServer, fault: int | str, reason: str) -> None:
    server.faults = [fault]
    answers = asked(server, concurrency=1)
    assert isinstance(answers[0], Refusal)
    assert reason in answers[0].reason
    assert texts(answers)[1:] == WANTED[1:]
    assert len(server.requests) == 3


def test_pauses_grow_and_the_server_may_ask_for_longer(server: ChatServer) -> None:
    server.faults = [503, 503]
    start_s = time.monotonic()
    asked(server, concurrency=1, backoff_s=0.1)
    assert time.monotonic() - start_s >= 0.3
    server.faults, server.headers = [429], {"Retry-After": "0.4"}
    start_s = time.monotonic()
    asked(server, concurrency=1)
    assert time.monotonic() - start_s >= 0.4


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "set OPENAI_API_KEY to a valid key"), (404, "model's name 'seen'")]
)
def test_what_no_region_will_survive_ends_the_run(
    server: ChatServer, status: int, hint: str
) -> None:
    server.always = status
    with pytest.raises(ServiceError, match=hint) as caught:
        asked(server)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "localhost:8000"}, "write http://host:port/v1"),
        ({"concurrency": 0}, "concurrency is 0; it is at least 1"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0; it is above 0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EndpointCaptions(**{"url": "http://127.0.0.1:8000/v1", "model": "m", **change})


def test_the_crop_shows_the_region_and_its_surroundings() -> None:
    image = np.full((300, 400, 3), 90, np.uint8)
    mask = np.zeros((300, 400), np.bool_)
    mask[100:140, 0:60] = True
    image[mask] = (0, 255, 0)
    crop = crop_with_outline(image, mask, margin=0.5, max_side_px=768)
    assert crop.shape == (40 + 2 * 24, 60 + 34, 3)
    red = (crop == (255, 0, 0)).all(axis=2)
    green = (crop == (0, 255, 0)).all(axis=2)
    assert green.sum() == mask.sum()  # the outline runs around it
    assert red.sum() > 100
    assert image.max(axis=(0, 1)).tolist() == [90, 255, 90]  # the picture itself stays
    small = crop_with_outline(image, mask, margin=0.5, max_side_px=47)
    assert max(small.shape[:2]) == 47
