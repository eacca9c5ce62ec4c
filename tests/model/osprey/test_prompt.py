"""Prompts against the official strings and ids, and prompts that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from model.osprey.prompt import (
    REGION,
    SYSTEM,
    TEMPLATES,
    TRAINED_SYSTEM,
    answer_labels,
    build_prompt,
    check_length,
    conversation_prompt,
    image_question,
    official_postprocess,
    regions_question,
    tokenize_prompt,
)
from model.osprey.tokenizer import load_tokenizer

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def official(reference_dir: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((reference_dir / "prompts.json").read_text())
    return data


@pytest.fixture(scope="module")
def llama_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Llama's rules over the pieces that the official prompts use, with their official ids; read
    from a folder in which `<mask>` and `<pos>` are not yet added."""
    pieces = {
        int(i): piece for i, piece in json.loads((HERE / "llama_pieces.json").read_text()).items()
    }
    vocabulary = [(pieces.get(i, f"<unused {i}>"), -1.0) for i in range(32000)]
    vocabulary[0] = ("<unk>", 0.0)
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend("▁"),
            normalizers.Replace(" ", "▁"),
            normalizers.Replace("\n", "<0x0A>"),
        ]
    )
    tokenizer.decoder = decoders.Replace("▁", " ")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(t, normalized=False) for t in ("<s>", "</s>", "<unk>")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    fast.save_pretrained(folder)
    return load_tokenizer(folder)


NAMES = ("demo_short", "demo_detailed", "lvis_paco", "open_vocab_seg", "refcocog", "description")


@pytest.mark.parametrize("name", NAMES)
def test_official_templates(official: dict[str, Any], llama_tokenizer: Any, name: str) -> None:
    prompt = build_prompt(name)
    assert prompt == official[name]["prompt"]
    assert tokenize_prompt(prompt, llama_tokenizer) == official[name]["ids"]


def test_official_question_without_a_region(official: dict[str, Any], llama_tokenizer: Any) -> None:
    question = image_question("Is there a snowboard in the image?")
    prompt = conversation_prompt([(question, None)], system=SYSTEM)
    assert prompt == official["pope"]["prompt"]
    assert tokenize_prompt(prompt, llama_tokenizer) == official["pope"]["ids"]


TWO_TURNS = {
    "train_v1_two_turn": [
        (
            f"Give me a short description of {REGION}. Answer the question using a short phrase.",
            "a red bus",
        ),
        (
            f"Please describe the region {REGION} in the image concisely. "
            "Answer the question using a short phrase.",
            "man in black coat",
        ),
    ],
    "train_stage2_coco_two_turn": [
        (
            "<image>\nIn the conversation below, you simply answer the category name based on what "
            "you see in the imagery inside a particular region. I will give you only one region "
            "each time.\n<mask>",
            "person",
        ),
        (REGION, "traffic light"),
    ],
}


@pytest.mark.parametrize("name", TWO_TURNS)
def test_official_conversations(official: dict[str, Any], llama_tokenizer: Any, name: str) -> None:
    prompt = conversation_prompt(TWO_TURNS[name])
    assert prompt == official[name]["prompt"]
    ids = tokenize_prompt(prompt, llama_tokenizer)
    assert ids == official[name]["ids"]
    assert answer_labels(ids, llama_tokenizer) == official[name]["labels"]


def test_a_sentencepiece_file_alone_gives_the_ids_of_its_time(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text.txt").write_text("\n".join([build_prompt(n) for n in TEMPLATES] * 8))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "tokenizer"),
        model_type="bpe", vocab_size=420, byte_fallback=True, character_coverage=1.0,
        normalization_rule_name="identity", add_dummy_prefix=True, minloglevel=2,
    )  # fmt: skip
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.convert_tokens_to_ids(["<mask>", "<pos>"]) == [420, 421]
    ids = tokenize_prompt(f"What is in{REGION}.</s>USER: <image>\n in the", tokenizer)
    assert ids.count(1) == 1
    assert ids[0] == 1
    pieces = tokenizer.convert_ids_to_tokens([i for i in ids if i >= 0])
    assert pieces[0] == "<s>"
    behind = pieces[pieces.index("<pos>") + 1 :]
    assert behind[0].startswith("▁")
    assert "".join(behind[: behind.index("</s>")]) == "▁."
    assert behind[behind.index("</s>") + 1].startswith("▁")
    (tmp_path / "tokenizer.model").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"tokenizer of .* cannot be read"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(ValueError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        load_tokenizer(tmp_path)


def test_corrected_templates_are_laid_out_as_in_training() -> None:
    corrected = set(TEMPLATES) - set(NAMES)
    assert corrected == {"short", "detailed", "category", "part", "attributes"}
    for name in corrected:
        prompt = build_prompt(name)
        assert prompt.startswith(f"{TRAINED_SYSTEM} USER: <image>\nThis provides an overview")
        assert "\n.\n" not in prompt
        assert prompt.count(REGION) == 1


def test_lists_of_regions() -> None:
    official = regions_question("What is region2?", 2, official=True)
    assert official == (
        "Ther are 2 part regions in the picture: region1<mask><pos>,region2<mask><pos>. "
        "What is region2?"
    )
    assert regions_question("?", 1, official=True).startswith("Ther are 1 part region in the")
    assert regions_question("?", 1).startswith("There is 1 region in the picture: region1<mask>")
    assert regions_question("?", 3).count(REGION) == 3


def test_a_lone_mask_gets_its_position_slot() -> None:
    assert "What is <mask><pos>? ASSISTANT" in build_prompt("What is <mask>?")


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "at least one turn"),
        ([("<image><image> <mask>", None)], "shows 2"),
        ([("<mask>", "a"), ("<image> <mask>", None)], "turn 2 shows 1"),
        ([("<mask> in <image>", None)], "come after <image>"),
        ([("what is <pos>", None)], "only behind <mask>"),
    ],
)
def test_misplaced_marks(turns: list[tuple[str, str | None]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conversation_prompt(turns)


def test_a_prompt_without_a_region() -> None:
    with pytest.raises(ValueError, match=r"neither names a template .*short.* nor contains"):
        build_prompt("shrot")


def test_length() -> None:
    assert check_length([1, -200, 2], image_tokens=10, context=20) == 8
    with pytest.raises(ValueError, match=r"takes 12 positions \(10 of them the picture\)"):
        check_length([1, -200, 2], image_tokens=10, context=12)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a red bus", "a red bus."),
        (" region1: a bus. a bus. a car</s>", " a bus."),
        ("a. b. b. c.", "a. b."),
        ("time: 10:30 h", " 10."),
        ("", ""),
    ],
)
def test_official_postprocessing(text: str, wanted: str) -> None:
    assert official_postprocess(text) == wanted
