"""What every captioner keeps; a new one is added to `captioner` below."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.osprey.checkpoint import save_folder
from operators.caption import CaptionRegions
from operators.captioning.base import Captioner, Picture, Refusal, Words
from streamer.errors import StreamerError
from streamer.mask import Mask
from streamer.records import Caption, CaptionRequest, Event, Region
from streamer.testing import check_operator, frames_of
from tests.model.osprey.small_models import small_model, small_tokenizer
from tests.operators.captioning.chat_server import chat_server
from tests.operators.captioning.scenes import HW, squares, write_small_clip

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("osprey", "endpoint", "clip")


@pytest.fixture(scope="module", params=NAMES)
def settings(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[dict[str, Any]]:
    """The settings of each captioner, ready to be set up."""
    if request.param == "osprey":
        folder = tmp_path_factory.mktemp("osprey")
        save_folder(small_model(seed=3), small_tokenizer(), folder)
        yield {
            "captioner": "osprey", "weights": str(folder), "device": "cpu", "max_new_tokens": 12,
        }  # fmt: skip
    elif request.param == "endpoint":
        with chat_server() as server:
            yield {"captioner": "endpoint", "url": server.url, "model": "seen", "backoff_s": 0.01}
    else:
        folder = write_small_clip(tmp_path_factory.mktemp("clip"))
        yield {
            "captioner": "clip", "weights": str(folder), "image_size_px": 128, "device": "cpu",
            "labels": ["red, crimson", "green", "blue"],
        }  # fmt: skip


@pytest.fixture(scope="module")
def captioner(settings: dict[str, Any]) -> Iterator[Captioner]:
    made = CaptionRegions(**settings).captioner
    made.setup()
    yield made
    made.close()
    made.close()


def test_every_region_gets_words_in_order(captioner: Captioner) -> None:
    first, second = squares(1)[0], squares(2)[0]
    answers = captioner.describe([first, second])
    assert [len(row) for row in answers] == [3, 3]
    for words in answers[0] + answers[1]:
        assert isinstance(words, Words)
        assert words.text == words.text.strip() != ""
        assert words.mean_logprob is None or words.mean_logprob <= 0
    assert captioner.describe([first, second]) == answers


def test_words_do_not_depend_on_company(captioner: Captioner) -> None:
    first, second = squares(1)[0], squares(2)[0]
    together = captioner.describe([first, second])
    for picture, row in zip((first, second), together, strict=True):
        for mask, words in zip(picture.masks, row, strict=True):
            ((alone,),) = captioner.describe([Picture(image=picture.image, masks=[mask])])
            assert isinstance(alone, Words)
            assert isinstance(words, Words)
            assert alone.text == words.text
            assert alone.mean_logprob == pytest.approx(words.mean_logprob, abs=1e-4)


def test_bad_masks_are_refused_and_harm_no_other(captioner: Captioner) -> None:
    picture, _ = squares(1)
    (good,) = captioner.describe([picture])
    masks = [np.zeros(HW, np.bool_), picture.masks[0], np.ones((60, 60), np.bool_)]
    masks += picture.masks[1:]
    ((empty, *rest),) = captioner.describe([Picture(image=picture.image, masks=masks)])
    assert empty == Refusal("the mask has no pixel inside its picture")
    assert rest[1] == Refusal("the mask is 60 x 60 pixels, its picture 120 x 200")
    said = [rest[0], rest[2], rest[3]]
    assert [w.text for w in said if isinstance(w, Words)] == [
        w.text for w in good if isinstance(w, Words)
    ]
    bad = Picture(image=picture.image, masks=masks[:1])
    assert captioner.describe([bad, Picture(image=picture.image, masks=[])])[1] == []
    assert captioner.describe([]) == []


def test_one_pixel_is_enough(captioner: Captioner) -> None:
    picture, _ = squares(1)
    mask = np.zeros(HW, np.bool_)
    mask[50, 101] = True
    ((words,),) = captioner.describe([Picture(image=picture.image, masks=[mask])])
    assert isinstance(words, Words)


def test_it_says_whose_words_they_are(captioner: Captioner, settings: dict[str, Any]) -> None:
    assert captioner.name
    assert len(captioner.weights_hash) == (0 if settings["captioner"] == "endpoint" else 12)


def request_of(seed: int, *, broken: bool = False) -> CaptionRequest:
    picture, _ = squares(seed)
    (frame,) = frames_of([picture.image], first_ns=seed * 10**9)
    masks = [Mask.encode(mask) for mask in picture.masks]
    if broken:
        masks[1] = Mask.encode(np.ones((8, 8), np.bool_))
    regions = tuple(
        Region(mask=mask, box_xyxy=mask.box_xyxy, score=1.0, track_id=i + 1)
        for i, mask in enumerate(masks)
    )
    return CaptionRequest(
        frame=frame, asked_ns=frame.time_ns, regions=regions, why=("new",) * 3,
        start_ns=(frame.time_ns,) * 3,
    )  # fmt: skip


def test_the_operator_over_it(settings: dict[str, Any]) -> None:
    cut = Event(stream_id="test", time_ns=2 * 10**9, kind="cut")
    items = [request_of(1), cut, request_of(2, broken=True)]
    made = check_operator(lambda: CaptionRegions(**settings), items)
    kinds = [r.kind if isinstance(r, Event) else "caption" for r in made]
    assert kinds == [*["caption"] * 3, "cut", "caption", "caption_error", "caption"]
    error = made[5]
    assert isinstance(error, Event)
    assert error.track_id == 2
    assert "8 x 8" in error.data["reason"]
    for caption in (r for r in made if isinstance(r, Caption)):
        assert (caption.model, caption.end_ns) != ("", 0)
        assert caption.to_json()["text"] == caption.text


def test_a_failed_setup_is_one_line_and_can_be_closed(settings: dict[str, Any]) -> None:
    wrong = {"endpoint": {"url": "http://127.0.0.1:9/v1"}}.get(
        settings["captioner"], {"weights": "nowhere"}
    )
    operator = CaptionRegions(**{**settings, **wrong})
    with pytest.raises(StreamerError) as caught:
        operator.setup()
    assert len(str(caught.value).splitlines()) == 1
    operator.close()


def test_a_constructor_is_cheap() -> None:
    code = (
        "import sys; from operators.caption import CaptionRegions; "
        "CaptionRegions(); CaptionRegions('clip', labels=['a']); "
        "CaptionRegions('endpoint', url='http://x/v1', model='m'); "
        "print([m for m in ('torch', 'open_clip', 'httpx', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
