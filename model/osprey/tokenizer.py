"""The tokenizer of a model folder, split as the official code splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

REGION_TOKENS = ["<mask>", "<pos>"]


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, with `<mask>` and `<pos>` added where they are missing.

    `tokenizer.json` is taken as it is. A folder with a `tokenizer.model` alone is read by the
    rules of the library of its time: a begin-of-text token, and every stretch of text behind a
    special token begins with a space of its own. Newer libraries leave these out, which would
    change the ids.

    Raises:
        ValueError: when there is no tokenizer, or what reads it is not installed.
    """
    own = (folder / "tokenizer.json").is_file()
    sentencepiece = not own and (folder / "tokenizer.model").is_file()
    if not own and not sentencepiece:
        raise ValueError(f"{folder} has neither tokenizer.json nor tokenizer.model")
    kind = PreTrainedTokenizerFast if own else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(folder)
    except ImportError:
        raise ValueError(
            f"{folder / 'tokenizer.model'} needs sentencepiece and protobuf: "
            "pip install 'osprey-streamer[official]'"
        ) from None
    except Exception as error:  # the library raises whatever its parsers raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ValueError(f"the tokenizer of {folder} cannot be read: {reason}") from None
    if sentencepiece:
        tokenizer.add_bos_token = True
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = None
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    tokenizer.add_special_tokens({"additional_special_tokens": REGION_TOKENS})
    return tokenizer
