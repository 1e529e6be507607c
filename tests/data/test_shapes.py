import hashlib
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from convmixer.data.shapes import shapes
from convmixer.data.splits import Dataset, Split


@pytest.fixture(scope="module")
def drawn() -> Dataset:
    return shapes()


def digest(split: Split) -> str:
    return hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()[:16]


def test_ten_classes_equally_often(drawn):
    assert drawn.name == "shapes" and len(drawn.classes) == 10
    assert drawn.train.images.shape == (10_000, 32, 32, 3) and drawn.train.images.dtype == torch.uint8
    assert drawn.train.labels.bincount().tolist() == [1000] * 10
    assert drawn.test.labels.bincount().tolist() == [200] * 10


def test_the_bits_never_change(drawn):
    assert digest(drawn.train) == "5c250a9423ab434f"
    assert digest(drawn.test) == "e9e0c148a8a4fa85"


def test_drawn_within_five_seconds():
    start = time.process_time()
    shapes()
    assert time.process_time() - start < 5


def test_train_and_test_share_no_image(drawn):
    train, test = ({i.numpy().tobytes() for i in split.images} for split in (drawn.train, drawn.test))
    assert len(train) == 10_000 and len(test) == 2_000
    assert not train & test


def pixels(split: Split, drawn: Dataset) -> Tensor:
    return ((split.images / 255 - torch.tensor(drawn.mean)) / torch.tensor(drawn.std)).flatten(1)


def test_a_linear_classifier_stays_under_60_percent(drawn):
    """Multinomial logistic regression on normalised pixels, regularised so that it generalises: it gets 15 %."""
    train, test = pixels(drawn.train, drawn), pixels(drawn.test, drawn)
    weight = torch.zeros(3072, 10, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(train @ weight, drawn.train.labels) + weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    accuracy = ((test @ weight).argmax(1) == drawn.test.labels).float().mean().item()
    assert 0.11 < accuracy < 0.6  # it has learnt what there is to learn, which is little


@pytest.mark.slow
def test_a_small_convmixer_passes_90_percent(drawn):
    """128/8 k5 p4 for 5 epochs: minutes on two cores. labml_nn's model of that size reached 97.5 %."""
    from convmixer.model.layers import ClassificationHead, ConvMixer, ConvMixerLayer, PatchEmbeddings

    torch.manual_seed(0)
    model = ConvMixer(ConvMixerLayer(128, 5), 8, PatchEmbeddings(128, 4, 3), ClassificationHead(128, 10))
    model = model.to(memory_format=torch.channels_last)
    train, test = (pixels(s, drawn).view(-1, 32, 32, 3).permute(0, 3, 1, 2) for s in (drawn.train, drawn.test))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs=5, steps_per_epoch=79)
    for _ in range(5):
        for batch in torch.randperm(10_000).split(128):
            optimizer.zero_grad()
            F.cross_entropy(model(train[batch]), drawn.train.labels[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(1) for part in test.split(250)])
    assert (guesses == drawn.test.labels).float().mean().item() > 0.9
