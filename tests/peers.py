"""The networks whose weights ours are exchanged with, and weights to exchange."""

import torch
from labml_nn import conv_mixer as labml
from timm.models.convmixer import ConvMixer as TimmConvMixer
from torch import Tensor, nn

from convmixer.model.layers import ACTIVATIONS


class Residual(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


def authors_conv_mixer(
    d_model: int, n_layers: int, kernel_size: int, patch_size: int, n_classes: int, in_channels: int, activation: str
) -> nn.Sequential:
    """The network as the authors lay it out: one nn.Sequential, written anew from its layout in PEERS.md."""

    def convolution(n_in: int, *arguments, **options) -> list[nn.Module]:
        conv = nn.Conv2d(n_in, d_model, *arguments, **options)
        return [conv, ACTIVATIONS[activation](), nn.BatchNorm2d(d_model)]

    def layer() -> nn.Sequential:
        space = nn.Sequential(*convolution(d_model, kernel_size, groups=d_model, padding="same"))
        return nn.Sequential(Residual(space), *convolution(d_model, 1))

    return nn.Sequential(
        *convolution(in_channels, patch_size, stride=patch_size),
        *(layer() for _ in range(n_layers)),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(d_model, n_classes),
    )


def timm_conv_mixer(
    d_model: int, n_layers: int, kernel_size: int, patch_size: int, n_classes: int, in_channels: int, activation: str
) -> nn.Module:
    return TimmConvMixer(
        d_model,
        n_layers,
        kernel_size=kernel_size,
        patch_size=patch_size,
        num_classes=n_classes,
        in_chans=in_channels,
        act_layer=ACTIVATIONS[activation],
    )


def labml_conv_mixer(
    d_model: int, n_layers: int, kernel_size: int, patch_size: int, n_classes: int, in_channels: int, activation: str
) -> nn.Module:
    assert activation == "GELU"
    return labml.ConvMixer(
        labml.ConvMixerLayer(d_model, kernel_size),
        n_layers,
        labml.PatchEmbeddings(d_model, patch_size, in_channels),
        labml.ClassificationHead(d_model, n_classes),
    )


PEERS = {"timm": timm_conv_mixer, "authors": authors_conv_mixer, "labml": labml_conv_mixer}


def as_if_trained(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, its BatchNorms with statistics, scales and shifts unlike those of a start."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.2, 2)
            norm.num_batches_tracked.fill_(7)
    return model.eval()


def assert_same_logits(ours: nn.Module, theirs: nn.Module, *shape: int) -> None:
    """Of a batch of random images [batch, channels, height, width]."""
    images = torch.rand(shape)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-4)
