"""Prompts: everything Osprey can be asked, as data, and how it becomes token ids.

A region in a text is `<mask><pos>`: the first becomes its mask token, the second its position
token. Regions take their masks by order of appearance, over all turns of a conversation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

IMAGE_TOKEN_INDEX = -200
IMAGE, MASK, POSITION = "<image>", "<mask>", "<pos>"
REGION = MASK + POSITION

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions."
)
# what the released weights were trained with; the official inference says "human"
TRAINED_SYSTEM = SYSTEM.replace("human", "user")
_OVERVIEW = "This provides an overview of the picture.\n"
_SHORT_FORM = "Answer the question using a single word or phrase."


@dataclass(frozen=True)
class Template:
    """A user text about one region, with the system prompt it goes with."""

    text: str
    system: str = SYSTEM


def _official(question: str, after_image: str = "\n") -> Template:
    return Template(f"{IMAGE}{after_image}{_OVERVIEW}{question}")


def _corrected(question: str) -> Template:
    return Template(f"{IMAGE}\n{_OVERVIEW}{question}", TRAINED_SYSTEM)


# The first six are the texts of the official demo and evaluations, letter by letter (two newlines
# and stray dots included). The others are laid out as in training: one newline after the image,
# no stray dot, and the system prompt of the training.
TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "demo_short": _official(
            f"Please give me a short description of {REGION}. Using a short phrase.", "\n\n"
        ),
        "demo_detailed": _official(f"Can you give me a detailed description of {REGION}?", "\n\n"),
        "lvis_paco": _official(f"What is the category of {REGION}? Using only one word or phrase."),
        "open_vocab_seg": _official(f"What is in {REGION}? Using a short phrase.", "\n.\n"),
        "refcocog": _official(f"Please give me a short description of {REGION}.", "\n.\n"),
        "description": _official(
            f"Could you describe the region shown as {REGION} in the picture in great detail?",
            "\n.\n",
        ),
        "short": _corrected(
            f"Please give me a short description of {REGION}. "
            "Answer the question using a short phrase."
        ),
        "detailed": _corrected(f"Can you give me a detailed description of {REGION}?"),
        "category": _corrected(f"What is the category of {REGION}? {_SHORT_FORM}"),
        "part": _corrected(f"Which part of which object is {REGION}? {_SHORT_FORM}"),
        "attributes": _corrected(
            f"What are the attributes of {REGION}, such as its color, material and pattern?"
        ),
    }
)


def build_prompt(name_or_text: str) -> str:
    """The whole prompt about one region for a template's name or for a user text of one's own.

    An own text without `<image>` is put behind the official introduction.

    Raises:
        ValueError: when the text does not ask about a region, or shows more than one image.
    """
    template = TEMPLATES.get(name_or_text, Template(name_or_text))
    text = template.text
    if MASK not in text:
        names = ", ".join(TEMPLATES)
        raise ValueError(
            f"prompt {name_or_text!r} neither names a template ({names}) nor contains {REGION!r}"
        )
    return conversation_prompt([(text, None)], system=template.system)


def regions_question(question: str, regions: int, *, official: bool = False) -> str:
    """A question about several regions, listed in front as region1, region2, ...; the question
    may name them so. Later turns of a conversation name them without listing them again.

    Args:
        official: the list as the training data has it, its misspelling included.
    """
    listed = ",".join(f"region{i}{REGION}" for i in range(1, regions + 1))
    plural = "s" if regions > 1 else ""
    if official:
        return f"Ther are {regions} part region{plural} in the picture: {listed}. {question}"
    verb = "are" if regions > 1 else "is"
    return f"There {verb} {regions} region{plural} in the picture: {listed}. {question}"


def image_question(question: str) -> str:
    """A question about the whole picture; it needs no region."""
    return f"{IMAGE}\n{question}"


def conversation_prompt(
    turns: Sequence[tuple[str, str | None]], *, system: str = TRAINED_SYSTEM
) -> str:
    """The whole prompt of a conversation.

    Args:
        turns: user texts with their answers; the last answer is None when it is to be given. The
            first text shows the image; one without `<image>` is put behind the official
            introduction.

    Raises:
        ValueError: for no turn, an image elsewhere than in the first turn, a region before it,
            or `<pos>` without `<mask>`.
    """
    if not turns:
        raise ValueError("a conversation has at least one turn")
    pieces = []
    for i, (text, answer) in enumerate(turns):
        text = re.sub(f"{MASK}(?!{POSITION})", REGION, text)
        if i == 0 and IMAGE not in text:
            text = f"{IMAGE}\n{_OVERVIEW}{text}"
        shown = text.count(IMAGE)
        if shown != (i == 0):
            raise ValueError(
                f"a prompt shows one {IMAGE}, in its first turn; turn {i + 1} shows {shown}: "
                f"{text!r}"
            )
        if i == 0 and MASK in text[: text.index(IMAGE)]:
            raise ValueError(f"{REGION} has to come after {IMAGE}: {text!r}")
        if text.count(POSITION) != text.count(MASK):
            raise ValueError(f"{POSITION} stands only behind {MASK}: {text!r}")
        pieces.append(f"USER: {text} ASSISTANT:" + ("" if answer is None else f" {answer}</s>"))
    return f"{system} " + "".join(pieces)


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


def check_length(ids: Sequence[int], *, image_tokens: int, context: int) -> int:
    """How many tokens of an answer fit behind a prompt.

    Raises:
        ValueError: when not one does.
    """
    length = len(ids) - 1 + image_tokens
    if length >= context:
        raise ValueError(
            f"the prompt takes {length} positions ({image_tokens} of them the picture), the model "
            f"has {context}; ask for less at a time"
        )
    return context - length


def answer_labels(ids: Sequence[int], tokenizer: Any, *, ignored: int = -100) -> list[int]:
    """Training targets for a conversation's ids: the answers and their end tokens, no more."""
    asks = tokenizer("ASSISTANT:", add_special_tokens=False).input_ids
    labels = [ignored] * len(ids)
    answering = False
    for i, token in enumerate(ids):
        if answering:
            labels[i] = token
            answering = token != tokenizer.eos_token_id
        else:
            answering = list(ids[i + 1 - len(asks) : i + 1]) == asks
    return labels


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
