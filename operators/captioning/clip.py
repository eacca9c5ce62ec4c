"""Labels from a list instead of free words: CLIP as a zero-shot classifier of regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from operators.captioning.base import Captioner, Refusal, Words
from streamer.errors import WeightsError

if TYPE_CHECKING:
    from model.clip.region_classifier import RegionClassifier

_TEMPLATES = ("a photo of a {}.", "There is a {} in the scene.", "a close-up photo of a {}.")


class ClipLabels(Captioner):
    """Says which of the given labels fits a region best; the long form has the runners-up.

    `mean_logprob` is the log-probability of the label among all given ones.

    Args:
        labels: what there may be; synonyms of one label are separated by commas.
        weights: `clip-convnext-large` (see `streamer models pull`), a file of open_clip, or a
            folder with one.
        architecture: a name of open_clip's, for a file without `open_clip_config.json`.
        templates: sentences with {} for the label; their features are averaged.
        runners_up: labels in the long form, the best included; 0 leaves it out.
        image_size_px: side of the square the tower sees, a multiple of 32.
        device: "auto", "cpu", "cuda", "cuda:1", ...
    """

    def __init__(
        self,
        labels: list[str],
        weights: str = "clip-convnext-large",
        architecture: str = "convnext_large_d_320",
        templates: list[str] | None = None,
        runners_up: int = 3,
        image_size_px: int = 512,
        device: str = "auto",
    ) -> None:
        if not labels or not all(label.strip(" ,") for label in labels):
            raise ValueError("labels is a list of at least one label, none of them empty")
        templates = list(_TEMPLATES) if templates is None else templates
        if not templates or not all(template.count("{}") == 1 for template in templates):
            raise ValueError("templates are sentences with one {} each")
        if image_size_px < 32 or image_size_px % 32:
            raise ValueError(f"image_size_px is {image_size_px}, not a multiple of 32")
        self.labels = labels
        self.weights = weights
        self.architecture = architecture
        self.templates = templates
        self.runners_up = runners_up
        self.image_size_px = image_size_px
        self.device = device
        self._classifier: RegionClassifier | None = None

    def setup(self) -> None:
        from model.clip.region_classifier import RegionClassifier
        from model.weights import weights_path

        try:
            self._classifier = RegionClassifier.from_path(
                weights_path(self.weights),
                self.labels,
                self.templates,
                architecture=self.architecture,
                image_size_px=self.image_size_px,
                device=self.device,
            )
        except ImportError as error:
            raise WeightsError(
                f"the captioner 'clip' needs open_clip ({error}): "
                "pip install 'osprey-streamer[clip]'"
            ) from None
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(f"weights {self.weights!r} cannot be used: {error}") from error
        self.name = self._classifier.name
        self.weights_hash = self._classifier.weights_hash

    def words(
        self, pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.bool_]]]
    ) -> list[list[Words | Refusal]]:
        classifier = self._classifier
        if classifier is None:
            raise RuntimeError("setup() has to run before words()")
        answers: list[list[Words | Refusal]] = []
        for image, masks in pictures:
            logprobs = classifier.classify(image, masks).cpu().numpy()
            answers.append([self._words(row, classifier.labels) for row in logprobs])
        return answers

    def _words(self, logprobs_K: NDArray[np.float32], labels: Sequence[str]) -> Words:
        order = np.argsort(-logprobs_K, kind="stable")
        shares = [f"{labels[i]} ({np.exp(logprobs_K[i]):.0%})" for i in order[: self.runners_up]]
        best = int(order[0])
        return Words(
            text=labels[best],
            detail=", ".join(shares),
            mean_logprob=min(0.0, float(logprobs_K[best])),
        )

    def close(self) -> None:
        self._classifier = None
