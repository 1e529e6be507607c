"""One seed, several streams: what is drawn for one purpose is not what is drawn for another."""

import pytest
import torch

from convmixer.configs import Configs, building
from convmixer.configs.building import build
from convmixer.model.layers import PatchEmbeddings


@pytest.fixture
def configs(tiny, here) -> Configs:
    """80 training images of each of 3 classes, ordered by class, as they are in a tree."""
    configs = Configs()
    sizes = {"d_model": 8, "n_layers": 1, "patch_size": 2}
    configs.override({"data.dataset": "images", "data.path": str(tiny), "data.validation": 30, **sizes})
    return configs


def test_whitening_looks_at_images_of_all_classes(configs, monkeypatch) -> None:
    monkeypatch.setattr(building, "LOOKED_AT", 30 * 16 * 16)  # 30 of the 210 images that are left to train on
    looked_at = []
    monkeypatch.setattr(building, "apply_starts", lambda model, names, images, seed: looked_at.append(images))
    train = build(configs).trainer.train
    (images,) = looked_at
    every = train.normalise(train.raw(torch.arange(train.n_images)))
    rows = [int((every == image).flatten(1).all(1).nonzero()) for image in images]
    assert rows == sorted(rows) and len(set(rows)) == 30
    assert train.split.labels[rows].unique().tolist() == [0, 1, 2]


def test_initial_weights_are_not_drawn_from_the_numbers_that_choose_the_validation_split(configs) -> None:
    configs.override({"starts": []})
    drawn = build(configs).model.patch_emb.conv.weight
    torch.manual_seed(configs.seed)  # as the split's generator is
    assert not torch.equal(PatchEmbeddings(8, 2, 3).conv.weight, drawn)
