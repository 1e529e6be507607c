"""What `from convmixer import ...` gives: the paper's networks by name, and trained ones. Needs no labml."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convmixer.errors import UserError
from convmixer.model.folding import fold
from convmixer.model.layers import SIZES, ConvMixer, conv_mixer
from convmixer.trained.network import Trained, open_trained

if TYPE_CHECKING:
    from convmixer.configs import Configs

__all__ = ["ConvMixer", "Trained", "UserError", "conv_mixer", "fold", "load"]


def load(reference: str | Path, configs_class: "type[Configs] | None" = None) -> Trained:
    """A trained network, on the CPU in evaluation mode, with its classes and how it wants its images.

    >>> from convmixer import load
    >>> trained = load("weights/small-cifar10-jpeg.safetensors")
    >>> trained.classes[:3], trained.image_shape
    (('airplane', 'automobile', 'bird'), (32, 32, 3))
    >>> import torch
    >>> images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    >>> trained.model(trained.normalise(images)).shape
    torch.Size([2, 10])

    Args:
        reference: a .safetensors file of `export` or `import`, or a run below the current folder: its uuid, the
            beginning of it, `last` or `best`.
        configs_class: where the network has parts of your own, the `Configs` that name them.

    Raises:
        UserError: there is no such file or run, or it is damaged.
    """
    return open_trained(str(reference), configs_class)


def conv_mixer_256_8(n_classes: int = 10, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """The paper's smaller CIFAR-10 network, untrained: 0.7 M parameters, kernel 9, patch 1.

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
    """The paper's larger CIFAR-10 network, untrained: 1.4 M parameters, kernel 9, patch 1."""
    return conv_mixer(**SIZES["256/16"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_768_32(n_classes: int = 1000, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """The paper's ImageNet network with ReLU, untrained: 21.1 M parameters, kernel 7, patch 7."""
    return conv_mixer(**SIZES["768/32"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_1024_20(n_classes: int = 1000, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """The paper's ImageNet network for large patches, untrained: 24.4 M parameters, kernel 9, patch 14."""
    return conv_mixer(**SIZES["1024/20"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)


def conv_mixer_1536_20(n_classes: int = 1000, in_channels: int = 3, **changes: Any) -> ConvMixer:
    """The paper's largest ImageNet network, untrained: 51.6 M parameters, kernel 9, patch 7."""
    return conv_mixer(**SIZES["1536/20"] | {"n_classes": n_classes, "in_channels": in_channels} | changes)
