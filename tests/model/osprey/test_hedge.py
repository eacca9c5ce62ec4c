"""Names are said only when the model is sure of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from model.osprey.captioner import OspreyCaptioner
from model.osprey.config import Hedge, OspreyConfig
from model.synthetic.captions import parse_caption
from model.synthetic.shapes import CATEGORIES, OBJECT
from model.training.samples import image_sample
from model.weights import weights_folder


def test_unsure_names_become_object_and_sure_ones_stay() -> None:
    captioner = OspreyCaptioner.from_folder(weights_folder("osprey-nano"), device="cpu")
    hedge = captioner.model.config.hedge
    assert hedge is not None
    least = dict(zip(hedge.token_ids, hedge.least, strict=True))
    plain = OspreyCaptioner(
        captioner.model, captioner.tokenizer, name="plain", weights_hash="0" * 12
    )
    plain.runner._hedge = None
    rng, names = np.random.default_rng(3), {"kept": 0, "given up": 0}
    for _ in range(4):
        sample = image_sample(rng, captioner.image_size_px, 0.6)
        masks = np.stack([region.mask for region in sample.regions])
        careful = captioner.caption(sample.image, masks)
        for before, after in zip(plain.caption(sample.image, masks), careful, strict=True):
            named = [i for i, t in enumerate(before.token_ids) if t in hedge.token_ids]
            if not named:
                assert after.text == before.text
            elif np.exp(before.token_logprobs[named[0]]) >= least[before.token_ids[named[0]]]:
                assert after.token_ids[: named[0] + 1] == before.token_ids[: named[0] + 1]
                names["kept"] += 1
            else:
                assert after.token_ids[named[0]] == hedge.instead_id
                if parse_caption(before.text)["category"] in CATEGORIES:
                    assert parse_caption(after.text)["category"] == OBJECT
                names["given up"] += 1
    assert min(names.values()) > 3


def test_a_hedge_is_kept_in_the_folder() -> None:
    config = replace(OspreyConfig(), hedge=Hedge(token_ids=(3, 4), instead_id=5, least=(0.8, 0.9)))
    assert OspreyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert "hedge" not in OspreyConfig().to_dict()["osprey_streamer"]


@pytest.mark.parametrize(
    "hedge",
    [
        {"token_ids": [1]},
        [1],
        {"token_ids": 3, "instead_id": 1},
        {"token_ids": [3, 4], "instead_id": 1, "least": [0.9]},
    ],
)
def test_a_broken_hedge_is_named(hedge: object) -> None:
    data = OspreyConfig().to_dict()
    data["osprey_streamer"]["hedge"] = hedge
    with pytest.raises(ValueError, match="hedge is"):
        OspreyConfig.from_dict(data)
