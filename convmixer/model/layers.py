r"""ConvMixer, the network of "Patches Are All You Need?" (Trockman & Kolter, https://arxiv.org/abs/2201.09792).

An image is cut into p x p patches, each patch becomes a vector of h numbers, and d identical layers
then mix those vectors: first along space (each channel by itself), then along channels (each place
by itself). The size of the picture never changes on the way. The classes below stand in the order
in which data meets them:

    z_0  = BN(GELU(Conv_{c -> h, stride p, kernel p}(image)))     PatchEmbeddings
    z'_l = BN(GELU(ConvDepthwise_k(z_{l-1}))) + z_{l-1}           ConvMixerLayer, space
    z_l  = BN(GELU(ConvPointwise(z'_l)))                          ConvMixerLayer, channels
    logits = Linear(mean of z_d over all places)                  ClassificationHead

The letters are the paper's: h is `d_model`, d `n_layers`, k `kernel_size`, p `patch_size`. The
constructors and the names of modules are labml_nn's (`labml_nn.conv_mixer`), so that its weights
load as they are.

In memory everything is channels_last: a tensor has the shape [batch, channels, height, width], but
the channels of one place lie side by side. The patch embedding brings its input into that order and
every operation after it keeps it. (The kernels for GPUs want whole planes instead: `kernels.choose_path`.)
"""

import copy
from collections.abc import Callable
from typing import Protocol

from labml_helpers.module import Module
from torch import Tensor, channels_last, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, type[nn.Module]] = {"GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}


# Of input, weight and bias; `kernels.choose_path` puts faster ones in place of those here.
Convolve = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}, not {name!r}")
    return ACTIVATIONS[name]()


