"""A whole ConvMixer layer in C++, on the CPU.

GELU, BatchNorm's sums and the residual are in the passes that touch the data anyway. Its plain reference is
`ConvMixerLayer.forward`. native/layer.cpp has the equations.
"""

import ctypes

import torch
from torch import Tensor, nn

from convmixer.model.batch_norm import track_statistics
from convmixer.model.kernels.depthwise import call, is_native, pointer, shape_of
from convmixer.model.kernels.layer_autograd import make_differentiable, outputs_like
from convmixer.model.kernels.memory import in_order, like
from convmixer.model.layers import ConvMixerLayer, DepthWiseConv, PointWiseConv

PARTS = ("depth_wise_conv", "act1", "norm1", "point_wise_conv", "act2", "norm2")


class NativeLayer:
    """The forward pass of a whole layer through the native kernels, as `ConvMixerLayer.fused` takes it."""

    def fits(self, layer: ConvMixerLayer, x: Tensor) -> bool:
        """True if it computes just what the layer's own modules would."""
        return layer_fits(layer, x)

    def __call__(self, layer: ConvMixerLayer, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape, channels_last."""
        return layer_forward(layer, x)


def layer_fits(layer: ConvMixerLayer, x: Tensor) -> bool:
    """Return True if `layer_forward` computes exactly what the layer's own modules would.

    It does for float32 on the CPU, GELU, and modules as they were built, without hooks. In evaluation it makes no
    gradients: where these are wanted, the modules do the work.
    """
    modules = [getattr(layer, name) for name in PARTS]
    return (
        x.device.type == "cpu"
        and is_native(x, layer.depth_wise_conv.weight)
        and all(is_plain(module, layer.training) for module in modules)
        and layer.point_wise_conv.weight.shape == (x.shape[1], x.shape[1], 1, 1)
        and (x.numel() > x.shape[1] if layer.training else not _wants_gradients(layer, x))
    )


def is_plain(module: nn.Module, training: bool) -> bool:
    """Return True if a part of a layer is as it was built, without hooks, and of a kind that whole layers compute."""
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return False
    if type(module) is nn.GELU:
        return module.approximate == "none"
    if type(module) is nn.BatchNorm2d:
        return module.affine and module.track_running_stats and module.training == training
    return type(module) in (nn.Conv2d, DepthWiseConv, PointWiseConv) and module.bias is not None


def _wants_gradients(layer: nn.Module, x: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in layer.parameters()))


def layer_forward(layer: ConvMixerLayer, x: Tensor) -> Tensor:
    """[batch, channels, height, width] -> the same shape, channels_last, where `layer_fits`."""
    norms = (layer.norm1, layer.norm2)
    weights = layer_weights(layer)
    epsilons = [norm.eps for norm in norms]
    if not layer.training:
        running = [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]
        return _layer_evaluate(x, weights, running, epsilons)
    out, mean1, variance1, mean2, variance2, *_ = _layer_train(x, *weights, epsilons)
    track_statistics(norms, [mean1, mean2], [variance1, variance2], x.numel() // x.shape[1])
    return out


def layer_weights(layer: ConvMixerLayer) -> list[Tensor]:
    """Return the parameters of both convolutions, each with its BatchNorm: weight, bias, gamma, beta."""
    weights = []
    for convolution, norm in ((layer.depth_wise_conv, layer.norm1), (layer.point_wise_conv, layer.norm2)):
        weights += [convolution.weight, convolution.bias, norm.weight, norm.bias]
    return weights


class Stage(ctypes.Structure):
    """The C++ `Stage`: a convolution's weights and the BatchNorm after it."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "gamma", "beta", "mean", "variance")),
        ("epsilon", ctypes.c_double),
    )


class Gradients(ctypes.Structure):
    """The C++ `Gradients`: where those of a stage's four parameters go."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("weight", "bias", "gamma", "beta"))


def _stages(weights: list[Tensor], statistics: list[Tensor], epsilons: list[float]) -> list["ctypes._Pointer[Stage]"]:
    return [
        ctypes.byref(Stage(*map(pointer, (*weights[4 * i : 4 * i + 4], *statistics[2 * i : 2 * i + 2])), epsilons[i]))
        for i in range(2)
    ]


@torch.library.custom_op("convmixer::layer_evaluate", mutates_args=())
def _layer_evaluate(x: Tensor, weights: list[Tensor], running: list[Tensor], epsilons: list[float]) -> Tensor:
    x, weights = in_order(x), [weight.contiguous() for weight in weights]
    z, out = like(x), like(x)
    shape = shape_of(x, weights[0].shape[-1])
    call("layer_evaluate", ctypes.byref(shape), *_stages(weights, running, epsilons), *map(pointer, (x, z, out)))
    return out


@_layer_evaluate.register_fake
def _(x: Tensor, weights: list[Tensor], running: list[Tensor], epsilons: list[float]) -> Tensor:
    return like(x)


N_SAVED = 5  # g1, d1, z, g2, d2
Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("convmixer::layer_train", mutates_args=())
def _layer_train(
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
    """The output; mean and variance of both BatchNorms; and what the backward pass needs: g1, d1, z, g2, d2."""
    weights = (space_weight, space_bias, gamma1, beta1, channels_weight, channels_bias, gamma2, beta2)
    x, weights = in_order(x), [weight.contiguous() for weight in weights]
    out, *statistics_and_saved = outputs_like(x, N_SAVED)
    statistics, saved = statistics_and_saved[:4], statistics_and_saved[4:]
    shape = shape_of(x, space_weight.shape[-1])
    stages = _stages(weights, statistics, epsilons)
    call("layer_train", ctypes.byref(shape), *stages, *map(pointer, (x, *saved, out)))
    return out, *statistics, *saved


@torch.library.custom_op("convmixer::layer_backward", mutates_args=())
def _layer_backward(
    gradient: Tensor,
    x: Tensor,
    weights: list[Tensor],
    statistics: list[Tensor],
    saved: list[Tensor],
    epsilons: list[float],
) -> list[Tensor]:
    """The gradients of x and of the eight weights."""
    gradient, x, weights = in_order(gradient), in_order(x), [weight.contiguous() for weight in weights]
    dz, dx, *gradients = like(x), like(x), *(torch.empty_like(weight) for weight in weights)
    shape = shape_of(x, weights[0].shape[-1])
    into = [ctypes.byref(Gradients(*map(pointer, gradients[start : start + 4]))) for start in (0, 4)]
    stages = _stages(weights, statistics, epsilons)
    call("layer_backward", ctypes.byref(shape), *stages, *map(pointer, (gradient, x, *saved, dz, dx)), *into)
    return [dx, *gradients]


make_differentiable(_layer_train, _layer_backward, N_SAVED)
