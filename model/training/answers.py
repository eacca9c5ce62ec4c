"""Stage 2: the language model learns to say what the tokens hold.

All regions of an image share one prefix, in training as in use: the row of an image is

    head of the prompt | image tokens | question and answer of region 1 | ... of region R

where every question attends to the prefix and to itself only, at the positions it would have if
it were alone. The tower stays frozen. Pictures may be smaller than in use: their fewer image
tokens are spread over the positions of a full picture, so that a question stands where it will.

Shapes: B images, T positions of the longest row, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from model.osprey.model import Osprey
from model.osprey.prompt import IMAGE_TOKEN_INDEX, build_prompt, tokenize_prompt
from model.training.samples import ImageSample

IGNORE = -100


@dataclass(frozen=True)
class Turn:
    """Token ids of a question, from the first one after the image, and of its answer."""

    question: tuple[int, ...]
    answer: tuple[int, ...]


class Questions:
    """The two templates of the product, split where the image stands."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.templates: dict[str, tuple[list[int], tuple[int, ...]]] = {}
        for name in ("demo_short", "demo_detailed"):
            ids = list(tokenize_prompt(build_prompt(name), tokenizer))
            at = ids.index(IMAGE_TOKEN_INDEX)
            self.templates[name] = (ids[:at], tuple(ids[at + 1 :]))

    @property
    def head(self) -> list[int]:
        """Ids before the image; the same for both templates."""
        return self.templates["demo_short"][0]

    def turn(self, name: str, answer: str) -> Turn:
        """The question of a template with its answer and the end token."""
        ids = self.tokenizer(answer, add_special_tokens=False).input_ids
        return Turn(self.templates[name][1], (*ids, self.tokenizer.eos_token_id))


def answers_loss(
    model: Osprey,
    questions: Questions,
    pixels_BCHW: Tensor,
    samples: Sequence[ImageSample],
    rng: np.random.Generator,
) -> Tensor:
    """Next-token cross entropy of the answers, mean over their tokens."""
    with torch.no_grad():
        levels = model.vision_tower(pixels_BCHW)
    image_BND = model.image_tokens(levels)
    rows, labels, positions, segments = [], [], [], []
    for i, (of_image, sample) in enumerate(zip(levels.images(), samples, strict=True)):
        masks = torch.from_numpy(np.stack([region.mask for region in sample.regions]))
        mask_RD, position_RD = model.mask_extractor(of_image, masks.to(model.device))
        turns = []
        for region in sample.regions:
            short = bool(rng.random() < 0.5)
            name, text = (
                ("demo_short", region.short) if short else ("demo_detailed", region.detailed)
            )
            turns.append(questions.turn(name, text))
        row = _row(model, questions.head, image_BND[i], mask_RD, position_RD, turns)
        rows.append(row[0])
        labels.append(row[1])
        positions.append(row[2])
        segments.append(row[3])
    embeds = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    label_BT = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORE)
    position_BT = torch.nn.utils.rnn.pad_sequence(positions, batch_first=True)
    segment_BT = torch.nn.utils.rnn.pad_sequence(segments, batch_first=True, padding_value=-1)
    segment_BT, label_BT = segment_BT.to(embeds.device), label_BT.to(embeds.device)
    hidden = model.language.model(
        inputs_embeds=embeds,
        attention_mask=_attention(segment_BT, embeds.dtype),
        position_ids=position_BT.to(embeds.device),
        use_cache=False,
    ).last_hidden_state
    wanted = torch.roll(label_BT, -1, dims=1)
    spoken = wanted != IGNORE
    return F.cross_entropy(model.language.lm_head(hidden[spoken]), wanted[spoken])


def _row(
    model: Osprey,
    head: list[int],
    image_ND: Tensor,
    mask_RD: Tensor,
    position_RD: Tensor,
    turns: Sequence[Turn],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Embeddings, labels, positions and segments (0 = prefix, r + 1 = region r) of an image."""
    prefix = torch.cat([model.embed(torch.tensor(head)), image_ND])
    n = prefix.shape[0]
    parts = [prefix]
    labels = [torch.full((n,), IGNORE)]
    at = len(head)
    full = (model.config.image_size_px // 16) ** 2  # of res4
    spread = at + torch.arange(n - at) * full // (n - at)
    positions = [torch.cat([torch.arange(at), spread])]
    segments = [torch.zeros(n, dtype=torch.long)]
    for r, turn in enumerate(turns):
        ids = torch.tensor((*turn.question, *turn.answer))
        slot = turn.question.index(model.config.mask_token_id)
        embeds = model.embed(torch.cat([ids[:slot], ids[slot + 2 :]]))
        parts += [embeds[:slot], mask_RD[r : r + 1], position_RD[r : r + 1], embeds[slot:]]
        label = ids.clone()
        label[: len(turn.question)] = IGNORE
        labels.append(label)
        positions.append(torch.arange(at + full, at + full + len(ids)))
        segments.append(torch.full((len(ids),), r + 1))
    return torch.cat(parts), torch.cat(labels), torch.cat(positions), torch.cat(segments)


def _attention(segment_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive Bx1xTxT mask: causal, to the prefix and to the own segment."""
    same = segment_BT[:, :, None] == segment_BT[:, None, :]
    to_prefix = (segment_BT == 0)[:, None, :] & (segment_BT >= 0)[:, :, None]
    length = segment_BT.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment_BT.device).tril()
    allowed = (same | to_prefix) & causal
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
        ~allowed, torch.finfo(dtype).min
    )[:, None]
