"""Images that the network gets wrong and is sure of."""

import copy
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from convmixer.data.splits import Split
from convmixer.notebook.anatomy.panels import as_colours, new_figure, picture
from convmixer.trained.classifier import Classifier
from convmixer.trained.network import Trained


def probabilities(trained: Trained, images: Tensor, batch_size: int = 500) -> Tensor:
    """`[n, classes]` for uint8 images `[n, height, width, channels]`; computed on a GPU where there is one."""
    classifier = Classifier(copy.deepcopy(trained))  # it moves its network there
    return torch.cat([classifier.logits(batch).softmax(1) for batch in images.split(batch_size)])


def confident_mistakes(trained: Trained, split: Split, predicted: Tensor, n: int = 24, columns: int = 8) -> Figure:
    """The wrong predictions with the highest probability.

    Args:
        predicted: what `probabilities` gave for the split's images: `[n, classes]`.
    """
    confidence, guess = predicted.max(1)
    wrong = (guess != split.labels).nonzero().squeeze(1)
    worst = wrong[confidence[wrong].argsort(descending=True)[:n]].tolist()
    rows = max(1, math.ceil(len(worst) / columns))
    sure = (confidence[wrong] > 0.9).sum()
    figure = new_figure(
        10,
        1.35 * rows + 1.5,
        f"The most confident of {len(wrong):,} mistakes in {len(split.labels):,} images",
        f"""What it is → what the network takes it for, with the probability that it gives to that. {sure:,} of its
        mistakes have more than 90%. Some are hard for people too, or labelled doubtfully; the others show what the
        network goes by: colour, pose, or what is around the object.""",
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, index in zip(axes, worst, strict=False):
        is_, taken_for = trained.classes[split.labels[index]], trained.classes[guess[index]]
        picture(axis, as_colours(split.images[index]), f"{is_} →\n{taken_for} {confidence[index]:.1%}")
    return figure
