"""A figure of wrong predictions with high probability."""

import copy
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from convmixer.console import counted
from convmixer.data.splits import Split
from convmixer.notebook.anatomy.panels import as_colours, new_figure, picture
from convmixer.trained.classifier import Classifier
from convmixer.trained.network import Trained


def probabilities(trained: Trained, images: Tensor, batch_size: int = 500) -> Tensor:
    """Return class probabilities: uint8 images `[n, height, width, channels]` -> `[n, classes]`, on a GPU if any."""
    classifier = Classifier(copy.deepcopy(trained))  # it moves its network there
    return torch.cat([classifier.logits(batch).softmax(1) for batch in images.split(batch_size)])


def confident_mistakes(trained: Trained, split: Split, predicted: Tensor, n: int = 24, columns: int = 8) -> Figure:
    """Draw the images of the wrong predictions with the highest probability.

    Args:
        predicted: the result of `probabilities` for the split's images: `[n, classes]`.
    """
    confidence, guess = predicted.max(1)
    wrong = (guess != split.labels).nonzero().squeeze(1)
    worst = wrong[confidence[wrong].argsort(descending=True)[:n]].tolist()
    rows = max(1, math.ceil(len(worst) / columns))
    sure = (confidence[wrong] > 0.9).sum()
    figure = new_figure(
        10,
        1.35 * rows + 1.5,
        f"{_which(len(worst), len(wrong))} in {counted(len(split.labels), 'image')}",
        f"""Above each image: its class → the predicted class, with its probability. In {sure:,} of
        {counted(len(wrong), "mistake")} this probability is more than 90%. Some of these images may be hard for people
        too, or have doubtful labels; others show what the network relies on, such as colour, pose or the surroundings
        of the object.""",
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, index in zip(axes, worst, strict=False):
        is_, taken_for = trained.classes[split.labels[index]], trained.classes[guess[index]]
        picture(axis, as_colours(split.images[index]), f"{is_} →\n{taken_for} {confidence[index]:.1%}")
    return figure


def _which(shown: int, found: int) -> str:
    if shown < found:
        return f"The {shown} most confident of {found:,} mistakes"
    return f"All {counted(found, 'mistake')}, the most confident first," if found > 1 else counted(found, "mistake")
