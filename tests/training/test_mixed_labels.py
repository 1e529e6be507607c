"""Training on mixed images: the loss is the shares' mean of both labels', and a hit is the larger share's class."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convmixer.data.augmentation import Augmentation
from convmixer.data.augmentation.mixing import Mixing, mix_labels
from convmixer.data.batches import Batches
from convmixer.data.datasets import Split
from convmixer.data.splits import measured
from convmixer.model.variants import conv_mixer
from convmixer.training.optimizers import adamw, parameter_groups
from convmixer.training.schedules import constant
from convmixer.training.trainer import Trainer

CPU = torch.device("cpu")


def mixed_trainer(precision: torch.dtype = torch.float32, n_classes: int = 3) -> Trainer:
    labels = torch.arange(60) % 3
    images = torch.randint(0, 40, (60, 4, 4, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[torch.arange(60), :, :, labels] += 200
    split = Split(images, labels)
    data = measured("colours", ("red", "green", "blue"), split, split)
    torch.manual_seed(0)
    model = conv_mixer(8, 1, 3, 2, n_classes=n_classes).to(memory_format=torch.channels_last)
    augmentation = Augmentation({}, 0, 60, Mixing(mixup=1.0, cutmix=1.0))
    return Trainer(
        model,
        adamw(parameter_groups(model, 0.0, False), 0.02, [0.9, 0.999], 1e-8),
        constant,
        Batches(split, data, 20, CPU, seed=1, augmentation=augmentation, n_classes=n_classes),
        Batches(split, data, 20, CPU),
        total_steps=60,
        label_smoothing=0.1,
        precision=precision,
    )


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_network_learns_plain_images_from_mixed_ones(precision: torch.dtype) -> None:
    trainer = mixed_trainer(precision)
    losses = []
    for epoch in range(20):
        trainer.model.train()
        for batch in trainer.train.epoch(epoch):
            trainer.train_step(batch)
        loss, _, count, _ = trainer.take_sums()
        losses.append(loss / count)
    assert losses[-1] < losses[0]
    trainer.model.eval()
    images, labels = next(trainer.valid.epoch())
    assert (trainer.model(images).argmax(1) == labels).float().mean() > 0.9


def test_there_may_be_more_logits_than_classes_in_the_data() -> None:
    trainer = mixed_trainer(n_classes=5)
    _, labels = next(trainer.train.epoch())
    assert labels.shape == (20, 5)
    assert (labels[:, 3:] == 0).all()
    trainer.train_step(next(trainer.train.epoch()))


def test_loss_and_accuracy_of_mixed_labels() -> None:
    trainer = mixed_trainer()
    first, second = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])
    share = torch.tensor([0.7, 0.5, 0.2])
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return logits + 0 * sum(p.sum() for p in trainer.model.parameters())

    trainer.forward = Fixed()
    trainer.train_step((torch.zeros(3, 3, 4, 4), mix_labels(first, second, share, 3)))
    loss, hits, count, _ = trainer.take_sums()
    each = [F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.1) for labels in (first, second)]
    assert loss / count == pytest.approx((share * each[0] + (1 - share) * each[1]).mean().item(), rel=1e-5)
    assert hits / count == pytest.approx(2 / 3)  # of the last image, 80 % are of class 0


def test_going_on_within_an_epoch_ends_with_the_same_bits() -> None:
    whole, stopped, resumed = mixed_trainer(), mixed_trainer(), mixed_trainer()
    for trainer, first, last in ((whole, 0, 3), (stopped, 0, 2)):
        for batch in list(trainer.train.epoch(0, first))[: last - first]:
            trainer.train_step(batch)
    resumed.load_state_dict(stopped.state_dict())
    for batch in resumed.train.epoch(0, first=2):
        resumed.train_step(batch)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_an_epoch_shows_other_mixtures_than_the_one_before() -> None:
    batches = mixed_trainer().train
    seen = [torch.cat([labels for _, labels in batches.epoch(epoch)]) for epoch in range(3)]
    assert all(not torch.equal(a, b) for a, b in pairwise(seen))
