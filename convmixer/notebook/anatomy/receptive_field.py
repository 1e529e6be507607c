"""A figure of receptive fields: theoretical ones from the kernel sizes, effective ones from gradients."""

import copy
import dataclasses

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from convmixer.notebook.anatomy.panels import layers_of, new_figure, part, picture
from convmixer.trained.network import Trained

SHARE = 0.9  # of the dependence on all pixels that the effective receptive field holds


def theoretical_sizes(patch_size: int, kernel_size: int, n_layers: int) -> list[int]:
    """Return the side in pixels of a place's receptive field, after the patch embedding and after each layer.

    A patch is `p` pixels wide; each depth-wise convolution adds `k - 1` patches.
    """
    return [patch_size * (1 + layer * (kernel_size - 1)) for layer in range(n_layers + 1)]


def effective_fields(trained: Trained, images: Tensor) -> Tensor:
    """Return how much the middle place depends on each pixel, after the patch embedding and after each layer.

    This is the root mean square over images and channels of d z[channel, middle] / d pixel, each map divided by its
    sum; see Luo et al., "Understanding the Effective Receptive Field" (arXiv 1701.04128). One backward pass is enough
    for all channels: they are summed with random signs, so squares add up and products cancel on average.

    Args:
        images: uint8 `[batch, height, width, channels]`; the signs differ for each image.

    Returns:
        `[n_layers + 1, height, width]`.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = trained.normalise(images).requires_grad_()  # [batch, channels, height, width]
    fields = []
    z = pixels
    for module in (part(trained, "patch_emb"), *layers_of(trained)):
        z = module(z)  # [batch, d_model, height / p, width / p]
        middle = z[:, :, z.shape[2] // 2, z.shape[3] // 2]
        signs = torch.randint(0, 2, middle.shape, generator=generator) * 2 - 1
        (gradient,) = torch.autograd.grad((middle * signs).sum(), pixels, retain_graph=True)
        size = gradient.square().sum(1).mean(0).sqrt()  # [height, width]
        fields.append(size / size.sum())
    return torch.stack(fields)


def effective_size(field: Tensor) -> float:
    """Return the side in pixels of a square with the area of the fewest pixels that hold `SHARE` of a field.

    Args:
        field: `[height, width]`, with sum 1.
    """
    largest_first = field.flatten().sort(descending=True).values.cumsum(0)
    return int((largest_first < SHARE).sum() + 1) ** 0.5


def untrained(trained: Trained) -> Trained:
    """Return the same network with new random weights."""
    model = copy.deepcopy(trained.model)
    torch.manual_seed(0)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return dataclasses.replace(trained, model=model)


def receptive_field(trained: Trained, images: Tensor) -> Figure:
    """Draw the effective receptive field after each layer, and its size before and after training and in theory.

    Args:
        images: uint8 `[batch, height, width, channels]`; a hundred give smooth maps.
    """
    fields, before = effective_fields(trained, images), effective_fields(untrained(trained), images)
    patch, kernel = part(trained, "patch_emb.conv").kernel_size[0], layers_of(trained)[0].depth_wise_conv.kernel_size[0]
    theory = theoretical_sizes(patch, kernel, len(fields) - 1)
    height, width = fields.shape[1:]
    figure = new_figure(
        11,
        5.2,
        f"Receptive field of the middle place: patches of {patch} pixels, kernels of {kernel}x{kernel} patches",
        f"""Top: how much the middle place depends on each pixel (root mean square gradient over {len(images)} images;
        brightness is its square root). The frame is the theoretical receptive field, if it is smaller than the image.
        Bottom: the side of the square that holds {SHARE:.0%} of the dependence. It is usually smaller than in theory,
        as the residual connection passes each place on unchanged, and only few paths reach the border of the field.
        Training can make it wider or narrower.""",
    )
    grid = figure.add_gridspec(2, len(fields), height_ratios=[1, 1.7])
    for number, field in enumerate(fields):
        axis = figure.add_subplot(grid[0, number])
        picture(axis, field.sqrt(), f"layer {number}" if number else "patch emb.", cmap="inferno", vmin=0)
        corner = [patch * (side // patch // 2 - number * ((kernel - 1) // 2)) - 0.5 for side in (width, height)]
        axis.add_patch(Rectangle(corner, theory[number], theory[number], fill=False, edgecolor="cyan", linewidth=1))
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    curves = figure.add_subplot(grid[1, :])
    whole = (height * width) ** 0.5
    curves.plot([min(size, whole) for size in theory], "--", color="0.4", label="in theory, within the image")
    curves.plot([effective_size(field) for field in fields], "o-", color="C3", label="in effect, trained")
    curves.plot([effective_size(field) for field in before], "o-", color="C0", label="in effect, before training")
    curves.set(xlabel="after layer (0: patch embedding)", ylabel="side, pixels", ylim=(0, None))
    curves.set_xticks(range(len(fields)))
    curves.grid(alpha=0.3)
    curves.legend()
    return figure
