"""The gradient of a point-wise convolution's weights in Triton, of planes (NCHW): one product, summed over all images.

A product for each image, as cuBLAS takes them, would write and read again a matrix for each. 16 bits, sums in float32;
nothing is added atomically, so the bits are the same from run to run.

Never run on a GPU yet: none was available. It is tested as triton_depthwise is.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS, PLACES, WARPS, STAGES = (
    128,
    64,
    8,
    3,
)  # of a program's matrix either way, of a step; its warps; steps on their way
PROGRAMS = 128  # that share the work: about one for each multiprocessor of a large GPU


@triton.jit
def _sum_of_products(
    gradient, x, parts, batch, out_channels, channels, images_each,
    PLANE: tl.constexpr, CHANNELS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    """A block of the matrix over a part of all images; parts [parts, out_channels, channels]."""
    o = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    i = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    place = tl.arange(0, PLACES)
    total = tl.zeros([CHANNELS, CHANNELS], tl.float32)
    first = tl.program_id(0) * images_each
    steps: tl.constexpr = (PLANE + PLACES - 1) // PLACES
    for step in range(0, tl.minimum(images_each, batch - first) * steps):
        b, p = (first + step // steps).to(tl.int64), step % steps * PLACES + place
        g = tl.load(
            gradient + (b * out_channels + o[:, None]) * PLANE + p[None, :],
            mask=(o < out_channels)[:, None] & (p < PLANE)[None, :], other=0.0,
        )  # fmt: skip
        pixels = tl.load(
            x + (b * channels + i[:, None]) * PLANE + p[None, :],
            mask=(i < channels)[:, None] & (p < PLANE)[None, :], other=0.0,
        )  # fmt: skip
        total = tl.dot(g, tl.trans(pixels), total)
    places = (tl.program_id(0).to(tl.int64) * out_channels + o[:, None]) * channels + i[None, :]
    tl.store(parts + places, total, mask=(o < out_channels)[:, None] & (i < channels)[None, :])


def sum_of_products(gradient: Tensor, x: Tensor) -> Tensor:
    """[batch, out, places] and [batch, channels, places] -> the sum of gradient @ x^T, [out, channels], float32."""
    batch, out_channels, plane = gradient.shape
    channels = x.shape[1]
    blocks = (triton.cdiv(out_channels, CHANNELS), triton.cdiv(channels, CHANNELS))
    n_parts = max(1, min(batch, PROGRAMS // (blocks[0] * blocks[1])))
    images_each = triton.cdiv(batch, n_parts)
    parts = x.new_zeros(triton.cdiv(batch, images_each) if batch else 0, out_channels, channels, dtype=torch.float32)
    if gradient.numel() and x.numel():
        sizes = (batch, out_channels, channels, images_each, plane, CHANNELS, PLACES)
        with torch.cuda.device_of(x):
            _sum_of_products[(len(parts), *blocks)](gradient, x, parts, *sizes, num_warps=WARPS, num_stages=STAGES)
    return parts.sum(0)
