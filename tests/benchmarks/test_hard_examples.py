"""Training on the hardest images in late epochs, which `benchmarks/hard_examples.py` tries."""

import torch

from benchmarks.hard_examples import HardExamplesConfigs
from convmixer.configs.building import build


class Orders:
    """An observer that keeps which images each epoch shows, and what their losses were before it."""

    def __init__(self, trainer) -> None:
        self.shown, self.losses = [trainer.train.order(0)], [trainer.losses.clone()]

    def epoch_ended(self, trainer, values) -> None:
        if trainer.step < trainer.total_steps:
            self.losses.append(trainer.losses.clone())
            self.shown.append(trainer.train.order(trainer.epoch))

    def __getattr__(self, name):
        return lambda *_: None


def test_late_epochs_are_as_long_and_show_the_hardest_images_alone(tiny, here) -> None:
    configs = HardExamplesConfigs()
    sizes = {"d_model": 8, "n_layers": 1, "patch_size": 4, "train_batch_size": 80, "epochs": 5}
    configs.override({**sizes, "data.dataset": "images", "data.path": str(tiny), "data.validation": 0, "keep": 0.5})
    trainer = build(configs).trainer
    orders = Orders(trainer)
    trainer.fit(orders)
    assert [len(shown.unique()) for shown in orders.shown] == [240, 240, 240, 120, 120]  # the last 40 % are late
    assert all(len(shown) == 240 for shown in orders.shown)
    for shown, losses in list(zip(orders.shown, orders.losses, strict=True))[3:]:
        left_out = torch.ones(240, dtype=torch.bool)
        left_out[shown] = False
        assert losses[shown].min() >= losses[left_out].max()
