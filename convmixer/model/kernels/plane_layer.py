"""A whole ConvMixer layer on a GPU, in training: GELU, both BatchNorms and the residual are in its kernels' passes.

Its plain reference is `ConvMixerLayer.forward`; triton_layer.py has the equations. In a step it reads or writes 24
tensors of the layer's size; separate operations, joined by torch.compile, about 32 (`benchmarks/gpu/ceilings.py`).
"""

import torch
from torch import Tensor

from convmixer.model.batch_norm import track_statistics
from convmixer.model.kernels.depthwise import autocast, is_native
from convmixer.model.kernels.layer import PARTS, is_plain, layer_weights
from convmixer.model.kernels.layer_autograd import make_differentiable
from convmixer.model.kernels.memory import in_order
from convmixer.model.kernels.pointwise import sum_of_products
from convmixer.model.layers import ConvMixerLayer


class PlaneLayer:
    """The forward pass of a whole layer through Triton's kernels, as `ConvMixerLayer.fused` takes it."""

    def fits(self, layer: ConvMixerLayer, x: Tensor) -> bool:
        """True if it computes just what the layer's own modules would: in training, with GELU, without hooks."""
        return (
            layer.training
            and x.device.type == "cuda"
            and is_native(autocast(x), layer.depth_wise_conv.weight)
            and all(is_plain(getattr(layer, name), layer.training) for name in PARTS)
            and layer.point_wise_conv.weight.shape == (x.shape[1], x.shape[1], 1, 1)
            and None not in (layer.norm1.momentum, layer.norm2.momentum)  # a mean of all batches waits for the GPU
            and x.numel() > x.shape[1]
        )

    def __call__(self, layer: ConvMixerLayer, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape, NCHW, in the type of autocast."""
        norms, x = (layer.norm1, layer.norm2), autocast(x)
        weights, epsilons = layer_weights(layer), [norm.eps for norm in norms]
        out, mean1, variance1, mean2, variance2, *_ = _plane_layer(x, *weights, epsilons)
        track_statistics(norms, [mean1, mean2], [variance1, variance2], x.numel() // x.shape[1])
        return out


Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _plane_layer_on_gpu(
    x: Tensor,
    space_weight: Tensor,
    space_bias: Tensor,
    gamma1: Tensor,
    beta1: Tensor,
    channels_weight: Tensor,
    channels_bias: Tensor,
    gamma2: Tensor,
    beta2: Tensor,
    epsilons: list[float],
) -> Outputs:
    """The output; mean and variance of both BatchNorms; and what the backward pass needs beside x: a1, z, a2."""
    from convmixer.model.kernels import triton_depthwise, triton_layer, triton_norm

    x = in_order(x)
    a1, parts, rows = triton_depthwise.forward_with_moments(x, space_weight, space_bias)
    moments = triton_norm.Moments(parts, rows, x.shape[3])
    norm1 = triton_norm.norm_of(moments, x, gamma1, beta1, epsilons[0])
    z, a2, moments = triton_layer.mix(x, a1, norm1, _matrix(channels_weight, x), channels_bias)
    norm2 = triton_norm.norm_of(moments, x, gamma2, beta2, epsilons[1])
    out = triton_norm.normalise(a2, norm2)
    return out, norm1.mean, norm1.variance, norm2.mean, norm2.variance, a1, z, a2


def _plane_layer_backward_on_gpu(
    gradient: Tensor,
    x: Tensor,
    weights: list[Tensor],
    statistics: list[Tensor],
    saved: list[Tensor],
    epsilons: list[float],
) -> list[Tensor]:
    """The gradients of x and of the eight weights."""
    from convmixer.model.kernels import triton_depthwise, triton_layer, triton_norm

    gradient, x = in_order(gradient), in_order(x)
    space_weight, _, gamma1, _, channels_weight, _, gamma2, _ = weights
    mean1, variance1, mean2, variance2 = statistics
    a1, z, a2 = saved
    sums = triton_norm.slope_sums(gradient, a2, mean2)
    norm2 = triton_norm.slopes_of(sums, x, mean2, variance2, gamma2, epsilons[1])
    matrix = _matrix(channels_weight, x)
    da2, dz, sums, dchannels_bias = triton_layer.mix_gradient(gradient, a2, norm2, matrix, a1, mean1)
    norm1 = triton_norm.slopes_of(sums, x, mean1, variance1, gamma1, epsilons[0])
    dchannels = sum_of_products(da2.flatten(2), z.flatten(2))
    da1, dspace, dspace_bias = triton_depthwise.gradients_before_norm(dz, a1, norm1.before, x, space_weight)
    dx = triton_depthwise.input_gradient(da1, space_weight, dz)
    found = (dspace, dspace_bias, norm1.gamma, norm1.beta, dchannels, dchannels_bias, norm2.gamma, norm2.beta)
    return [dx, *(_as(gradient, weight) for gradient, weight in zip(found, weights, strict=True))]


def _matrix(weight: Tensor, x: Tensor) -> Tensor:
    return weight.flatten(1).to(x.dtype).contiguous()


def _as(gradient: Tensor, weight: Tensor) -> Tensor:
    """A gradient in the weight's type, and lying in memory as the weight does."""
    if gradient.shape == weight.shape and gradient.dtype == weight.dtype and gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient.view(weight.shape))


_plane_layer = torch.library.custom_op(
    "convmixer::plane_layer", _plane_layer_on_gpu, mutates_args=(), device_types="cuda"
)
_plane_layer_backward = torch.library.custom_op(
    "convmixer::plane_layer_backward", _plane_layer_backward_on_gpu, mutates_args=(), device_types="cuda"
)


make_differentiable(_plane_layer, _plane_layer_backward, n_saved=3)
