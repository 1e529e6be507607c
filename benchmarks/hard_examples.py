"""Training that drops easy images in its late epochs: what it brings to see the harder ones more often instead.

    python -m benchmarks.hard_examples recipe=small keep=0.7 late=0.4 [KEY=VALUE ...]

In the last `late` of the epochs each has as many updates as before, but only the `keep` hardest of the images, by the
loss of each when it was last seen; so these come more often. This is a script with a trainer of its own, not a part of
the package. A run of it can't be resumed, as the losses of images are not saved, and has one worker.
"""

import torch
from labml.configs import option
from torch import Tensor
from torch.nn import functional as F

import convmixer
from convmixer.configs import Configs
from convmixer.data.augmentation import random_seed
from convmixer.training.trainer import Trainer


class HardExamplesTrainer(Trainer):
    """A trainer that shows only the hardest images in its late epochs.

    Attributes:
        keep: the share of images that late epochs show.
        late: the share of epochs that are late.
    """

    keep: float
    late: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.losses = torch.full([self.train.n_images], torch.inf)  # of each image, when it was last seen
        self._whole_order = self.train.order
        self._order = self._whole_order(0)
        self.train.order = self.order

    def order(self, epoch: int) -> Tensor:
        """Return the images' numbers in the order of an epoch, `[n]`; in a late one some come several times."""
        self._order = self._whole_order(epoch)
        if epoch < (1 - self.late) * self.total_steps / self.steps_per_epoch:
            return self._order
        hardest = self.losses.argsort(descending=True, stable=True)[: round(self.keep * len(self.losses))]
        generator = torch.Generator().manual_seed(random_seed(self.train.seed, epoch, "hard examples"))
        turns = -(-len(self.losses) // len(hardest))
        drawn = [hardest[torch.randperm(len(hardest), generator=generator)] for _ in range(turns)]
        self._order = torch.cat(drawn)[: len(self.losses)]
        return self._order

    def _update(self, images: Tensor, labels: Tensor, scales: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        loss, logits, norm = super()._update(images, labels, scales)
        first = self.step % self.steps_per_epoch * self.train.batch_size
        seen = self._order[first : first + len(labels)]
        self.losses[seen] = F.cross_entropy(logits.float(), labels, reduction="none").cpu()
        return loss, logits, norm


class HardExamplesConfigs(Configs):
    """`Configs` with the share of images that late epochs show, and the share of epochs that are late."""

    trainer = "hard_examples"
    keep: float = 0.7
    late: float = 0.4


@option(HardExamplesConfigs.trainer)
def hard_examples(c: HardExamplesConfigs) -> type[Trainer]:
    """Return the trainer, with the shares that the keys give."""
    return type("HardExamplesTrainer", (HardExamplesTrainer,), {"keep": c.keep, "late": c.late})


if __name__ == "__main__":
    convmixer.main(HardExamplesConfigs)
