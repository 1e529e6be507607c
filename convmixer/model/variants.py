"""Builds whole networks from their sizes: any ConvMixer, and those that the paper names."""

from typing import Any

from convmixer.model.layers import ClassificationHead, ConvMixer, ConvMixerLayer, PatchEmbeddings

# The sizes that the paper names by d_model/n_layers. The first two are its CIFAR-10 models.
SIZES: dict[str, dict[str, int | str]] = {
    "256/8": {"d_model": 256, "n_layers": 8, "kernel_size": 9, "patch_size": 1},
    "256/16": {"d_model": 256, "n_layers": 16, "kernel_size": 9, "patch_size": 1},
    "768/32": {
        "d_model": 768,
        "n_layers": 32,
        "kernel_size": 7,
        "patch_size": 7,
        "activation": "ReLU",
    },
    "1024/20": {"d_model": 1024, "n_layers": 20, "kernel_size": 9, "patch_size": 14},
    "1536/20": {"d_model": 1536, "n_layers": 20, "kernel_size": 9, "patch_size": 7},
}


def conv_mixer(
    d_model: int,
    n_layers: int,
    kernel_size: int,
    patch_size: int,
    n_classes: int = 10,
    in_channels: int = 3,
    activation: str = "GELU",
) -> ConvMixer:
    """Build a network from its sizes, untrained: `conv_mixer(**SIZES["256/8"])`."""
    return ConvMixer(
        ConvMixerLayer(d_model, kernel_size, activation=activation),
        n_layers,
        PatchEmbeddings(d_model, patch_size, in_channels, activation=activation),
        ClassificationHead(d_model, n_classes),
    )


def conv_mixer_256_8(n_classes: int = 10, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """Build the paper's smaller CIFAR-10 network, untrained: 0.7 M parameters, kernel 9, patch 1.

    >>> import torch
    >>> from convmixer import conv_mixer_256_8
    >>> model = conv_mixer_256_8(patch_size=2)
    >>> model(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 10])

    Args:
        changes: other values for `d_model`, `n_layers`, `kernel_size`, `patch_size` or `activation`.
    """
    return conv_mixer(**SIZES["256/8"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_256_16(n_classes: int = 10, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """Build the paper's larger CIFAR-10 network, untrained: 1.4 M parameters, kernel 9, patch 1."""
    return conv_mixer(**SIZES["256/16"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_768_32(n_classes: int = 1000, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """Build the paper's ImageNet network with ReLU, untrained: 21.1 M parameters, kernel 7, patch 7."""
    return conv_mixer(**SIZES["768/32"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_1024_20(n_classes: int = 1000, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """Build the paper's ImageNet network for large patches, untrained: 24.4 M parameters, kernel 9, patch 14."""
    return conv_mixer(**SIZES["1024/20"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_1536_20(n_classes: int = 1000, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """Build the paper's largest ImageNet network, untrained: 51.6 M parameters, kernel 9, patch 7."""
    return conv_mixer(**SIZES["1536/20"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)
