"""GELU in Triton, the gradient through it and the BatchNorm after it, and a sum over a matrix. In float32."""

import triton
import triton.language as tl


@triton.jit
def gelu(a):
    return a * (0.5 + 0.5 * tl.math.erf(a * 0.7071067811865476))


@triton.jit
def before_norm(slope, a, scale, of_gelu, constant):
    """The gradient of what GELU takes, from that of what BatchNorm gives.

    BatchNorm's own is linear: `scale * slope + of_gelu * gelu(a) + constant`, three numbers of a channel, which
    `triton_norm._finish_slopes` finds.
    """
    share = 0.5 + 0.5 * tl.math.erf(a * 0.7071067811865476)
    density = tl.exp(-0.5 * a * a) * 0.3989422804014327
    return (scale * slope + of_gelu * (a * share) + constant) * (share + a * density)


@triton.jit
def sum_of_all(matrix, SIZE: tl.constexpr):
    """The sum of SIZE numbers. Triton 3.6.0 can't sum a product's rows, and then these sums, for a B200."""
    return tl.sum(tl.reshape(matrix, [SIZE]), 0)
