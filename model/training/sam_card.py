"""The card of a sam-nano: how it came about, and how well its masks fit on fresh seeds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.sam.segmenter import Prompts, Segmenter
from model.synthetic.scene import Scene, sample_scene
from model.training.prompts import MIN_REGION_PX
from model.weights.files import file_hash, weight_files

BoolMask = NDArray[np.bool_]
FRESH_SEED = 2_000_003
_SCENE_PX = 512
_KINDS = ("objects", "parts")


def measure(segmenter: Segmenter, *, images: int, difficulty: float) -> dict[str, Any]:
    """Mean IoU on scenes of seeds that training never draws.

    Scenes are 512 x 512 with 9 to 16 objects of 20 to 170 px on the short side, many of them
    partly hidden; every visible mask of at least 40 px counts. The point is the pixel farthest
    from the outline, the box is tight.

    Returns:
        For objects and for named parts: how many, and the mean IoU in 0..1 from a `point` and a
        `box`, each as the best of the three masks (`*_best`) and as the one of highest predicted
        quality.
    """
    rng = np.random.default_rng([FRESH_SEED, round(100 * difficulty)])
    ious: dict[tuple[str, str], list[float]] = {}
    for _ in range(images):
        scene = sample_scene(
            rng, _SCENE_PX, _SCENE_PX, difficulty=difficulty,
            n_objects=int(rng.integers(9, 17)), short_side_px=(20, 170),
        )  # fmt: skip
        for kind, masks in zip(_KINDS, _masks(scene), strict=True):
            if masks:
                for name, found in _asked(segmenter, scene.image, np.stack(masks)).items():
                    ious.setdefault((kind, name), []).extend(found)
    figures: dict[str, Any] = {"images": images}
    for kind in _KINDS:
        named = {name: values for (of, name), values in ious.items() if of == kind}
        count = len(next(iter(named.values()), []))
        means = {name: round(float(np.mean(values)), 4) for name, values in named.items()}
        figures[kind] = {"count": count, **means}
    return figures


def _masks(scene: Scene) -> tuple[list[BoolMask], list[BoolMask]]:
    wholes = [obj.mask for obj in scene.objects]
    parts = [mask for obj in scene.objects for mask in obj.parts.values()]
    large = ([mask for mask in masks if mask.sum() >= MIN_REGION_PX] for masks in (wholes, parts))
    return next(large), next(large)


def _asked(
    segmenter: Segmenter, image: NDArray[np.uint8], masks: BoolMask
) -> dict[str, list[float]]:
    """IoUs of what is found for each of N masks."""
    points = np.array([_deepest(mask) for mask in masks], np.float32)[:, None]
    flats = [cv2.boundingRect(mask.view(np.uint8)) for mask in masks]
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in flats], np.float32)
    found = {}
    for name, prompts in (
        ("point", Prompts(points=points, labels=np.ones((len(points), 1), np.intp))),
        ("box", Prompts(boxes=boxes)),
    ):
        answers = segmenter.ask(image, prompts)
        common = (answers.masks & masks[:, None]).sum((2, 3))
        ious = common / np.maximum(1, (answers.masks | masks[:, None]).sum((2, 3)))
        found[f"{name}_best"] = ious.max(axis=1).tolist()
        found[name] = ious[np.arange(len(ious)), answers.quality.argmax(axis=1)].tolist()
    return found


def _deepest(mask: BoolMask) -> tuple[int, int]:
    padded = np.pad(mask.view(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


@torch.inference_mode()
def embedding_ms(sam: Any, rounds: int = 10) -> float:
    """Median time of one image embedding, in milliseconds."""
    side = sam.image_encoder.img_size
    pixels = torch.zeros(1, 3, side, side, device=sam.device)
    times = []
    for _ in range(rounds + 2):
        start_s = time.perf_counter()
        sam.image_encoder(pixels)
        times.append(time.perf_counter() - start_s)
    return float(np.median(times[2:]) * 1e3)


def write_card(
    folder: Path, facts: dict[str, Any], images: int, report: Callable[[str], None]
) -> None:
    """Measure the model in `folder` on `images` scenes of each kind, and write `card.json` and
    `README.md` beside it."""
    segmenter = Segmenter.nano(str(folder), device="cpu")
    figures = {}
    for name, difficulty in (("clear scenes", 0.3), ("hard scenes", 1.0)):
        report(f"measuring on fresh {name} ...")
        figures[name] = measure(segmenter, images=images, difficulty=difficulty)
    card = {
        **facts,
        "weights_hash": file_hash(weight_files(folder)),
        "embedding_ms": round(embedding_ms(segmenter.predictor.model), 1),
        "fresh_seeds": figures,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    (folder / "README.md").write_text(_page(folder.name, card))


def _page(name: str, card: dict[str, Any]) -> str:
    recipe = card["recipe"]
    lines = [
        f"# {name}",
        "",
        "The architecture of SAM (arXiv 2304.02643), small, behind a convolutional image encoder,",
        "trained by `streamer train sam-nano` on the synthetic world of `model/synthetic/`:",
        "objects of its categories and textured shapes of none, their parts, and the shapes that",
        "backgrounds are made of. It finds outlines that can be seen; it names nothing.",
        "",
        f"- parameters: {card['parameters']:,} (float16)",
        f"- weights: {card['weights_hash']}",
        f"- training: {card['training_minutes']} minutes on {card['hardware']}, seed "
        f"{recipe['seed']}: "
        + ", then ".join(
            f"{s['steps']} batches of {s['images']} pictures of {s['side_px']} px, "
            f"{s['prompts']} prompts each"
            for s in recipe["stages"]
        ),
        f"- recipe: `{json.dumps(recipe)}`",
        f"- image embedding: {card['embedding_ms']} ms a picture, where it was trained",
        "",
        "Mean IoU on scenes from seeds never used in training, every visible mask of 40 px or more",
        "(`*_best`: the best of three masks; otherwise the one the model holds for its best):",
        "",
        "| scenes | masks | count | point_best | point | box_best | box |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, figures in card["fresh_seeds"].items():
        for kind in _KINDS:
            row = figures[kind]
            cells = [f"{row.get(k, 0):.3f}" for k in ("point_best", "point", "box_best", "box")]
            lines.append(f"| {title} | {kind} | {row['count']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
