"""Figures of an image's activations in each layer, and of the evidence for a class at each place."""

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from convmixer.console import counted
from convmixer.notebook.anatomy.panels import as_colours, label_row, layers_of, new_figure, part, picture
from convmixer.trained.network import Trained


def stages(trained: Trained, images: Tensor) -> list[Tensor]:
    """Return the outputs of the patch embedding and of each layer: `[batch, d_model, height / p, width / p]` each.

    Args:
        images: uint8 `[batch, height, width, channels]`.
    """
    modules: list[nn.Module] = [part(trained, "patch_emb"), *layers_of(trained)]
    found: list[Tensor] = []
    hooks = [module.register_forward_hook(lambda _module, _inputs, output: found.append(output)) for module in modules]
    try:
        with torch.inference_mode():
            trained.model(trained.normalise(images))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def activation_maps(trained: Trained, image: Tensor, columns: int = 14) -> Figure:
    """Draw the channels that vary most over one image, after the patch embedding and after each layer.

    Args:
        image: uint8 `[height, width, channels]`.
    """
    maps = [stage[0] for stage in stages(trained, image[None])]  # [d_model, height / p, width / p]
    d_model = len(maps[0])
    which = f"the {columns} of {d_model} channels" if columns < d_model else f"all {d_model} channels, first those"
    figure = new_figure(
        10,
        0.57 * len(maps) + 1.6,
        f"Activation maps: one image through {counted(len(maps) - 1, 'layer')}",
        f"""Each row shows {which} that vary most from place to place after a layer, each on its own scale from its
        lowest value (dark) to its highest (bright). A place is one patch, in all layers. In the first maps each place
        depends on few patches, so they usually look noisy. With each layer a place depends on more of its neighbours,
        and the last maps often show whole areas, such as the object, its edges or its surroundings.""",
    )
    axes = figure.subplots(len(maps), columns + 1, squeeze=False)
    for number, (row, stage) in enumerate(zip(axes, maps, strict=True)):
        picture(row[0], as_colours(image))
        label_row(row[0], f"layer {number}" if number else "patch embedding")
        for axis in row[1:]:
            axis.set_axis_off()
        liveliest = stage.flatten(1).std(dim=1, correction=0).argsort(descending=True)[:columns]
        for axis, channel in zip(row[1:], liveliest.tolist(), strict=False):
            picture(axis, stage[channel], cmap="magma")
    return figure


def class_evidence(trained: Trained, images: Tensor) -> Tensor:
    """Return the logits of each place: `[batch, classes, height / p, width / p]`; their mean is the image's logits.

    The head averages over places and then applies one linear map, so the map can also be applied to each place first.
    These are the class activation maps of Zhou et al. (arXiv 1512.04150), exact for this network.
    """
    linear = part(trained, "classification.linear")
    with torch.inference_mode():
        last = stages(trained, images)[-1].movedim(1, -1)  # [batch, height / p, width / p, d_model]
        return linear(last).movedim(-1, 1)


def evidence_maps(trained: Trained, images: Tensor, labels: Tensor) -> Figure:
    """Draw images, and below each the evidence for its own class and for the strongest other class at each place.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        labels: int64 `[batch]`.
    """
    evidence = class_evidence(trained, images)
    probabilities = evidence.mean((2, 3)).softmax(1)
    others = probabilities.scatter(1, labels[:, None], -1).argmax(1)
    figure = new_figure(
        1.05 * len(images) + 0.8,
        4.9,
        "Where the evidence lies: class activation maps",
        """The logits are a mean over places, so each place has its own logits: red is evidence for the class, blue
        against it, on one scale for all pictures. The number above each map is the probability that the network gives
        to that class for the whole image. The second row shows the image's own class, the third the strongest other
        class. Evidence often lies on the object, but also along its outline and in its usual surroundings.""",
    )
    axes = figure.subplots(3, len(images), squeeze=False)
    scale = evidence.abs().quantile(0.99).item()
    for column, image, maps, shares, own, other in zip(
        axes.T, images, evidence, probabilities, labels.tolist(), others.tolist(), strict=True
    ):
        picture(column[0], as_colours(image), trained.classes[own])
        for axis, label in zip(column[1:], (own, other), strict=True):
            title = f"{trained.classes[label]} {shares[label]:.0%}"
            picture(axis, maps[label], title, cmap="RdBu_r", vmin=-scale, vmax=scale)
    for axis, text in zip(axes[:, 0], ("image", "own class", "strongest\nother"), strict=True):
        label_row(axis, text)
    return figure
