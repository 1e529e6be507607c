"""Mixup and cutmix: two images, and their labels, made one.

Which two is decided by the epoch's order (see `partners`), how by draws for the first of them: (seed, epoch, sample)
again, whatever the batches are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from convmixer.data.augmentation import boxes
from convmixer.data.augmentation.draws import below, beta, uniform


def partners(order: Tensor) -> Tensor:
    """Return the partner of each image of an epoch, `order` `[n]`: its neighbour, the 2nd for the 1st and so on.

    The order is a new one in each epoch, so this is as good as any random partner, and it is in the same batch wherever
    batches are even: nothing has to be augmented twice. The last of an odd number is mixed with itself.
    """
    place = torch.arange(len(order)) ^ 1
    return order[place.clamp(max=len(order) - 1)]


def mixup(images: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """`share` parts of each image and 1 - share of the other: float32 `[batch, height, width, channels]`.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (arXiv 1710.09412).
    """
    share = share.to(images.device, non_blocking=True)[:, None]
    mixed = images.flatten(1).float() * share + others.flatten(1).float() * (1 - share)
    return mixed.view(images.shape)


def cutmix(images: Tensor, others: Tensor, parts: Tensor) -> Tensor:
    """The other image within each box, int64 `[batch, 4]`: top, left, height, width.

    Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers" (arXiv 1905.04899).
    """
    return boxes.paste(images, others, parts)


def cutmix_boxes(share: Tensor, draws: Tensor, height: int, width: int) -> Tensor:
    """Boxes of 1 - share of the area, centred on a random pixel, cut off at the edges; `draws`: `[batch, 2]`.

    As torchvision's CutMix makes them: half the side is rounded down.
    """
    size = torch.tensor([height, width])
    centre = below(draws, size)
    half = (0.5 * (1 - share).sqrt()[:, None] * size).long()
    return boxes.cut_off(centre - half, centre + half, height, width)


@dataclass(frozen=True)
class Mixing:
    """Mixes each image with another by mixup or by cutmix.

    Args:
        mixup, cutmix: alpha of the Beta(alpha, alpha) that shares are drawn from; none: this one is never used.
        cutmix_share: of the images, where both may be used.
    """

    mixup: float | None
    cutmix: float | None
    cutmix_share: float = 0.5

    def draw(self, n: int, seed: int, epoch: int) -> Tensor:
        """An epoch's draws for all `n` images: `[n, 5]`: share by mixup, by cutmix, which of them, place of the box."""
        shares = [
            torch.ones(n) if alpha is None else beta(n, alpha, seed, epoch, name)
            for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix))
        ]
        return torch.cat([torch.stack(shares, 1), uniform(n, 3, seed, epoch, "mixing")], 1)

    def __call__(self, images: Tensor, others: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed images, and the first ones' shares of them: float32 `[batch]`, on the host."""
        height, width = images.shape[1:3]
        by_cutmix = draws[:, 2] < self._cutmix_probability()
        share = torch.where(by_cutmix, 1.0, draws[:, 0])
        if self.mixup is not None:
            images = mixup(images, others, share)
        if self.cutmix is not None:
            parts = cutmix_boxes(draws[:, 1], draws[:, 3:], height, width) * by_cutmix[:, None]
            images = cutmix(images, others.to(images.dtype), parts)
            share = share - parts[:, 2] * parts[:, 3] / (height * width)
        return images, share

    def _cutmix_probability(self) -> float:
        if self.mixup is None:
            return 1.0
        return 0.0 if self.cutmix is None else self.cutmix_share


def mix_labels(labels: Tensor, others: Tensor, share: Tensor, n_classes: int) -> Tensor:
    """Probabilities `[batch, n_classes]`: `share` for each one's label, int64 `[batch]`, the rest for the other's."""
    share = share.to(labels.device, non_blocking=True)[:, None]
    classes = torch.arange(n_classes, device=labels.device)
    return share * (labels[:, None] == classes) + (1 - share) * (others[:, None] == classes)