class PatchEmbeddings(Module):
    """The patch embedding: one linear map turns every p x p patch of the image into a vector of `d_model` numbers.

    It is a convolution whose stride is its kernel size, so patches touch and do not overlap.
    """

    memory_format = channels_last  # kernels.choose_path sets it

    def __init__(self, d_model: int, patch_size: int, in_channels: int, *, activation: str = "GELU") -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, d_model, kernel_size=patch_size, stride=patch_size)
        self.act = _activation(activation)
        self.norm = nn.BatchNorm2d(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches: [batch, in_channels, height, width] -> [batch, d_model, height / p, width / p].

        Raises:
            ValueError: p does not divide height and width; a convolution would silently leave out the last rows
                and columns.
        """
        height, width = x.shape[-2:]
        p = self.conv.kernel_size[0]
        if height % p or width % p:
            raise ValueError(f"patch_size {p} does not divide an image of {height}x{width} pixels")
        x = x.contiguous(memory_format=self.memory_format)
        return self.norm(self.act(self.conv(x)))


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply one k x k filter to each channel with PyTorch's operations, without changing height and width.

    k - 1 rows and columns of zeros are added in all; an even k has its odd one at the bottom and at the right. The bias
    is added by itself: on a CPU the gradient of a convolution's own bias is slow beside that of a sum.

    Args:
        x: [batch, channels, height, width].
        weight: [channels, 1, k, k].
        bias: [channels].

    Returns:
        [batch, channels, height, width].
    """
    k = weight.shape[-1]
    if k % 2 == 0:
        x = F.pad(x, (0, 1, 0, 1))
    x = F.conv2d(x, weight, padding=(k - 1) // 2, groups=len(weight))
    return x if bias is None else x + bias[:, None, None]


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """One linear map over the channels of every place, in PyTorch's operations.

    Args:
        x: [batch, channels, height, width].
        weight: [out, channels, 1, 1].
        bias: [out].

    Returns:
        [batch, out, height, width].
    """
    return F.conv2d(x, weight, bias)


class DepthWiseConv(nn.Conv2d):
    """A depth-wise convolution: one k x k filter for each channel. Height and width do not change.

    k - 1 rows and columns of zeros are added in all; an even k has its odd one at the bottom and at
    the right.
    """

    def __init__(self, d_model: int, kernel_size: int) -> None:
        super().__init__(d_model, d_model, kernel_size, padding=(kernel_size - 1) // 2, groups=d_model)
        self.convolve: Convolve = depthwise_conv2d  # or a faster kernel

    def forward(self, x: Tensor) -> Tensor:
        """[batch, d_model, height, width] -> the same shape."""
        return self.convolve(x, self.weight, self.bias)


class PointWiseConv(nn.Conv2d):
    """Each place's channels are mixed by one linear map, the same for all places."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, d_model, kernel_size=1)
        self.convolve: Convolve = pointwise_conv2d  # or a faster kernel

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel: [batch, d_model, height, width] -> the same shape."""
        return self.convolve(x, self.weight, self.bias)


class FusedForward(Protocol):
    """A layer's forward pass in one kernel, which `kernels.choose_path` gives to layers."""

    def fits(self, layer: "ConvMixerLayer", x: Tensor) -> bool:
        """Return True if it computes the same for `x` as the layer's own modules."""

    def __call__(self, layer: "ConvMixerLayer", x: Tensor) -> Tensor:
        """Apply the layer: [batch, d_model, height, width] -> the same shape."""


class ConvMixerLayer(Module):
    """A ConvMixer layer: it mixes space, with a residual connection, and then channels, without one."""

    def __init__(self, d_model: int, kernel_size: int, *, activation: str = "GELU") -> None:
        super().__init__()
        self.fused: FusedForward | None = None  # computes the same with fewer passes over memory
        self.depth_wise_conv = DepthWiseConv(d_model, kernel_size)
        self.act1 = _activation(activation)
        self.norm1 = nn.BatchNorm2d(d_model)
        self.point_wise_conv = PointWiseConv(d_model)
        self.act2 = _activation(activation)
        self.norm2 = nn.BatchNorm2d(d_model)

    def reset_parameters(self) -> None:
        """Draw new weights and reset the batch statistics, also in parts that a subclass adds."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def forward(self, x: Tensor, residual_scale: Tensor | None = None) -> Tensor:
        """Apply the layer: [batch, d_model, height, width] -> the same shape.

        Args:
            residual_scale: [batch], multiplies what is added to x; 0 for images that skip it in stochastic depth.
        """
        if self.fused is not None and residual_scale is None and self.fused.fits(self, x):
            return self.fused(self, x)
        mixed = self.norm1(self.act1(self.depth_wise_conv(x)))
        if residual_scale is not None:
            mixed = mixed * residual_scale[:, None, None, None]
        return self.norm2(self.act2(self.point_wise_conv(x + mixed)))


class ClassificationHead(Module):
    """The classification head: the mean over all places, then one linear map to the logits of the classes."""

    def __init__(self, d_model: int, n_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.linear = nn.Linear(d_model, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits: [batch, d_model, height, width] -> [batch, n_classes]."""
        x = self.pool(x).flatten(1)  # [batch, d_model]
        return self.linear(x)


class ConvMixer(Module):
    """The whole network: patch embeddings, `n_layers` copies of one layer, a classification head.

    Each copy of the given layer draws its own random weights through `reset_parameters()`.

    Raises:
        TypeError: the layer has no `reset_parameters()`, so its copies would all have the same weights.
    """

    def __init__(
        self,
        conv_mixer_layer: nn.Module,
        n_layers: int,
        patch_emb: nn.Module,
        classification: nn.Module,
    ) -> None:
        super().__init__()
        if not hasattr(conv_mixer_layer, "reset_parameters"):
            raise TypeError(
                f"{type(conv_mixer_layer).__name__} has no reset_parameters(), with which each of "
                f"the {n_layers} layers draws its own random weights"
            )
        self.patch_emb = patch_emb
        self.conv_mixer_layers = nn.ModuleList(copy.deepcopy(conv_mixer_layer) for _ in range(n_layers))
        self.classification = classification
        for layer in self.conv_mixer_layers:
            layer.reset_parameters()

    def forward(self, x: Tensor, residual_scales: Tensor | None = None) -> Tensor:
        """Return the logits: [batch, in_channels, height, width] -> [batch, n_classes].

        Args:
            residual_scales: [n_layers, batch], passed to the layers for stochastic depth in training.
        """
        x = self.patch_emb(x)  # [batch, d_model, height / p, width / p]
        for number, layer in enumerate(self.conv_mixer_layers):
            x = layer(x) if residual_scales is None else layer(x, residual_scales[number])
        return self.classification(x)
