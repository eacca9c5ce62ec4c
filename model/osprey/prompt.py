"""Prompts: the official wording, and how it becomes token ids."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

IMAGE_TOKEN_INDEX = -200
IMAGE, REGION = "<image>", "<mask><pos>"

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions."
)
_OVERVIEW = "This provides an overview of the picture.\n"

# User texts of the official demo and evaluations, letter by letter (stray dots included).
TEMPLATES: Mapping[str, str] = MappingProxyType(
    {
        "demo_short": f"{IMAGE}\n\n{_OVERVIEW}"
        f"Please give me a short description of {REGION}. Using a short phrase.",
        "demo_detailed": f"{IMAGE}\n\n{_OVERVIEW}"
        f"Can you give me a detailed description of {REGION}?",
        "lvis_paco": f"{IMAGE}\n{_OVERVIEW}"
        f"What is the category of {REGION}? Using only one word or phrase.",
        "open_vocab_seg": f"{IMAGE}\n.\n{_OVERVIEW}What is in {REGION}? Using a short phrase.",
        "refcocog": f"{IMAGE}\n.\n{_OVERVIEW}Please give me a short description of {REGION}.",
        "description": f"{IMAGE}\n.\n{_OVERVIEW}"
        f"Could you describe the region shown as {REGION} in the picture in great detail?",
    }
)


def build_prompt(name_or_text: str) -> str:
    """The whole prompt for a template's name or for a user text of one's own.

    An own text without `<image>` is put behind the official introduction.

    Raises:
        ValueError: when the text does not ask about a region, or shows more than one image.
    """
    text = TEMPLATES.get(name_or_text, name_or_text)
    if IMAGE not in text:
        text = f"{IMAGE}\n{_OVERVIEW}{text}"
    if text.count(IMAGE) != 1:
        raise ValueError(f"a prompt shows one {IMAGE}, this one {text.count(IMAGE)}: {text!r}")
    if REGION not in text:
        names = ", ".join(TEMPLATES)
        raise ValueError(
            f"prompt {name_or_text!r} neither names a template ({names}) nor contains {REGION!r}"
        )
    if text.index(REGION) < text.index(IMAGE):
        raise ValueError(f"{REGION} has to come after {IMAGE}: {text!r}")
    return f"{SYSTEM} USER: {text} ASSISTANT:"


def tokenize_prompt(prompt: str, tokenizer: Any) -> list[int]:
    """Token ids with IMAGE_TOKEN_INDEX where the image stands.

    The chunks around `<image>` are tokenised apart, as the official helper does, and the
    begin-of-text token is kept once: the text behind the image therefore starts with a leading
    space in Llama's tokenizer.
    """
    ids: list[int] = []
    for i, chunk in enumerate(prompt.split(IMAGE)):
        chunk_ids = list(tokenizer(chunk).input_ids)
        if i:
            ids.append(IMAGE_TOKEN_INDEX)
            if chunk_ids[:1] == [tokenizer.bos_token_id]:
                chunk_ids = chunk_ids[1:]
        ids += chunk_ids
    return ids


def official_postprocess(text: str) -> str:
    """What the official demo does to an answer.

    Between the first and second colon only, cut at dots, stopped at the first repeated sentence.
    It damages legitimate text (decimals, colons), so it is for comparisons only.
    """
    text = text.strip().removesuffix("</s>").strip()
    if ":" in text:
        text = text.split(":")[1]
    kept: list[str] = []
    for sentence in text.split("."):
        if not sentence:
            continue
        if sentence in kept:
            break
        kept.append(sentence)
    return "".join(f"{sentence}." for sentence in kept)
