"""The card of a trained model: how it came about and what it can, measured on fresh seeds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from model.osprey.captioner import OspreyCaptioner
from model.synthetic.captions import parse_caption
from model.synthetic.shapes import OBJECT
from model.training.samples import ImageSample, image_sample

FRESH_SEED = 1_000_003
SHORT_SIDE_PX = 24


def measure(captioner: OspreyCaptioner, *, images: int, difficulty: float) -> dict[str, Any]:
    """Right words on scenes of seeds that training never draws.

    Returns:
        Shares in 0..1: `category` and `colour` over objects whose box is at least
        24 px on its short side in the 512 px picture, `object` over things that are
        nothing in particular, `name` over everything that was given a name, `size` and
        `place` (detailed form) over all.
    """
    rng = np.random.default_rng(FRESH_SEED)
    hits: dict[str, list[bool]] = defaultdict(list)
    for _ in range(images):
        sample = image_sample(rng, captioner.image_size_px, difficulty)
        if sample.regions:
            _judge(captioner, sample, hits)
    shares = {name: round(float(np.mean(values)), 4) for name, values in sorted(hits.items())}
    return {"images": images, "regions": len(hits["colour"]), **shares}


def _judge(captioner: OspreyCaptioner, sample: ImageSample, hits: dict[str, list[bool]]) -> None:
    masks = np.stack([region.mask for region in sample.regions])
    shorts = captioner.caption(sample.image, masks, "demo_short")
    details = captioner.caption(sample.image, masks, "demo_detailed")
    for region, short, detail in zip(sample.regions, shorts, details, strict=True):
        rows, columns = np.nonzero(region.mask)
        if min(np.ptp(rows), np.ptp(columns)) + 1 < SHORT_SIDE_PX:
            continue
        said, wanted = parse_caption(short.text), parse_caption(region.short)
        told, hoped = parse_caption(detail.text), parse_caption(region.detailed)
        kind = OBJECT if region.what == OBJECT else "category"
        hits[kind].append(said["category"] == wanted["category"])
        if said["category"] not in ("", OBJECT):
            hits["name"].append(said["category"] == wanted["category"])
        hits["colour"].append(said["colour"] == wanted["colour"])
        hits["size"].append(said["size"] == wanted["size"])
        if hoped["place"]:
            hits["place"].append(told["place"] == hoped["place"])


def write_card(
    folder: Path, facts: dict[str, Any], images: int, report: Callable[[str], None]
) -> None:
    """Measure the model in `folder` on `images` scenes of each kind, and write `card.json` and
    `README.md` beside it."""
    captioner = OspreyCaptioner.from_folder(folder, device="cpu")
    figures = {}
    for name, difficulty in (("clear scenes", 0.3), ("hard scenes", 1.0)):
        report(f"measuring on fresh {name} ...")
        figures[name] = measure(captioner, images=images, difficulty=difficulty)
    card = {**facts, "fresh_seeds": figures}
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    (folder / "README.md").write_text(_page(folder.name, card))


def _page(name: str, card: dict[str, Any]) -> str:
    lines = [
        f"# {name}",
        "",
        "The architecture of Osprey (arXiv 2312.10032), small, trained by `streamer train nano` on",
        "the synthetic world of `model/synthetic/`. It says what it knows: the categories of that",
        'world, colour, size and place; anything else is "object". The name of a thing is said',
        f"with a probability of {card['recipe']['least_sure']} or more, that of a part with",
        f"{card['recipe']['least_sure_of_parts']} or more.",
        "",
        f"- parameters: {card['parameters']:,} (float16)",
        f"- weights: {card['weights_hash']}",
        f"- training: {card['training_minutes']} minutes on {card['hardware']}, "
        f"{card['recipe']['heads_steps']} steps with heads, "
        f"{card['recipe']['answers_steps']} with answers",
        f"- recipe: `{json.dumps(card['recipe'])}`",
        "",
        "Right words on scenes from seeds never used in training:",
        "",
    ]
    for title, figures in card["fresh_seeds"].items():
        lines += [f"- {title}: `{json.dumps(figures)}`"]
    return "\n".join(lines) + "\n"
