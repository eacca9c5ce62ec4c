"""A word-level tokenizer for a closed vocabulary, in the format of a released model folder."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def words_of(texts: Iterable[str]) -> list[str]:
    """All words and punctuation marks of some texts, sorted, each once."""
    return sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text)})


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with `<unk>` 0, `<s>` 1, `</s>` 2 and one token a word.

    `<mask>` and `<pos>` follow the vocabulary: like in the official model their ids lie outside
    the embedding table and are always replaced by region tokens.
    """
    vocabulary = [*SPECIAL_TOKENS, *sorted(set(words) - set(SPECIAL_TOKENS))]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
    )
    fast.add_special_tokens({"additional_special_tokens": ["<mask>", "<pos>"]})
    return fast
