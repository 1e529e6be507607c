"""A whole ConvMixer layer in Triton, by the passes of native/layer.cpp; its products are PyTorch's.

    a1 = depth-wise convolution of x,  g1 = GELU(a1),  z = x + BN1(g1)
    a2 = z times matrix transposed,    g2 = GELU(a2),  out = BN2(g2)

Tensors are channels_last, in float32, bfloat16 or float16; sums, statistics and arithmetic are float32. Nothing is
added atomically, so the bits are the same from run to run.

Never run on a GPU yet: none was at hand. Tested in Triton's interpreter (`TRITON_INTERPRET=1`), on the CPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels import triton_depthwise as depthwise
from convmixer.model.kernels.memory import in_order, like
from convmixer.model.kernels.triton_depthwise import gelu, store_moments

ROWS, CHANNELS = 32, 64  # of a tensor [rows, channels] that a program takes


@triton.jit
def _block(rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """This program's rows and channels, their places, and which of them exist."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    places = row.to(tl.int64)[:, None] * channels + c[None, :]
    return row, c, places, (row < rows)[:, None] & (c < channels)[None, :]


@triton.jit
def _read(tensor, places, mask):
    return tl.load(tensor + places, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _normalise(
    g, mean, scale, beta, residual, out, rows, channels,
    HAS_RESIDUAL: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    _, c, places, mask = _block(rows, channels, ROWS, CHANNELS)
    here = c < channels
    value = (_read(g, places, mask) - _read(mean, c, here)[None, :]) * _read(scale, c, here)[None, :]
    value += _read(beta, c, here)[None, :]
    if HAS_RESIDUAL:
        value += _read(residual, places, mask)
    tl.store(out + places, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _activate(a, bias, g, d, moments, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    row, c, places, mask = _block(rows, channels, ROWS, CHANNELS)
    value, slope = gelu(_read(a, places, mask) + _read(bias, c, c < channels)[None, :])
    tl.store(g + places, value.to(g.dtype.element_ty), mask=mask)
    tl.store(d + places, slope.to(d.dtype.element_ty), mask=mask)
    store_moments(value, row < rows, moments, tl.program_id(0), channels, c)


@triton.jit
def _add_up(gradient, g, mean, parts, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums over a block's rows of the gradient and of gradient (g - mean); parts [blocks, 2, channels]."""
    _, c, places, mask = _block(rows, channels, ROWS, CHANNELS)
    slope, part = _read(gradient, places, mask), parts + 2 * tl.program_id(0) * channels + c
    centred = _read(g, places, mask) - _read(mean, c, c < channels)[None, :]
    tl.store(part, tl.sum(slope, axis=0), mask=c < channels)
    tl.store(part + channels, tl.sum(slope * centred, axis=0), mask=c < channels)


@triton.jit
def _slopes(
    gradient, g, d, mean, scale, offset, factor, out, rows, channels, ROWS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Back through BatchNorm and GELU: (gradient - offset - (g - mean) factor) scale d."""
    _, c, places, mask = _block(rows, channels, ROWS, CHANNELS)
    here = c < channels
    centred = _read(g, places, mask) - _read(mean, c, here)[None, :]
    value = _read(gradient, places, mask) - _read(offset, c, here)[None, :] - centred * _read(factor, c, here)[None, :]
    value *= _read(scale, c, here)[None, :] * _read(d, places, mask)
    tl.store(out + places, value.to(out.dtype.element_ty), mask=mask)


def _launch(kernel: triton.JITFunction, like_x: Tensor, *arguments: object) -> None:
    rows, channels = like_x.numel() // like_x.shape[1], like_x.shape[1]
    grid = (triton.cdiv(rows, ROWS), triton.cdiv(channels, CHANNELS))
    *tensors, flags = arguments
    kernel[grid](*tensors, rows, channels, *flags, ROWS, CHANNELS)


def _rows(x: Tensor) -> Tensor:
    """[batch, channels, height, width] in order -> [rows, channels], the same memory."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _images(rows: Tensor, x: Tensor) -> Tensor:
    """Back, to the shape of x."""
    batch, channels, height, width = x.shape
    return rows.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


def _combine(moments: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance from those of blocks of `sizes` rows, in float64. (Chan, Golub & LeVeque, 1983.)"""
    means, squares = moments.double().unbind(1)
    n = sizes.double()[:, None]
    mean = (means * n).sum(0) / n.sum()
    variance = (squares + n * (means - mean).square()).sum(0) / n.sum()
    return mean.float(), variance.float()


def _scale(gamma: Tensor, variance: Tensor, epsilon: float) -> Tensor:
    return (gamma.double() / (variance.double() + epsilon).sqrt()).float()


def _normalised(g: Tensor, mean: Tensor, scale: Tensor, beta: Tensor, residual: Tensor | None = None) -> Tensor:
    out = like(g)
    _launch(_normalise, g, g, mean, scale, beta, residual, out, (residual is not None,))
    return out


def _mix_channels(z: Tensor, matrix: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """g2, d2 and the moments of g2, with the number of rows of each."""
    a = _images(_rows(z) @ matrix.flatten(1).t(), z)
    g, d, (rows, channels) = like(z), like(z), _rows(z).shape
    moments = torch.empty(triton.cdiv(rows, ROWS), 2, channels, device=z.device)
    _launch(_activate, z, a, bias, g, d, moments, ())
    sizes = torch.full((len(moments),), ROWS, device=z.device)
    sizes[-1] = rows - (len(moments) - 1) * ROWS
    return g, d, moments, sizes


def train(x: Tensor, weights: list[Tensor], epsilons: list[float]) -> tuple[Tensor, ...]:
    """The output; mean and variance of both BatchNorms; and what `backward` needs: g1, d1, z, g2, d2.

    Args:
        x: [batch, channels, height, width], not empty.
        weights: of the depth-wise convolution, BatchNorm, point-wise convolution, BatchNorm: weight and bias of each.
        epsilons: of both BatchNorms.
    """
    x, (filters, bias1, gamma1, beta1, matrix, bias2, gamma2, beta2) = in_order(x), weights
    g1, d1, moments, sizes = depthwise.forward_gelu(x, filters, bias1)
    mean1, variance1 = _combine(moments, sizes)
    z = _normalised(g1, mean1, _scale(gamma1, variance1, epsilons[0]), beta1, residual=x)
    g2, d2, moments, sizes = _mix_channels(z, matrix, bias2)
    mean2, variance2 = _combine(moments, sizes)
    out = _normalised(g2, mean2, _scale(gamma2, variance2, epsilons[1]), beta2)
    return out, mean1, variance1, mean2, variance2, g1, d1, z, g2, d2


def evaluate(x: Tensor, weights: list[Tensor], running: list[Tensor], epsilons: list[float]) -> Tensor:
    """The output with the running statistics: mean and variance of both BatchNorms."""
    x, (filters, bias1, gamma1, beta1, matrix, bias2, gamma2, beta2) = in_order(x), weights
    if not x.numel():
        return like(x)
    g1, *_ = depthwise.forward_gelu(x, filters, bias1)
    z = _normalised(g1, running[0], _scale(gamma1, running[1], epsilons[0]), beta1, residual=x)
    g2, *_ = _mix_channels(z, matrix, bias2)
    return _normalised(g2, running[2], _scale(gamma2, running[3], epsilons[1]), beta2)


def _back_through_norm(
    gradient: Tensor, g: Tensor, d: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the convolution's output, gamma and beta."""
    rows, channels = _rows(g).shape
    parts = torch.empty(triton.cdiv(rows, ROWS), 2, channels, device=g.device)
    _launch(_add_up, g, gradient, g, mean, parts, ())
    sums, products = parts.double().sum(0)
    deviation = (variance.double() + epsilon).sqrt()
    scale, offset, factor = (t.float() for t in (gamma / deviation, sums / rows, products / (deviation**2 * rows)))
    slopes = like(g)
    _launch(_slopes, g, gradient, g, d, mean, scale, offset, factor, slopes, ())
    return slopes, (products / deviation).to(gamma.dtype), sums.to(gamma.dtype)


def backward(
    gradient: Tensor, x: Tensor, weights: list[Tensor], statistics: list[Tensor], saved: list[Tensor],
    epsilons: list[float],
) -> list[Tensor]:  # fmt: skip
    """The gradients of x and of the eight weights; `statistics` and `saved` are what `train` returned."""
    gradient, x, (filters, _, gamma1, _, matrix, bias2, gamma2, _) = in_order(gradient), in_order(x), weights
    mean1, variance1, mean2, variance2 = statistics
    g1, d1, z, g2, d2 = saved
    slopes, dgamma2, dbeta2 = _back_through_norm(gradient, g2, d2, mean2, variance2, gamma2, epsilons[1])
    rows = _rows(slopes)
    dmatrix, dbias2 = rows.t() @ _rows(z), rows.sum(0, dtype=torch.float32).to(bias2.dtype)
    dz = in_order(_images(rows @ matrix.flatten(1), x))
    slopes, dgamma1, dbeta1 = _back_through_norm(dz, g1, d1, mean1, variance1, gamma1, epsilons[0])
    dfilters, dbias1 = depthwise.weight_gradients(slopes, x, filters)
    dx = depthwise.input_gradient(slopes, filters, residual=dz)
    return [dx, dfilters, dbias1, dgamma1, dbeta1, dmatrix.reshape(matrix.shape), dbias2, dgamma2, dbeta2]
