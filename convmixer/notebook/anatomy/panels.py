"""Helpers of all figures: title and caption, small pictures without axes, parts of a network by name."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from convmixer.errors import UserError
from convmixer.trained.network import Trained

CHARACTERS_PER_INCH = 14.5  # in a caption


def new_figure(width: float, height: float, title: str, caption: str) -> Figure:
    """Make an empty figure of `width` x `height` inches, with a title at the top and a caption at the bottom."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")
    figure.get_layout_engine().set(h_pad=0.06)
    lines = textwrap.fill(" ".join(caption.split()), int(width * CHARACTERS_PER_INCH))
    figure.supxlabel(lines, fontsize=9, x=0.01, ha="left", color="0.25")
    return figure


def picture(axis: Axes, image: Tensor, title: str = "", **options: Any) -> None:
    """Draw a picture without ticks: `[height, width]` with a colour map, or `[height, width, 3]`."""
    axis.imshow(image.numpy(), interpolation="nearest", **options)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    if title:
        axis.set_title(title, fontsize=8)


def label_row(axis: Axes, text: str) -> None:
    """Write a label at the left of a row of pictures."""
    axis.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center")


def as_colours(image: Tensor) -> Tensor:
    """Return an image `[..., channels]` with three channels; a grey channel is repeated."""
    return image.expand(*image.shape[:-1], 3) if image.shape[-1] == 1 else image[..., :3]


def part(trained: Trained, name: str) -> Any:
    """Return a part of the network by its name, such as `patch_emb.conv`.

    Raises:
        UserError: the network has no such part.
    """
    try:
        return trained.model.get_submodule(name)
    except AttributeError:
        raise UserError(f"{trained.name}: its network has no {name}, which this figure needs") from None


def layers_of(trained: Trained) -> nn.ModuleList:
    """Return the ConvMixer layers.

    Raises:
        UserError: the network has none.
    """
    return part(trained, "conv_mixer_layers")
