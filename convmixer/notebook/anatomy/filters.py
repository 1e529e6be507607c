"""Figures of the weights of the convolutions: patch-embedding filters and depth-wise kernels."""

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

from convmixer.notebook.anatomy.panels import label_row, layers_of, new_figure, part, picture
from convmixer.trained.network import Trained


def patch_filters(trained: Trained, columns: int = 16, most: int = 256) -> Figure:
    """Draw the filters of the patch embedding as small colour pictures, from detail to plain colour.

    Each is one `[in_channels, p, p]` kernel around middle grey, scaled by its own largest weight.
    """
    weight = part(trained, "patch_emb.conv").weight.detach()  # [d_model, in_channels, p, p]
    d_model, _, p, _ = weight.shape
    detail = _detail(weight)
    shown = torch.linspace(0, d_model - 1, min(d_model, most)).round().long()  # evenly, where there are too many
    order = detail.argsort(descending=True)[shown]
    rows = math.ceil(len(order) / columns)
    number = f"{d_model}" if len(order) == d_model else f"{len(order)} of {d_model}"
    figure = new_figure(
        10,
        0.56 * rows + 1.6,
        f"Patch embedding: {number} filters of {p}x{p} pixels, from detail to plain colour",
        f"""Each picture is the filter of one channel: each pixel has the colour that makes the channel larger; grey
        has no effect. They are ordered by detail, the share of a filter's energy that is not its mean colour. Filters
        at the top find structure within a patch, such as stripes, edges and corners; filters at the bottom react to
        the colour of the whole patch. {(detail < 0.5).sum()} of the {d_model} filters have more colour than detail;
        random filters have {1 - 1 / p**2:.0%} detail on average.""",
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, index in zip(axes, order.tolist(), strict=False):
        picture(axis, _as_picture(weight[index]))
    return figure


def _detail(weight: Tensor) -> Tensor:
    """Return the share of each filter's energy that is not its mean: `[d_model, in_channels, p, p]` -> `[d_model]`."""
    around = weight - weight.mean((2, 3), keepdim=True)
    return around.square().sum((1, 2, 3)) / weight.square().sum((1, 2, 3)).clamp(min=1e-12)


def _as_picture(kernel: Tensor) -> Tensor:
    """Return a kernel as a picture: `[in_channels, p, p]` -> `[p, p, 3]` from 0 to 1, with weight 0 as 0.5.

    If there are not 3 channels, their mean is shown in grey.
    """
    if len(kernel) != 3:
        kernel = kernel.mean(0, keepdim=True).expand(3, -1, -1)
    return (0.5 + 0.5 * kernel / kernel.abs().max().clamp(min=1e-12)).permute(1, 2, 0)


def depth_wise_kernels(trained: Trained, columns: int = 20) -> Figure:
    """Draw the strongest depth-wise kernels of each layer, and the mean size of their weights by position."""
    weights = [layer.depth_wise_conv.weight.detach().squeeze(1) for layer in layers_of(trained)]  # [d_model, k, k]
    k = weights[0].shape[-1]
    channels = max(map(len, weights))
    columns = min(columns, channels)
    which = f"the {columns} strongest of {channels}" if columns < channels else f"all {channels}, the strongest first"
    figure = new_figure(
        11,
        0.55 * len(weights) + 1.9,
        f"Depth-wise kernels: {k}x{k}, of each layer {which}",
        f"""Red weights are positive, blue ones negative, each kernel on its own scale; one cell is one patch. Opposite
        signs side by side find edges and spots, one sign blurs, a single cell passes on its input. The left column
        shows the mean size of the weights of all channels by position, and the share that lies in the middle 3x3
        ({min(1, 9 / k**2):.0%} if they were spread evenly). If this share falls from layer to layer, early layers use
        near patches and late layers distant ones.""",
    )
    axes = figure.subplots(len(weights), columns + 1, squeeze=False, width_ratios=[1.25] + [1] * columns)
    for number, (row, weight) in enumerate(zip(axes, weights, strict=True), 1):
        mean = weight.abs().mean(0)
        picture(row[0], mean, cmap="viridis", vmin=0)
        label_row(row[0], f"layer {number}\n{_share_in_middle(mean):.0%}")
        for axis in row[1:]:
            axis.set_axis_off()
        strongest = weight.flatten(1).norm(dim=1).argsort(descending=True)[:columns]
        for axis, index in zip(row[1:], strongest.tolist(), strict=False):
            largest = weight[index].abs().max().item() or 1.0
            picture(axis, weight[index], cmap="RdBu_r", vmin=-largest, vmax=largest)
    axes[0, 0].set_title("mean |w|", fontsize=8)
    return figure


def _share_in_middle(mean: Tensor) -> float:
    """Return the share of the weights `[k, k]` that lies within one step of the centre."""
    k = len(mean)
    near = (torch.arange(k) - (k - 1) // 2).abs() <= 1
    return (mean[near][:, near].sum() / mean.sum()).item()
