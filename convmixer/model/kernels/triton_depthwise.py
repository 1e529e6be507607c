"""Depth-wise convolution and its gradients in Triton: channels_last; float32, bfloat16, float16; sums in float32.

Not measured yet: no GPU was at hand. Tested in Triton's interpreter (`TRITON_INTERPRET=1`), on the CPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from convmixer.model.kernels.memory import in_order, like

PIXELS = 16  # of a row, that a program computes
CHANNELS = 64
CHUNKS = 32  # parts of the batch's rows whose sums are made apart, for the filters' gradient


@triton.jit
def _convolve(
    x, taps, bias, out, height, width, channels, before,
    KERNEL: tl.constexpr, HAS_BIAS: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Some pixels of a row of an image [height, width, channels]; taps [KERNEL * KERNEL, channels]."""
    row = tl.program_id(0)  # of all images' rows
    y = row % height
    columns = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros([PIXELS, CHANNELS], dtype=tl.float32)
    for ky in range(KERNEL):
        end = tl.where((y + ky - before >= 0) & (y + ky - before < height), width, 0)
        start = (row + ky - before).to(tl.int64) * width
        for kx in range(KERNEL):
            column = columns + kx - before
            there = (column >= 0) & (column < end)
            places = (start + column[:, None]) * channels + c[None, :]
            pixel = tl.load(x + places, mask=there[:, None] & (c < channels)[None, :], other=0.0)
            tap = tl.load(taps + (ky * KERNEL + kx) * channels + c, mask=c < channels, other=0.0)
            total += pixel.to(tl.float32) * tap.to(tl.float32)[None, :]
    if HAS_BIAS:
        total += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    places = (row.to(tl.int64) * width + columns[:, None]) * channels + c[None, :]
    tl.store(out + places, total.to(out.dtype.element_ty), mask=(columns < width)[:, None] & (c < channels)[None, :])


@triton.jit
def _filter_gradient(
    x, slopes, parts, rows, height, channels, before,
    CHUNK_ROWS: tl.constexpr, WIDTH: tl.constexpr, KERNEL: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One tap's sum over a chunk of all rows; parts [chunks, KERNEL * KERNEL, channels], float32."""
    chunk, tap = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    down, right = tap // KERNEL - before, tap % KERNEL - before
    total = tl.zeros([PIXELS, CHANNELS], dtype=tl.float32)
    for i in range(CHUNK_ROWS):
        row = chunk * CHUNK_ROWS + i
        y = row % height
        own_end = tl.where(row < rows, WIDTH, 0)
        end = tl.where((y + down >= 0) & (y + down < height), own_end, 0)
        for first in range(0, WIDTH, PIXELS):
            columns = first + tl.arange(0, PIXELS)
            here = (columns < own_end)[:, None] & (c < channels)[None, :]
            there = ((columns + right >= 0) & (columns + right < end))[:, None] & here
            start = tl.cast(row, tl.int64) * WIDTH
            slope = tl.load(slopes + (start + columns[:, None]) * channels + c[None, :], mask=here, other=0.0)
            places = (start + down * WIDTH + columns[:, None] + right) * channels + c[None, :]
            total += slope.to(tl.float32) * tl.load(x + places, mask=there, other=0.0).to(tl.float32)
    places = (chunk * KERNEL * KERNEL + tap) * channels + c
    tl.store(parts + places, tl.sum(total, axis=0), mask=c < channels)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [batch, channels, height, width], weight [channels, 1, k, k], bias [channels] -> like x."""
    kernel = weight.shape[-1]
    return _launch_convolve(in_order(x), weight.flatten(1).t().contiguous(), bias, kernel, (kernel - 1) // 2)


def input_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x: the same convolution, with filters turned by half a turn."""
    kernel = weight.shape[-1]
    return _launch_convolve(in_order(gradient), weight.flatten(1).flip(1).t().contiguous(), None, kernel, kernel // 2)


def _launch_convolve(x: Tensor, taps: Tensor, bias: Tensor | None, kernel: int, before: int) -> Tensor:
    batch, channels, height, width = x.shape
    out = like(x)
    if x.numel():
        grid = (batch * height, triton.cdiv(width, PIXELS), triton.cdiv(channels, CHANNELS))
        sizes = (height, width, channels, before, kernel, bias is not None, PIXELS, CHANNELS)
        _convolve[grid](x, taps, bias, out, *sizes)
    return out


def weight_gradients(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias. Their bits are the same from run to run: no atomic additions."""
    gradient, x, kernel = in_order(gradient), in_order(x), weight.shape[-1]
    batch, channels, height, width = x.shape
    parts = torch.zeros(CHUNKS, kernel * kernel, channels, device=x.device)
    if x.numel():
        grid = (CHUNKS, kernel * kernel, triton.cdiv(channels, CHANNELS))
        rows = batch * height
        sizes = (rows, height, channels, (kernel - 1) // 2)
        sizes += (triton.cdiv(rows, CHUNKS), width, kernel, PIXELS, CHANNELS)
        _filter_gradient[grid](x, gradient, parts, *sizes)
    dweight = parts.sum(0).t().reshape(weight.shape)
    dbias = gradient.sum((0, 2, 3), dtype=torch.float32)
    return dweight.to(weight.dtype), dbias.to(weight.dtype)
