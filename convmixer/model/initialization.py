"""Weight initializations other than PyTorch's own. The key `starts` names those to use.

Each changes the weights of a `ConvMixer` in place, before training. It may look at training images, and draws from
the given generator, so the same seed and images give the same weights.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convmixer.errors import UserError

Start = Callable[[nn.Module, Tensor, torch.Generator], None]

LARGEST_COVARIANCE_KERNEL = 31  # its covariance has kernel^4 entries, 7 MB


def whitening(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Initialize the patch embedding with filters that make the pixels of a patch uncorrelated, with variance 1.

    The filters are the eigenvectors of the covariance of patches, divided by the roots of their eigenvalues, and the
    same with the opposite sign, as GELU keeps only one side. Channels beyond these 2 c p^2 keep their random weights;
    with fewer channels, the filters of the largest eigenvalues are used. All of them are trained like other weights.

    Source: Page, "How to Train Your ResNet 8: Bag of Tricks", 2019; both signs, and 5e-4 added to the eigenvalues, from
    KellerJordan/cifar10-airbench (arXiv 2404.00498), which freezes them and takes overlapping patches.

    Args:
        images: normalised, `[n, in_channels, height, width]`.
    """
    conv = _part(model, "patch_emb.conv")
    d_model, in_channels, p, _ = conv.weight.shape
    n = min(in_channels * p * p, d_model // 2)
    values, vectors = torch.linalg.eigh(_patch_covariance(images, p))
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * largest.sign()  # the sign of an eigenvector is arbitrary: make it always the same
    filters = (vectors / (values + 5e-4).sqrt()).flip(1).T[:n].reshape(n, in_channels, p, p)
    conv.weight[: 2 * n] = torch.cat([filters, -filters]).to(conv.weight)
    conv.bias[: 2 * n] = 0


def _patch_covariance(images: Tensor, patch_size: int) -> Tensor:
    """Return the mean products of each two pixels of a patch: float64 `[c p^2, c p^2]`, on the CPU."""
    total, count = 0.0, 0
    for some in images.cpu().split(500):
        patches = F.unfold(some, patch_size, stride=patch_size).transpose(1, 2).flatten(0, 1).double()
        total, count = total + patches.T @ patches, count + len(patches)
    return total / count


def covariance(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Draw depth-wise filters from a normal distribution whose covariance resembles that of trained filters.

    Source: Trockman, Willmott & Kolter, "Understanding the Covariance Structure of Convolutional Filters" (arXiv
    2210.03651): a closed-form covariance with a width that grows as a quadratic function of depth. Written without the
    paper at hand: neither `filter_covariance` nor the three numbers of that function are checked against it. Ours:
    negative eigenvalues are taken as 0, and filters are scaled to the mean square that torch's start has.
    """
    layers = _part(model, "conv_mixer_layers")
    for number, layer in enumerate(layers):
        depth = number / max(len(layers) - 1, 1)
        weight = _part(layer, "depth_wise_conv").weight
        k = weight.shape[-1]
        if k > LARGEST_COVARIANCE_KERNEL:
            raise UserError(f"overrides: starts=[covariance] takes kernel_size up to {LARGEST_COVARIANCE_KERNEL}")
        values, vectors = torch.linalg.eigh(filter_covariance(k, width=0.5 + 0.5 * depth + 1.5 * depth**2))
        values = values.clamp(min=0)
        root = vectors * (values * _mean_square(k) * k * k / values.sum()).sqrt()  # [k^2, k^2]
        draws = torch.randn(len(weight), k * k, generator=generator, dtype=torch.float64)
        weight.copy_((draws @ root.T).reshape(weight.shape))


def filter_covariance(kernel_size: int, width: float) -> Tensor:
    """Return the covariance of the entries of a k x k filter: float64 `[k^2, k^2]`; eigenvalues may be negative.

    With the Gaussian bump z(x) = exp(-|x|^2 / (2 width)) around the filter's centre, the covariance of the entries at x
    and y is z(x) (z(y - x) - z(y) / 2), made symmetric: entries near the centre vary most, neighbours vary together,
    and half of what all have in common is taken away.
    """
    along = torch.arange(kernel_size, dtype=torch.float64) - (kernel_size - 1) // 2
    places = torch.cartesian_prod(along, along)  # [k^2, 2]
    bump = torch.exp(-places.square().sum(1) / (2 * width))  # [k^2]
    shifted = torch.exp(-(places - places[:, None]).square().sum(2) / (2 * width))  # [k^2, k^2]
    one_sided = bump[:, None] * (shifted - bump / 2)
    return (one_sided + one_sided.T) / 2


def impulse(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Set each depth-wise filter to zero except for one entry at a random place, so that it shifts its channel.

    Source: Zheng, Li & Lucey, "Convolutional Initialization for Data-Efficient Vision Transformers" (arXiv 2401.12511).
    The entry's square is the mean sum of squares of PyTorch's own initialization.
    """
    for layer in _part(model, "conv_mixer_layers"):
        weight = _part(layer, "depth_wise_conv").weight
        d_model, _, k, _ = weight.shape
        place = torch.randint(k * k, (d_model, 1), generator=generator)
        filters = torch.zeros(d_model, k * k).scatter_(1, place, math.sqrt(_mean_square(k) * k * k))
        weight.copy_(filters.reshape(weight.shape))


def identity(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Set each point-wise convolution to the identity.

    Source: `dirac_` in KellerJordan/cifar10-airbench (arXiv 2404.00498), there for 3x3 convolutions.
    """
    for layer in _part(model, "conv_mixer_layers"):
        nn.init.dirac_(_part(layer, "point_wise_conv").weight)


def zero_gamma(model: nn.Module, images: Tensor, generator: torch.Generator) -> None:
    """Set the scale of the BatchNorm at the end of each residual branch to 0, so that the branch adds nothing at first.

    Source: Goyal et al., "Accurate, Large Minibatch SGD" (arXiv 1706.02677), section 5.1.
    """
    for layer in _part(model, "conv_mixer_layers"):
        nn.init.zeros_(_part(layer, "norm1").weight)


STARTS: dict[str, Start] = {start.__name__: start for start in (whitening, covariance, impulse, identity, zero_gamma)}


@torch.no_grad()
def apply_starts(model: nn.Module, names: Sequence[str], images: Tensor, seed: int) -> None:
    """Apply the named initializations to a model, in place.

    Args:
        names: names in `STARTS`.
        images: normalised training images, `[n, in_channels, height, width]`.

    Raises:
        UserError: the model lacks a part that is to be initialized, or its kernels are too large.
    """
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        STARTS[name](model, images, generator)


def _mean_square(kernel_size: int) -> float:
    """Return the mean square of an entry of PyTorch's depth-wise filters, which are uniform between -1/k and 1/k."""
    return 1 / (3 * kernel_size**2)


def _part(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        owner = type(module).__name__
        raise UserError(f"overrides: starts needs a {name}, which {owner} lacks; starts=[] needs none") from None
